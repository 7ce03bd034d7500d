"""The outbox: records wait in SQLite until they are delivered.

One connection; `locking_mode=EXCLUSIVE` before WAL, so that there is no shared-memory file; `synchronous=FULL`; records
of one interval commit together. `seq` is kept in the database and never repeats or goes back. A full disk drops
delivered rows first, then refuses new records, counts them, and says so in an event once there is room; an undelivered
row is never dropped.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Literal

from device.clock import BoxClock
from device.errors import InputError, TransientError
from device.identifiers import random_ulid, record_ulid
from device.records import Detection, Event, Interval, iso_time, to_json
from device.storage.database import claim, open_database
from device.storage.gap import Gap, GapFile
from device.storage.migrations import SCHEMA_VERSION

__all__ = ["SCHEMA_VERSION", "Counters", "Oldest", "Outbox", "Row"]

Record = Detection | Interval | Event
Build = Callable[[int], Sequence[Record]]
Kind = Literal["detections", "intervals", "events"]

_MOST_UNWRITTEN = 200
"""Deliveries noted in memory before they are written by themselves; most go with the next commit and cost the flash nothing.
A crash sends these again; the far end knows them by their key."""

_EVICT_AT_ONCE = 2000
"""Sent rows that are dropped for one commit on a short disk."""

_FEWEST_FREE_PAGES = 16
"""Of 4 kB: room for one interval's records inside the file."""

_NO_END = 2**62


@dataclass(frozen=True)
class Row:
    """A record that waits."""

    seq: int
    kind: Kind
    body: bytes
    """The record as JSON."""
    boot: str
    """Boot id of the service that made it."""
    historical: bool
    """Whether it was made before `live_from`."""


@dataclass(frozen=True)
class Oldest:
    """The row that has waited longest."""

    seq: int
    age_s: float
    """How long it has waited; at least that, where the machine has been off since."""


@dataclass
class Counters:
    """Since the service started."""

    gaps: int = 0
    """Gaps told in an event."""
    refused_records: int = 0
    evicted: int = 0
    """Sent rows dropped for want of room."""
    resent: int = 0
    """Rows published again because nobody confirmed them in time."""
    acks_refused: int = 0
    """Of a collector: for what was never published."""


def _kind(record: Record) -> Kind:
    if isinstance(record, Detection):
        return "detections"
    return "intervals" if isinstance(record, Interval) else "events"


