"""The archive that a release comes in: read, and verified to the last byte before anything is touched.

A plain tar, or the folder that it unpacks to. `bundle.json` names every other file with its SHA-256 and size; its own digest
names the release. What isn't named is refused like what is missing.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from device.errors import CheckError, InputError
from device.releases.machine import Machine

__all__ = ["FORMAT", "MANIFEST", "Bundle", "BundledFile", "check_fits", "copied", "read_bundle"]

FORMAT = 1
MANIFEST = "bundle.json"
_MOST_MANIFEST_BYTES = 1 << 20
_MOST_FILES = 2000
_BLOCK_BYTES = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*(/[A-Za-z0-9_][A-Za-z0-9._+@-]*)*")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+]{0,40}")
_REMEDY = "Copy the bundle again, from where it was made."


@dataclass(frozen=True)
class BundledFile:
    """What the manifest says of one file."""

    sha256: str
    """64 hexadecimal digits."""
    size_bytes: int
    """Its length."""


@dataclass(frozen=True)
class Bundle:
    """A bundle that was found whole."""

    path: Path
    """The archive, or the folder it was unpacked to."""
    version: str
    """Of the program."""
    arch: str
    """Processor that it is for."""
    python: str
    """Python that it is for, "3.13"."""
    glibc: tuple[int, int]
    """The oldest C library that its binaries run with."""
    built_from: str
    """Commit that its program was built from."""
    store_schema: int
    """The newest schema of the store that its program reads."""
    unpacked_bytes: int
    """What it takes when laid out."""
    files: Mapping[str, BundledFile]
    """By name."""
    digest: str
    """SHA-256 of the manifest, hexadecimal."""

    @property
    def release_name(self) -> str:
        """Of the release that it makes."""
        return f"{self.version}-{self.digest[:12]}"

    def under(self, folder: str) -> list[str]:
        """Names of the files in one of its folders."""
        return sorted(name for name in self.files if name.startswith(f"{folder}/"))

    @contextmanager
    def opened(self) -> Generator[_Source]:
        """Its files, for as long as they are read."""
        with _source(self.path) as source:
            yield source


class _Source:
    """The files of a folder, or of an archive."""

    def __init__(self, path: Path, archive: tarfile.TarFile | None) -> None:
        self._path = path
        self._archive = archive
        self._members = {} if archive is None else {member.name: member for member in _members(archive, path)}

    def names(self) -> set[str]:
        """All that is there."""
        if self._archive is not None:
            return set(self._members)
        odd = [path for path in self._path.rglob("*") if path.is_symlink() or not (path.is_dir() or path.is_file())]
        if odd:
            raise _damaged("something in it is no file", odd[0])
        return {str(path.relative_to(self._path)) for path in self._path.rglob("*") if path.is_file()}

    def open(self, name: str) -> BinaryIO:
        """One file, or FileNotFoundError."""
        if self._archive is None:
            return (self._path / name).open("rb")
        if name not in self._members:
            raise FileNotFoundError(name)
        return cast("BinaryIO", self._archive.extractfile(self._members[name]))


def _members(archive: tarfile.TarFile, path: Path) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    for member in archive:
        if member.type != tarfile.REGTYPE or not _NAME.fullmatch(member.name) or len(members) > _MOST_FILES:
            raise _damaged("it holds what no bundle holds", path, got=member.name)
        members.append(member)
    if len({member.name for member in members}) < len(members):
        raise _damaged("it holds a file twice", path)
    return members


@contextmanager
def _source(path: Path) -> Generator[_Source]:
    if path.is_dir():
        yield _Source(path, None)
        return
    try:
        with tarfile.open(path, "r:") as archive:
            yield _Source(path, archive)
    except FileNotFoundError:
        raise InputError(
            "there is no such bundle", where=path, remedy="Name the archive, or the folder it unpacked to."
        ) from None
    except tarfile.TarError as error:
        raise _damaged("it isn't the whole archive", path, got=str(error)) from error


def _damaged(what: str, where: object, *, expected: object = None, got: object = None) -> CheckError:
    return CheckError(f"the bundle is damaged: {what}", where=where, expected=expected, got=got, remedy=_REMEDY)


def read_bundle(path: Path) -> Bundle:
    """A bundle, every byte of it compared with its digest; CheckError names the first that differs, InputError what is no bundle."""
    with _source(path) as source:
        try:
            with source.open(MANIFEST) as file:
                manifest = file.read(_MOST_MANIFEST_BYTES + 1)
        except FileNotFoundError:
            raise InputError(
                "this is no bundle of Holonode", where=path, expected=f"a {MANIFEST} in it", remedy="`make bundle` makes one."
            ) from None
        bundle = _parsed(path, manifest)
        there = source.names() - {MANIFEST}
        if missing := sorted(bundle.files.keys() - there):
            raise _damaged(f"{len(missing)} of {len(bundle.files)} files are missing", path, expected=missing[0])
        if unknown := sorted(there - bundle.files.keys()):
            raise _damaged("it holds a file that its manifest doesn't name", path, got=unknown[0])
        for name, entry in bundle.files.items():
            with source.open(name) as file:
                _compare(name, entry, file)
    return bundle


def _parsed(path: Path, manifest: bytes) -> Bundle:
    """What the manifest says, as far as it can be meant."""
    try:
        said: dict[str, Any] = json.loads(manifest)
        if said["format"] != FORMAT:
            raise InputError(
                "this bundle is of another format", where=path, expected=FORMAT, got=said["format"],
                remedy="Install it by the install.sh that lies in it.",
            )  # fmt: skip
        files = {str(name): BundledFile(str(entry["sha256"]), int(entry["bytes"])) for name, entry in said["files"].items()}
        major, minor = (int(part) for part in said["glibc"].split("."))
        bundle = Bundle(
            path=path, version=said["version"], arch=said["arch"], python=said["python"], glibc=(major, minor),
            built_from=said["built_from"], store_schema=int(said["store_schema"]), unpacked_bytes=int(said["unpacked_bytes"]),
            files=files, digest=hashlib.sha256(manifest).hexdigest(),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(f"its {MANIFEST} can't be read", path, got=f"{type(error).__name__}: {error}") from error
    if not all(_NAME.fullmatch(name) for name in files) or not _VERSION.fullmatch(bundle.version) or len(files) > _MOST_FILES:
        raise _damaged(f"its {MANIFEST} names what no bundle holds", path)
    return bundle


def _compare(name: str, entry: BundledFile, file: BinaryIO, copy: BinaryIO | None = None) -> None:
    """CheckError where a file isn't what its entry says; written to `copy` on the way."""
    digest, size_bytes = hashlib.sha256(), 0
    while block := file.read(min(_BLOCK_BYTES, entry.size_bytes + 1 - size_bytes)):
        size_bytes += len(block)
        digest.update(block)
        if copy is not None:
            copy.write(block)
        if size_bytes > entry.size_bytes:
            break
    if size_bytes != entry.size_bytes:
        raise _damaged(
            "a file has another length", name, expected=f"{entry.size_bytes} bytes", got=f"{size_bytes} bytes or more"
        )
    if digest.hexdigest() != entry.sha256:
        raise _damaged("a file was changed", name, expected=entry.sha256, got=digest.hexdigest())


def copied(bundle: Bundle, source: _Source, name: str, target: Path) -> None:
    """Copy one file of a bundle, and compare it once more: a stick can be changed while it is read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open(name) as file, target.open("wb") as copy:
        _compare(name, bundle.files[name], file, copy)


def check_fits(bundle: Bundle, machine: Machine) -> None:
    """InputError where a bundle is for another machine."""
    for what, wanted, got in (("processor", bundle.arch, machine.arch), ("Python", bundle.python, machine.python)):
        if wanted != got:
            tag = f"{machine.arch}-cp{machine.python.replace('.', '')}"
            raise InputError(
                f"this bundle is for another {what}", where=bundle.path, expected=wanted, got=f"{got} here",
                remedy=f"Take the bundle whose name ends in {tag}.",
            )  # fmt: skip
    if machine.glibc is not None and machine.glibc < bundle.glibc:
        raise InputError(
            "this system is too old for the bundle", where=bundle.path, expected="C library {}.{} or newer".format(*bundle.glibc),
            got="{}.{}".format(*machine.glibc), remedy="Install Debian 12 (Raspberry Pi OS 12) or newer.",
        )  # fmt: skip
