"""A copy of a store that a service may be writing to.

The service holds its database exclusively, so that no second connection may read it. Its files may be copied, though, with
what keeps SQLite safe from a power cut: a page that a checkpoint is writing still stands in the write-ahead log, and what is
half written at the log's end fails its checksum. That holds as long as the log was not begun anew during the copy, which
its header tells (https://www.sqlite.org/fileformat2.html#walformat).

Never from the service's own process: closing a file gives up all locks that the process holds on it.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from device.errors import CheckError, InputError, TransientError
from device.storage.outbox import SCHEMA_VERSION
from device.storage.sums import tolerant_text

__all__ = ["PREFIX", "snapshot"]

PREFIX = ".snapshot-"
"""Begins the name of a copy's folder; one that is left over is an interrupted export's."""

_NAME = "outbox.sqlite"
_ATTEMPTS = 20
"""A service begins its log anew once in some thousand pages written: two attempts in a row are rare."""
_WAL_HEADER_BYTES = 32


@contextmanager
def snapshot(store: Path, beside: Path) -> Generator[sqlite3.Connection]:
    """The store as it is at this moment, the service running or not; the store itself is only read.

    The copy lies in the folder `beside` until the end of the `with`.
    """
    database = store / _NAME
    if not database.is_file():
        raise InputError(
            "there is no store yet", where=store, expected="the storage.folder of a service",
            remedy="Name its configuration with --config.",
        )  # fmt: skip
    try:
        for left in beside.glob(f"{PREFIX}*"):
            shutil.rmtree(left)
        with TemporaryDirectory(prefix=PREFIX, dir=beside) as folder:
            copy = Path(folder) / _NAME
            _copy(database, copy)
            with closing(_opened(copy, database)) as connection:
                yield connection
    except OSError as error:
        raise InputError(
            "the store can't be copied", where=f"{error.filename or database}", got=error.strerror,
            remedy="The folder of --out needs room for a copy of the store, and the user the right to read it.",
        ) from error  # fmt: skip


def _copy(database: Path, copy: Path) -> None:
    for _ in range(_ATTEMPTS):
        before = _state(database)
        shutil.copyfile(database, copy)
        log, copied_log = _log_of(database), _log_of(copy)
        copied_log.unlink(missing_ok=True)
        if log.exists():
            shutil.copyfile(log, copied_log)
        if _state(database) == before:
            return
    raise TransientError("the store changes faster than it can be copied", where=database, remedy="Try again.")


def _log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def _state(database: Path) -> tuple[bytes, int, int]:
    """What stays the same while pages are only added to the log: its header, or the database where there is no log."""
    try:
        with _log_of(database).open("rb") as log:
            header = log.read(_WAL_HEADER_BYTES)
    except FileNotFoundError:
        header = b""
    if header:
        return header, 0, 0
    found = database.stat()
    return header, found.st_mtime_ns, found.st_size


def _opened(copy: Path, database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.text_factory = tolerant_text
    try:
        verdict = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        schema = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        raise InputError(
            "the copy of the store can't be read",
            where=copy.parent.parent,
            got=str(error),
            remedy="Make room for it, or use another --out.",
        ) from error
    except sqlite3.DatabaseError as error:
        verdict, schema = str(error), None
    if verdict != "ok":
        connection.close()
        raise CheckError(
            "the store's database is damaged", where=database, expected="a sound SQLite file", got=verdict,
            remedy="The service salvages it when it meets the damage, or at its next start; export again then.",
        )  # fmt: skip
    if schema is None or int(schema[0]) > SCHEMA_VERSION:
        connection.close()
        raise InputError(
            "the store was written by a newer Holonode", where=database, expected=f"schema {SCHEMA_VERSION} or older",
            got=schema and schema[0], remedy="Update Holonode.",
        )  # fmt: skip
    return connection
