"""A store's database: the folder claimed by one process, the connection, its settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from device.errors import InputError
from device.storage.migrations import migrate

__all__ = ["claim", "open_database"]


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


def open_database(path: Path) -> sqlite3.Connection:
    """One connection, alone on its file, its tables up to date; InputError where that can't be."""
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        migrate(database, path)
    except sqlite3.DatabaseError as error:
        raise InputError(
            "the store's database can't be opened", where=path, got=str(error),
            remedy="Nothing was changed. Move the file away to start afresh; keep it, its records may be recoverable.",
        ) from error  # fmt: skip
    return database