class Outbox:
    """One store folder, held by one service; safe to share between its threads."""

    def __init__(
        self,
        folder: Path,
        device_id: str,
        *,
        boot_id: str = "",
        min_free_bytes: int = 0,
        resend_after_s: float = 60.0,
        clock: BoxClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """A row that was `published` and not confirmed is pending again after `resend_after_s`."""
        self.folder = folder
        self.device_id = device_id
        self.boot_id = boot_id or random_ulid()
        self.refused = 0
        """Commits refused since the last that went through."""
        self.counters = Counters()
        self.clock = clock or BoxClock()
        self._min_free_bytes, self._resend_after_s, self._monotonic = min_free_bytes, resend_after_s, monotonic
        self._lock = threading.RLock()
        self._done: set[int] = set()  # delivered, not yet written
        self._published: dict[int, float] = {}  # seq -> when
        self._settled_since_prune = True
        self._lock_file = claim(folder)
        try:
            self._database = open_database(folder / "outbox.sqlite")
            self._prepare()
        except BaseException:
            os.close(self._lock_file)
            raise
        self._gap_file = GapFile(folder / "gap")

    def _prepare(self) -> None:
        stored = self.get_state("device_id")
        if stored is not None and stored != self.device_id:
            raise InputError(
                "this store belongs to another device", where=self.folder, expected=stored, got=self.device_id,
                remedy="Give device.id back its name, or use another storage.folder.",
            )  # fmt: skip
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            fresh = {"device_id": self.device_id, "spool_id": random_ulid(), "next_seq": "1"}
            self._database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh.items())
        self._waiting = int(self._database.execute("SELECT count(*) FROM waiting").fetchone()[0])
        self._spool_id = self.get_state("spool_id") or ""
        self.live_from = self.next_seq
        """Rows from this one on are live, those before it history: see `begin_live`."""
        self._published_to = self.next_seq - 1  # earlier runs may have published all they made
        same = self.get_state("machine_boot") == self.clock.machine_boot
        self._machine_from = int(self.get_state("machine_from") or 1) if same else self.next_seq

    @property
    def spool_id(self) -> str:
        """Made with the store; with device id and seq it names a record for ever."""
        return self._spool_id

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return int(self.get_state("next_seq") or 1)

    def get_state(self, key: str) -> str | None:
        """A value kept with the records."""
        with self._lock:
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    # -- in ---------------------------------------------------------------------------------------------------------------

    def commit(self, build: Build, state: Mapping[str, str] | None = None) -> list[Record]:
        """Keep records together with state, all or nothing; `build` makes them from the first one's seq, and may be called again.

        TransientError where the disk is full or fails: nothing was kept, the refusal is counted in `refused` and told in an
        event with the first commit that goes through.
        """
        with self._lock:
            try:
                self._need_room()
                records = self._insert(build, state or {})
            except (sqlite3.OperationalError, OSError) as error:
                self._refuse(build)
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
        gap = self._gap_file.gap
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            first = self.next_seq
            records = list(build(first))
            told = self._gap_event(gap, first + len(records))
            rows = [(first + k, _kind(r), to_json(r), self.boot_id) for k, r in enumerate([*records, *told])]
            self._database.executemany("INSERT INTO records (seq, kind, body, boot) VALUES (?, ?, ?, ?)", rows)
            made_ns, offset_ns = self.clock.elapsed_ns(), None
            self._database.executemany("INSERT INTO waiting VALUES (?, ?, ?)", [(row[0], made_ns, offset_ns) for row in rows])
            own = {"next_seq": str(first + len(rows)), "gaps_told": str(gap.number), **self._machine_state()}
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", {**state, **own}.items())
            self._write_done()
        self._waiting += len(rows)
        self._note_written()
        if told:
            self.counters.gaps += 1
            self._gap_file.keep(Gap(number=gap.number))
        return records

    def _machine_state(self) -> dict[str, str]:
        return {"machine_boot": self.clock.machine_boot, "machine_from": str(self._machine_from)}

    # -- out --------------------------------------------------------------------------------------------------------------

    def begin_live(self) -> None:
        """From here on records are live and what waits is history: for a link that comes up behind a backlog."""
        self.live_from = self.next_seq

    def pending(self, limit: int, after_seq: int = 0) -> list[Row]:
        """Undelivered rows that aren't out for confirmation, in order."""
        return self._rows(after_seq, _NO_END, limit)

    def pending_live(self, limit: int, after_seq: int = 0) -> list[Row]:
        """Of `pending`, those from `live_from` on."""
        return self._rows(max(after_seq, self.live_from - 1), _NO_END, limit)

    def pending_history(self, limit: int, after_seq: int = 0) -> list[Row]:
        """Of `pending`, those before `live_from`."""
        return self._rows(after_seq, self.live_from, limit)

    def _rows(self, after_seq: int, before_seq: int, limit: int) -> list[Row]:
        # CROSS JOIN keeps the order of the tables: from the few that wait to their bodies.
        query = """SELECT seq, kind, body, boot FROM waiting CROSS JOIN records USING (seq)
            WHERE seq > ? AND seq < ? ORDER BY seq"""
        with self._lock:
            due = self._monotonic() - self._resend_after_s
            out = self._done.union(seq for seq, at in self._published.items() if at > due)
            found = (row for row in self._database.execute(query, (after_seq, before_seq)) if row[0] not in out)
            return [Row(*row, historical=row[0] < self.live_from) for row in islice(found, limit)]

    def published(self, seqs: Sequence[int]) -> None:
        """These were sent and wait to be confirmed; not pending again for `resend_after_s`."""
        now = self._monotonic()
        with self._lock:
            self.counters.resent += sum(seq in self._published for seq in seqs)
            self._published.update(dict.fromkeys(seqs, now))
            self._published_to = max(self._published_to, *seqs, 0)

    def unpublished(self, seqs: Sequence[int] | None = None) -> None:
        """These (default: all that are out) were lost on the way: pending at once."""
        with self._lock:
            for seq in list(self._published) if seqs is None else seqs:
                self._published.pop(seq, None)

    @property
    def unconfirmed(self) -> int:
        """Rows that are out for confirmation."""
        return len(self._published)

    def confirmed_to(self, spool_id: str, seq: int) -> int:
        """A collector has committed everything up to `seq`; returns how many rows that settled.

        Another spool's word is ignored. A seq beyond what was ever published is refused and counted, and a row that this
        run has not published stays: it is sent, and confirmed again.
        """
        with self._lock:
            if spool_id != self._spool_id:
                return 0
            if seq > self._published_to:
                self.counters.acks_refused += 1
                return 0
            settled = [number for number in self._published if number <= seq]
            self.delivered(settled)
            return len(settled)

    def delivered(self, seqs: Sequence[int]) -> None:
        """The far end has these; written with the next commit, so that a crash may send the newest again."""
        with self._lock:
            for seq in seqs:
                self._published.pop(seq, None)
                if seq not in self._done and self._waits(seq):
                    self._done.add(seq)
                    self._waiting -= 1
            if len(self._done) >= _MOST_UNWRITTEN:
                self._flush()

    def _waits(self, seq: int) -> bool:
        return self._database.execute("SELECT 1 FROM waiting WHERE seq = ?", (seq,)).fetchone() is not None

    def _flush(self) -> None:
        """Write what was delivered; what a disk refuses is kept for the next time."""
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                self._write_done()
        except sqlite3.OperationalError:
            return
        self._note_written()

    def _note_written(self) -> None:
        self._settled_since_prune |= bool(self._done)
        self._done.clear()

    def _write_done(self) -> None:
        self._database.executemany("DELETE FROM waiting WHERE seq = ?", [(seq,) for seq in sorted(self._done)])

    def depth(self) -> int:
        """Rows that wait."""
        return self._waiting

    @property
    def oldest_waiting(self) -> Oldest | None:
        """The undelivered row with the lowest seq; None where none waits."""
        with self._lock:
            query = "SELECT seq, made_ns FROM waiting ORDER BY seq"
            row = next((row for row in self._database.execute(query) if row[0] not in self._done), None)
        if row is None:
            return None
        here = row[0] >= self._machine_from
        return Oldest(row[0], (self.clock.elapsed_ns() - (row[1] if here else 0)) / 1e9)

    # -- room -------------------------------------------------------------------------------------------------------------

    def _need_room(self) -> None:
        """Drop delivered rows, oldest first, where the disk is short; OSError where that doesn't help."""
        if not self._min_free_bytes or shutil.disk_usage(self.folder).free >= self._min_free_bytes:
            return
        # Freed pages are used again by new rows; only when there are none does the file have to grow.
        if self._free_pages() < _FEWEST_FREE_PAGES:
            self._evict()
        if self._free_pages() < _FEWEST_FREE_PAGES:
            free = shutil.disk_usage(self.folder).free
            raise OSError(f"{free // 2**20} MB free, {self._min_free_bytes // 2**20} MB wanted")

    def _free_pages(self) -> int:
        return int(self._database.execute("PRAGMA freelist_count").fetchone()[0])

    def _evict(self) -> None:
        self._flush()
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            query = """DELETE FROM records WHERE seq IN (
                SELECT seq FROM records WHERE seq NOT IN (SELECT seq FROM waiting) ORDER BY seq LIMIT ?)"""
            self.counters.evicted += self._database.execute(query, (_EVICT_AT_ONCE,)).rowcount

    def _refuse(self, build: Build) -> None:
        """Count what was not kept; it is told once there is room."""
        self.refused += 1
        lost = [_kind(record) for record in build(self.next_seq)]
        if not lost:
            return
        self.counters.refused_records += len(lost)
        gap, now = self._gap_file.gap, iso_time(datetime.now(UTC))
        fresh = not gap.records
        self._gap_file.keep(
            Gap(
                number=gap.number + fresh,
                commits=gap.commits + 1,
                detections=gap.detections + lost.count("detections"),
                intervals=gap.intervals + lost.count("intervals"),
                events=gap.events + lost.count("events"),
                first_at=now if fresh else gap.first_at,
                last_at=now,
            )
        )

    def _gap_event(self, gap: Gap, seq: int) -> list[Event]:
        """What tells of the gap before it; nothing where there was none, or it has been told."""
        if not gap.records or gap.number <= int(self.get_state("gaps_told") or 0):
            return []
        now = datetime.now(UTC)
        return [
            Event(
                device_id=self.device_id,
                spool_id=self._spool_id,
                seq=seq,
                id=record_ulid(now, self.device_id, self._spool_id, seq),
                code="records_refused",
                severity="alarm",
                message=gap.message,
                value=float(gap.records),
                unit="records",
                since=gap.first_at,
            )
        ]

    def prune(self, keep: int = 200_000) -> None:
        """Forget the oldest delivered rows beyond `keep`, many at a time: whole pages come free, which costs no writing."""
        with self._lock:
            oldest, newest = self._database.execute("SELECT min(seq), max(seq) FROM records").fetchone()
            if oldest is None or newest - oldest < keep + keep // 50 or not self._settled_since_prune:
                return
            with self._database:
                query = "DELETE FROM records WHERE seq <= ? AND seq NOT IN (SELECT seq FROM waiting)"
                self._database.execute(query, (newest - keep,))
            self._settled_since_prune = False

    def close(self) -> None:
        """Release the store; safe to call twice."""
        with self._lock:
            if self._lock_file >= 0:
                self._flush()
                self._database.close()
                self._gap_file.close()
                os.close(self._lock_file)
                self._lock_file = -1
