"""One signed file: fetched within its length and in time, gone on with after a break, kept only where its digest is right."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from device.errors import CheckError, InputError, TransientError
from device.updates.files import sync
from device.updates.sources import UpdateSource

__all__ = ["DownloadLimits", "bounded", "fetch_file"]

_MB = 2**20


@dataclass(frozen=True)
class DownloadLimits:
    """What a download may take."""

    begin_s: float = 60.0
    """Allowed to any file."""
    slowest_bytes_s: float = 4096.0
    """And in addition the time that its length takes at this rate."""
    reserve_bytes: int = 64 * _MB
    """That must stay free."""
    monotonic: Callable[[], float] = time.monotonic

    def within_s(self, length_bytes: int) -> float:
        """For a file of this length."""
        return self.begin_s + length_bytes / self.slowest_bytes_s


def bounded(chunks: Iterator[bytes], length_bytes: int, limits: DownloadLimits) -> Iterator[bytes]:
    """The chunks; OverflowError beyond the length, TimeoutError beyond the time."""
    until_s, left = limits.monotonic() + limits.within_s(length_bytes), length_bytes
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise OverflowError(f"more than {length_bytes} bytes")
        yield chunk
        if left and limits.monotonic() > until_s:
            raise TimeoutError(f"{length_bytes - left} of {length_bytes} bytes in {limits.within_s(length_bytes):.0f} s")


def fetch_file(
    source: UpdateSource, name: str, target: Path, *, length_bytes: int, sha256: str, limits: DownloadLimits | None = None
) -> Path:
    """Fetch `name` to `target`, whose length and digest are signed; what is there and right is not fetched again.

    TransientError where the source breaks off (what came is kept for the next try); CheckError where it sent something
    else (nothing is kept); InputError where there is no room.
    """
    limits = limits or DownloadLimits()
    if target.is_file() and _digest(target) == sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    have = _usable_bytes(partial, length_bytes)
    _require_room(target.parent, length_bytes - have, limits)
    try:
        _receive(source, name, partial, have, length_bytes, limits)
        _require_signed(name, partial, length_bytes, sha256)
        sync(partial)
        partial.replace(target)
        sync(target.parent)
    except FileNotFoundError as error:
        raise CheckError("a signed file is missing at the source", where=name, got=str(error)) from error
    except OverflowError as error:
        partial.unlink(missing_ok=True)
        raise CheckError("the file is longer than was signed", where=name, got=str(error)) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            partial.unlink(missing_ok=True)
            raise _no_room(target.parent, length_bytes) from error
        raise TransientError(
            "the file could not be fetched", where=name, got=str(error), remedy="The next try goes on where this one ended."
        ) from error
    return target


def _usable_bytes(partial: Path, length_bytes: int) -> int:
    """What an earlier try left; somebody else's link or pipe must not be written to."""
    if partial.is_symlink() or (partial.exists() and (not partial.is_file() or partial.stat().st_size > length_bytes)):
        partial.unlink()
    return partial.stat().st_size if partial.exists() else 0


def _require_signed(name: str, partial: Path, length_bytes: int, sha256: str) -> None:
    if (size := partial.stat().st_size) < length_bytes:
        raise TransientError(
            "the file broke off", where=name, expected=f"{length_bytes} bytes", got=size, remedy="The next try goes on there."
        )
    if (got := _digest(partial)) != sha256:
        partial.unlink()
        raise CheckError("the file is not the one that was signed", where=name, expected=f"SHA-256 {sha256}", got=got)


def _receive(source: UpdateSource, name: str, partial: Path, have: int, length_bytes: int, limits: DownloadLimits) -> None:
    if 0 < have == length_bytes:
        return
    begins, chunks = source.open(name, have)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as out:
        out.truncate(begins)
        out.seek(begins)
        for chunk in bounded(chunks, length_bytes - begins, limits):
            out.write(chunk)


def _require_room(folder: Path, length_bytes: int, limits: DownloadLimits) -> None:
    if shutil.disk_usage(folder).free < length_bytes + limits.reserve_bytes:
        raise _no_room(folder, length_bytes + limits.reserve_bytes)


def _no_room(folder: Path, wanted_bytes: int) -> InputError:
    return InputError(
        "no room for the update", where=folder, expected=f"{wanted_bytes / _MB:.0f} MB free",
        got=f"{shutil.disk_usage(folder).free / _MB:.0f} MB", remedy="Make room; the box goes on as it is.",
    )  # fmt: skip


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
