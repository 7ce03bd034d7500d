"""What an archive is, read from within it."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from device.errors import InputError
from device.inference.store import checked_by_name
from device.updates.offers import Custom

__all__ = ["Described", "describe"]

_MOST_DESCRIPTION = 4 * 2**20


class _BundleHead(msgspec.Struct, frozen=True):
    """What the head of a bundle says of it."""

    version: str
    arch: str
    python: str


@dataclass(frozen=True)
class Described:
    """A file as it goes into the repository."""

    name: str
    """Of the target, e.g. models/hidef-1.2.0.tar."""
    content: Path | bytes
    custom: Custom


def describe(file: Path) -> Described:
    """A release bundle (.tar), or a model (NAME-VERSION.tflite with its neighbours); InputError where it is neither."""
    if file.suffix == ".tflite":
        return _model(file)
    try:
        with tarfile.open(file, "r:") as archive:
            member = archive.extractfile("bundle.json")
            head = msgspec.json.decode(member.read(_MOST_DESCRIPTION) if member else b"", type=_BundleHead)
        custom = Custom(kind="release", version=head.version, arch=head.arch, python=head.python)
        return Described(f"releases/{file.name}", file, msgspec.convert(msgspec.to_builtins(custom), Custom))
    except (OSError, tarfile.TarError, KeyError, msgspec.DecodeError) as error:
        raise InputError(
            "neither a release bundle nor a model", where=file, expected="what `make bundle` made, or NAME-VERSION.tflite",
            got=str(error),
        ) from error  # fmt: skip


def _model(file: Path) -> Described:
    """Three files in one archive, the same bytes whenever it is made."""
    manifest = checked_by_name(file).manifest
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for suffix in (".npz", ".tflite", ".toml"):
            part = file.with_suffix(suffix)
            info = tarfile.TarInfo(part.name)
            try:
                content = part.read_bytes()
            except OSError as error:
                raise InputError("the model's bundle is incomplete", where=part, got=error.strerror) from error
            info.size, info.mode = len(content), 0o644
            archive.addfile(info, io.BytesIO(content))
    custom = Custom(kind="model", name=manifest.name, version=manifest.version)
    return Described(f"models/{file.stem}.tar", packed.getvalue(), custom)
