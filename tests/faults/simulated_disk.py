"""A disk in memory under the SQLite that the outbox itself uses: what isn't synced can be lost, torn and reordered.

The disk is a VFS (https://sqlite.org/vfs.html) registered with ctypes in the very library that Python's sqlite3 is linked to,
as the default one, so that the outbox runs unchanged: see decisions/2026-11-26-a-disk-that-loses-power.md. Only what SQLite
needs under `locking_mode=EXCLUSIVE` is there: no shared memory.
"""

from __future__ import annotations

import ctypes as c
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["DiskError", "SimulatedDisk", "StoredFile", "mounted", "unavailable"]

OK, FULL, CANTOPEN = 0, 13, 14
IOERR_READ, IOERR_SHORT_READ, IOERR_WRITE, IOERR_FSYNC = 266, 522, 778, 1034
_DELETE_ON_CLOSE, _CREATE = 0x08, 0x04
_POWERSAFE_OVERWRITE = 0x1000  # what SQLite's own VFS says of a Linux disk

SECTOR_BYTES = 512
"""A power cut leaves each of these whole."""


class DiskError(Exception):
    """What an injected fault answers; the code is SQLite's."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"SQLite code {code}")


@dataclass
class StoredFile:
    """One file: what reads see, what the platter holds, and what lies between."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes (offset, bytes) and truncations (size, None) since the last sync."""
    named: bool = False
    """Whether its name is on the platter."""

    def write(self, offset: int, content: bytes) -> None:
        _apply(self.seen, offset, content)
        self.unsynced.append((offset, content))

    def truncate(self, size: int) -> None:
        _apply(self.seen, size, None)
        self.unsynced.append((size, None))

    def sync(self) -> None:
        for where, content in self.unsynced:
            _apply(self.durable, where, content)
        self.unsynced.clear()
        self.named = True

    def forget_unsynced(self) -> None:
        """A sync that failed: Linux marks the pages clean. They read as written and are never written again."""
        self.unsynced.clear()

    def after_cut(self, rng: random.Random | None) -> bytes | None:
        """What a power cut leaves: without `rng` only what was synced, else any version of any sector; None: no file."""
        if rng is None:
            return bytes(self.durable) if self.named else None
        if not self.named and rng.random() < 0.5:
            return None
        left = bytearray(self.durable)
        # A disk with a cache writes in any order: each sector holds its old content or any that was written to it since.
        keep = rng.choice((0.1, 0.5, 0.9, 1.0))
        for where, content in self.unsynced:
            if content is None:
                if rng.random() < keep:
                    _apply(left, where, None)
                continue
            for start, piece in _sectors(where, content):
                if rng.random() < keep:
                    _apply(left, start, piece)
        return bytes(left)


def _apply(data: bytearray, where: int, content: bytes | None) -> None:
    if content is None:
        del data[where:]
        data.extend(bytes(where - len(data)))
        return
    if len(data) < where:
        data.extend(bytes(where - len(data)))
    data[where : where + len(content)] = content


