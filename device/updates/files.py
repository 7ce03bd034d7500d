"""Small files that must be whole after a power cut, and files that somebody else may have put there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from device.errors import TransientError

__all__ = ["open_plain", "read_small", "remove", "sole_change", "sync", "sync_tree", "write_whole"]

_PARTIAL = ".partial"


def open_plain(path: Path) -> int:
    """A descriptor of a plain file; OSError where it is a link or anything else: a pipe would hold its reader for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(f"{path} is no plain file")


def read_small(path: Path, most_bytes: int = 65_536) -> bytes | None:
    """The content of a plain file; None where there is none; OSError where it is longer than that or no plain file."""
    try:
        descriptor = open_plain(path)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(f"{path} holds more than {most_bytes} bytes")
    return content


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Put a file in place of what was there: after a power cut it is the old one or this one."""
    partial = path.with_name(path.name + _PARTIAL)
    with contextlib.suppress(FileNotFoundError):
        partial.unlink()
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, durably; nothing happens where there is none."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """The same for everything in a folder, itself last."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            if not (file := Path(place, name)).is_symlink():
                sync(file)
        sync(Path(place))


@contextmanager
def sole_change(folder: Path, *, waits: bool = False) -> Generator[None]:
    """One change at a time; TransientError where another runs, unless it `waits`. Whoever is killed gives the place up."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TransientError("another update is under way", where=folder, remedy="holonode update status tells.") from error
        for left in (*folder.glob(f"*{_PARTIAL}"), *folder.glob("trusted-*")):
            if left.is_dir() and (folder / "trusted").resolve() != left.resolve():
                shutil.rmtree(left, ignore_errors=True)
            elif left.suffix == _PARTIAL and not left.is_dir():
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)
