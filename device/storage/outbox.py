"""The outbox: records wait in SQLite until they are delivered.

One connection; `locking_mode=EXCLUSIVE` before WAL, so that there is no shared-memory file; `synchronous=FULL`; records
of one interval commit together. `seq` is kept in the database and never repeats or goes back. A full disk drops
delivered rows first, then refuses new records, counts them, and says so once there is room; an undelivered row is never
dropped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from device.errors import InputError, TransientError
from device.identifiers import random_ulid
from device.records import Detection, Event, Interval, to_json

__all__ = ["Outbox", "Row"]

Record = Detection | Interval | Event
Build = Callable[[int], Sequence[Record]]
Kind = Literal["detections", "intervals", "events"]

SCHEMA_VERSION = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL, boot TEXT NOT NULL, delivered INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS waiting ON records (seq) WHERE delivered = 0;
"""


@dataclass(frozen=True)
class Row:
    """A record that waits."""

    seq: int
    kind: Kind
    body: bytes
    """The record as JSON."""
    boot: str
    """Boot id of the service that made it."""


def _kind(record: Record) -> Kind:
    if isinstance(record, Detection):
        return "detections"
    return "intervals" if isinstance(record, Interval) else "events"


class Outbox:
    """One store folder, held by one service; safe to share between its threads."""

    def __init__(self, folder: Path, device_id: str, *, boot_id: str = "", min_free_bytes: int = 0) -> None:
        self.folder = folder
        self.device_id = device_id
        self.boot_id = boot_id or random_ulid()
        self.refused = 0
        """Commits refused since the last that went through."""
        self._min_free_bytes = min_free_bytes
        self._lock = threading.RLock()
        self._lock_file = _claim(folder)
        try:
            self._database = _open(folder / "outbox.sqlite")
            self._prepare()
        except BaseException:
            os.close(self._lock_file)
            raise

    def _prepare(self) -> None:
        stored = self.get_state("device_id")
        if stored is not None and stored != self.device_id:
            raise InputError(
                "this store belongs to another device", where=self.folder, expected=stored, got=self.device_id,
                remedy="Give device.id back its name, or use another storage.folder.",
            )  # fmt: skip
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            fresh = {"device_id": self.device_id, "spool_id": random_ulid(), "next_seq": "1", "schema": str(SCHEMA_VERSION)}
            self._database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh.items())
        schema = int(self.get_state("schema") or 0)
        if schema > SCHEMA_VERSION:
            raise InputError(
                "this store was written by a newer Holonode", where=self.folder, expected=f"schema {SCHEMA_VERSION} or older",
                got=schema, remedy="Update Holonode; nothing was changed.",
            )  # fmt: skip

    @property
    def spool_id(self) -> str:
        """Made with the store; with device id and seq it names a record for ever."""
        return self.get_state("spool_id") or ""

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return int(self.get_state("next_seq") or 1)

    def get_state(self, key: str) -> str | None:
        """A value kept with the records."""
        with self._lock:
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def commit(self, build: Build, state: Mapping[str, str] | None = None) -> list[Record]:
        """Keep records together with state, all or nothing; `build` makes them from the first one's seq.

        TransientError where the disk is full: nothing was kept, the refusal is counted in `refused`.
        """
        with self._lock:
            try:
                self._need_room()
                records = self._insert(build, state or {})
            except (sqlite3.OperationalError, OSError) as error:
                self.refused += 1
                raise TransientError(
                    "the store can't take new records", where=self.folder, got=str(error),
                    remedy="Free disk space; what was stored before is safe.",
                ) from error  # fmt: skip
            self.refused = 0
            return records

    def keep(self, state: Mapping[str, str]) -> None:
        """Keep state alone, as `commit` does."""
        self.commit(lambda _: [], state)

    def _insert(self, build: Build, state: Mapping[str, str]) -> list[Record]:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            first = self.next_seq
            records = list(build(first))
            rows = [(first + k, _kind(r), to_json(r), self.boot_id) for k, r in enumerate(records)]
            self._database.executemany("INSERT INTO records (seq, kind, body, boot) VALUES (?, ?, ?, ?)", rows)
            values = {**state, "next_seq": str(first + len(records))}
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())
        return records

    def _need_room(self) -> None:
        """Drop delivered rows where the disk is short; OSError where that doesn't help."""
        if not self._min_free_bytes or shutil.disk_usage(self.folder).free >= self._min_free_bytes:
            return
        with self._database:
            self._database.execute("DELETE FROM records WHERE delivered = 1")
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Freed pages are used again by new rows; only when there are none does the file have to grow.
        if int(self._database.execute("PRAGMA freelist_count").fetchone()[0]) < 16:
            free = shutil.disk_usage(self.folder).free
            raise OSError(f"{free // 2**20} MB free, {self._min_free_bytes // 2**20} MB wanted")

    def pending(self, limit: int, after_seq: int = 0) -> list[Row]:
        """Undelivered rows, in order."""
        query = "SELECT seq, kind, body, boot FROM records WHERE delivered = 0 AND seq > ? ORDER BY seq LIMIT ?"
        with self._lock:
            return [Row(*row) for row in self._database.execute(query, (after_seq, limit))]

    def delivered(self, seqs: Sequence[int]) -> None:
        """The far end has these."""
        with self._lock, self._database:
            self._database.executemany("UPDATE records SET delivered = 1 WHERE seq = ?", [(s,) for s in seqs])

    def depth(self) -> int:
        """Rows that wait."""
        with self._lock:
            return int(self._database.execute("SELECT count(*) FROM records WHERE delivered = 0").fetchone()[0])

    def prune(self, keep: int = 200_000) -> None:
        """Forget the oldest delivered rows beyond `keep`."""
        with self._lock, self._database:
            self._database.execute(
                "DELETE FROM records WHERE delivered = 1 AND seq <= (SELECT max(seq) FROM records) - ?", (keep,)
            )

    def close(self) -> None:
        """Release the store; safe to call twice."""
        with self._lock:
            if self._lock_file >= 0:
                self._database.close()
                os.close(self._lock_file)
                self._lock_file = -1


def _claim(folder: Path) -> int:
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
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _open(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        raise InputError(
            "the store's database can't be opened", where=path, got=str(error),
            remedy="Nothing was changed. Move the file away to start afresh; keep it, its records may be recoverable.",
        ) from error  # fmt: skip
    return database