def _sectors(offset: int, content: bytes) -> Generator[tuple[int, bytes]]:
    end = offset + len(content)
    while offset < end:
        stop = min(end, (offset // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield offset, content[len(content) - (end - offset) : len(content) - (end - stop)]
        offset = stop


class SimulatedDisk:
    """Files by name; `on_change(kind, *arguments)` hears of every change before it happens and may raise DiskError."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = {
            path: StoredFile(bytearray(content), bytearray(content), named=True) for path, content in (files or {}).items()
        }
        self.removed: dict[str, StoredFile] = {}
        """Files whose removal a power cut may undo."""
        self.written_bytes = 0
        self.on_change: Callable[..., None] = lambda _kind, *_arguments: None

    def create(self, path: str) -> None:
        self.on_change("create", path)
        self.files[path] = StoredFile()

    def write(self, path: str, offset: int, content: bytes) -> None:
        self.on_change("write", path, offset, content)
        self.files[path].write(offset, content)
        self.written_bytes += len(content)

    def truncate(self, path: str, size: int) -> None:
        self.on_change("truncate", path, size)
        self.files[path].truncate(size)

    def sync(self, path: str) -> None:
        file = self.files[path]
        try:
            self.on_change("sync", path)
        except DiskError:
            file.forget_unsynced()
            raise
        if not file.named:
            self.removed.clear()  # SQLite syncs the folder with a new log's first sync, and with it what was removed before
        file.sync()

    def remove(self, path: str, durably: bool) -> None:
        self.on_change("remove", path, durably)
        file = self.files.pop(path, None)
        if file is not None and file.named and not durably:
            self.removed[path] = file

    def after_cut(self, rng: random.Random | None) -> dict[str, bytes]:
        """The files that a power cut at this moment leaves: see StoredFile.after_cut."""
        # A removal that is not synced may not have happened; a new file of the same name came after it.
        candidates = {**({} if rng and rng.random() < 0.5 else self.removed), **self.files}
        left = {path: file.after_cut(rng) for path, file in candidates.items()}
        return {path: content for path, content in left.items() if content is not None}


class _Methods(c.Structure):
    pass


class _File(c.Structure):
    _fields_ = (("methods", c.POINTER(_Methods)), ("number", c.c_int64))


class _Vfs(c.Structure):
    pass


_FILE, _VFS, _INT_OUT = c.POINTER(_File), c.POINTER(_Vfs), c.POINTER(c.c_int)
_On = {
    "close": c.CFUNCTYPE(c.c_int, _FILE),
    "read": c.CFUNCTYPE(c.c_int, _FILE, c.c_void_p, c.c_int, c.c_int64),
    "write": c.CFUNCTYPE(c.c_int, _FILE, c.c_void_p, c.c_int, c.c_int64),
    "truncate": c.CFUNCTYPE(c.c_int, _FILE, c.c_int64),
    "sync": c.CFUNCTYPE(c.c_int, _FILE, c.c_int),
    "size": c.CFUNCTYPE(c.c_int, _FILE, c.POINTER(c.c_int64)),
    "lock": c.CFUNCTYPE(c.c_int, _FILE, c.c_int),
    "unlock": c.CFUNCTYPE(c.c_int, _FILE, c.c_int),
    "reserved": c.CFUNCTYPE(c.c_int, _FILE, _INT_OUT),
    "control": c.CFUNCTYPE(c.c_int, _FILE, c.c_int, c.c_void_p),
    "sector": c.CFUNCTYPE(c.c_int, _FILE),
    "characteristics": c.CFUNCTYPE(c.c_int, _FILE),
}
_Methods._fields_ = (("version", c.c_int), *_On.items())
_Of = {
    "open": c.CFUNCTYPE(c.c_int, _VFS, c.c_char_p, _FILE, c.c_int, _INT_OUT),
    "delete": c.CFUNCTYPE(c.c_int, _VFS, c.c_char_p, c.c_int),
    "access": c.CFUNCTYPE(c.c_int, _VFS, c.c_char_p, c.c_int, _INT_OUT),
    "full_path": c.CFUNCTYPE(c.c_int, _VFS, c.c_char_p, c.c_int, c.c_void_p),
    "dl_open": c.c_void_p, "dl_error": c.c_void_p, "dl_sym": c.c_void_p, "dl_close": c.c_void_p,
    "randomness": c.CFUNCTYPE(c.c_int, _VFS, c.c_int, c.c_void_p),
    "sleep": c.CFUNCTYPE(c.c_int, _VFS, c.c_int),
    "time": c.CFUNCTYPE(c.c_int, _VFS, c.POINTER(c.c_double)),
    "last_error": c.CFUNCTYPE(c.c_int, _VFS, c.c_int, c.c_void_p),
}  # fmt: skip
_Vfs._fields_ = (
    ("version", c.c_int), ("file_bytes", c.c_int), ("longest_path", c.c_int), ("next", c.c_void_p), ("name", c.c_char_p),
    ("data", c.c_void_p), *_Of.items(),
)  # fmt: skip


def _library() -> Any:
    """The SQLite that the module sqlite3 uses."""
    import _sqlite3

    return c.CDLL(_sqlite3.__file__)


def unavailable() -> str:
    """Why there can be no simulated disk; empty: there can."""
    try:
        _library().sqlite3_vfs_register  # noqa: B018  looked up by name in the library
    except (AttributeError, OSError):
        return "Python's sqlite3 hides its SQLite: build Python with the system's libsqlite3, as Debian does"
    return ""


class _Mount:
    """Callbacks of one registered VFS, over one disk."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.disk = disk
        self._open_files: dict[int, tuple[str, bool]] = {}
        self._numbers = 0
        self._methods = _Methods(1, **{name: kind(_guarded(getattr(self, f"on_{name}"))) for name, kind in _On.items()})
        calls = {name: kind(_guarded(getattr(self, f"of_{name}"))) for name, kind in _Of.items() if kind is not c.c_void_p}
        self.vfs = _Vfs(1, c.sizeof(_File), 512, None, b"simulated-disk", None, **calls)

    def _path(self, file: Any) -> str:
        return self._open_files[file.contents.number][0]

    def _stored(self, file: Any) -> StoredFile:
        return self.disk.files[self._path(file)]

    def on_close(self, file: Any) -> int:
        path, temporary = self._open_files.pop(file.contents.number)
        if temporary:
            self.disk.files.pop(path, None)
        return OK

    def on_read(self, file: Any, target: int, count: int, offset: int) -> int:
        piece = bytes(memoryview(self._stored(file).seen)[offset : offset + count])
        c.memmove(target, piece.ljust(count, b"\0"), count)
        return OK if len(piece) == count else IOERR_SHORT_READ

    def on_write(self, file: Any, source: int, count: int, offset: int) -> int:
        self.disk.write(self._path(file), offset, c.string_at(source, count))
        return OK

    def on_truncate(self, file: Any, size: int) -> int:
        self.disk.truncate(self._path(file), size)
        return OK

    def on_sync(self, file: Any, _flags: int) -> int:
        self.disk.sync(self._path(file))
        return OK

    def on_size(self, file: Any, size: Any) -> int:
        size[0] = len(self._stored(file).seen)
        return OK

    def on_lock(self, _file: Any, _level: int) -> int:
        return OK

    def on_unlock(self, _file: Any, _level: int) -> int:
        return OK

    def on_reserved(self, _file: Any, answer: Any) -> int:
        answer[0] = 0
        return OK

    def on_control(self, _file: Any, _what: int, _argument: int) -> int:
        return 12  # not found: nothing beyond the defaults

    def on_sector(self, _file: Any) -> int:
        return 4096

    def on_characteristics(self, _file: Any) -> int:
        return _POWERSAFE_OVERWRITE

    def of_open(self, _vfs: Any, name: bytes | None, file: Any, flags: int, out_flags: Any) -> int:
        file.contents.methods = None
        path = name.decode() if name else f"temporary-{self._numbers}"
        if path not in self.disk.files:
            if name and not flags & _CREATE:
                return CANTOPEN
            self.disk.create(path)
        self._numbers += 1
        self._open_files[self._numbers] = (path, not name or bool(flags & _DELETE_ON_CLOSE))
        file.contents.number = self._numbers
        file.contents.methods = c.pointer(self._methods)
        if out_flags:
            out_flags[0] = flags
        return OK

    def of_delete(self, _vfs: Any, name: bytes, sync_folder: int) -> int:
        self.disk.remove(name.decode(), bool(sync_folder))
        return OK

    def of_access(self, _vfs: Any, name: bytes, _flags: int, answer: Any) -> int:
        answer[0] = int(name.decode() in self.disk.files)
        return OK

    def of_full_path(self, _vfs: Any, name: bytes, room: int, target: int) -> int:
        path = str(Path(name.decode()).absolute()).encode() + b"\0"
        c.memmove(target, path, min(len(path), room))
        return OK

    def of_randomness(self, _vfs: Any, count: int, target: int) -> int:
        c.memmove(target, random.randbytes(count), count)
        return count

    def of_sleep(self, _vfs: Any, microseconds: int) -> int:
        return microseconds

    def of_time(self, _vfs: Any, julian_day: Any) -> int:
        julian_day[0] = time.time() / 86400 + 2440587.5
        return OK

    def of_last_error(self, _vfs: Any, _room: int, _target: int) -> int:
        return 0


def _guarded(call: Callable[..., int]) -> Callable[..., int]:
    def guarded(*arguments: Any) -> int:
        try:
            return call(*arguments)
        except DiskError as error:
            return error.code

    return guarded


@contextmanager
def mounted(disk: SimulatedDisk) -> Generator[_Mount]:
    """Every database that is opened meanwhile lies on `disk`; `mount.disk` may be replaced while none is open."""
    library = _library()
    mount = _Mount(disk)
    library.sqlite3_vfs_register(c.byref(mount.vfs), 1)
    try:
        yield mount
    finally:
        library.sqlite3_vfs_unregister(c.byref(mount.vfs))
