"""A store's database: the folder claimed by one process, the connection, its settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from device.errors import HolonodeError, InputError, TransientError
from device.storage.migrations import migrate

__all__ = ["claim", "open_database", "settle"]


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


def open_database(path: Path) -> tuple[sqlite3.Connection, bool]:
    """One connection, alone on its file, its tables up to date, and whether its log is settled.

    InputError where the file is no store of ours, TransientError where the disk refuses.
    """
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        settled = settle(database)
        migrate(database, path)
    except BaseException as error:
        database.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise _refusal(error, path) from error
        raise
    return database, settled


def _refusal(error: sqlite3.DatabaseError, path: Path) -> HolonodeError:
    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return TransientError(
            "the store's database can't be opened", where=path, got=str(error), remedy="Free disk space, or look at the disk."
        )
    return InputError(
        "the store's database can't be opened", where=path, got=str(error),
        remedy="Nothing was changed. Move the file away to start afresh; keep it, its records may be recoverable.",
    )  # fmt: skip


def settle(database: sqlite3.Connection) -> bool:
    """Write again, into the database itself, what recovery found in the log; False where the disk won't have it.

    After a failed sync a log may read well and not be on the disk: decisions/2026-11-26-failed-syncs.md.
    """
    try:
        busy = database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
    except sqlite3.OperationalError:
        return False
    return busy == 0
