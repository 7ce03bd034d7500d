"""A store's database: the folder claimed by one process, the connection, its settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from device.errors import HolonodeError, InputError, TransientError
from device.storage.pages import DamagedFile
from device.storage.sums import is_damage, tolerant_text

__all__ = ["Connected", "claim", "connect", "refusal", "settle"]

_UNTOLD = 2**31


def claim(folder: Path) -> int:
    """Lock the folder for this process; InputError where another has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            "the store folder can't be used", where=folder, got=error.strerror, remedy="Set storage.folder to a folder you own."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 32).decode(errors="replace").strip()
        os.close(descriptor)
        raise InputError(
            "another service uses this store", where=folder, got=f"process {holder}" if holder else None,
            remedy="Stop it first, or give this one another storage.folder and device.id.",
        ) from error  # fmt: skip
    with contextlib.suppress(OSError):  # who holds it is a courtesy that a full disk may refuse
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


@dataclass(frozen=True)
class Connected:
    """A connection, alone on its file."""

    database: sqlite3.Connection
    settled: bool
    """Whether what its log held is in the database itself."""
    frames: int
    """Pages of the log that SQLite took for committed; a large number where the disk won't tell."""
    pages: DamagedFile
    """The file as it was when it was opened. It stays open as long as the connection: closing it, this process would lose the
    locks that SQLite has on it."""

    def close(self) -> None:
        """Both, in their order."""
        with contextlib.suppress(sqlite3.Error):
            self.database.close()
        self.pages.close()


def connect(path: Path) -> Connected:
    """Open a store's file; sqlite3.DatabaseError where it is damaged, InputError or TransientError where it can't be opened."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.text_factory = tolerant_text
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        frames = log_frames(database)
        return Connected(database, settle(database), frames, DamagedFile(path, None))
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
            raise refusal(error, path) from error
        raise


def refusal(error: sqlite3.DatabaseError, path: Path) -> HolonodeError:
    """What to say of a file that is not damaged and can't be opened."""
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR) & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return TransientError(
            "the store's database can't be opened", where=path, got=str(error), remedy="Free disk space, or look at the disk."
        )
    return InputError(
        "the store's database can't be opened", where=path, got=str(error),
        remedy="Nothing was changed. Give this user the right to write the folder and what is in it.",
    )  # fmt: skip


def log_frames(database: sqlite3.Connection) -> int:
    try:
        return int(database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    except sqlite3.OperationalError as error:
        if is_damage(error):
            raise
        return _UNTOLD


def settle(database: sqlite3.Connection) -> bool:
    """Write again, into the database itself, what recovery found in the log; False where the disk won't have it.

    After a failed sync a log may read well and not be on the disk: decisions/2026-11-26-failed-syncs.md.
    """
    try:
        busy = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if is_damage(error):
            raise
        return False
    return busy == 0
