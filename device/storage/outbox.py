"""The outbox: records wait in SQLite until they are delivered.

One connection; `locking_mode=EXCLUSIVE` before WAL, so that there is no shared-memory file; `synchronous=FULL`; records
of one interval commit together. `seq` is kept in the database and never repeats or goes back. A full disk drops
delivered rows first, then refuses new records, counts them, and says so in an event once there is room; an undelivered
row is never dropped.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from device.clock import BoxClock
from device.errors import InputError, TransientError
from device.identifiers import random_ulid
from device.records import Detection, Event, Interval, to_json
from device.storage.backdate import shifted
from device.storage.database import claim, open_database, settle
from device.storage.gap import Gaps
from device.storage.migrations import SCHEMA_VERSION
from device.storage.reading import StoreReader
from device.storage.room import Giver, Room

__all__ = ["SCHEMA_VERSION", "Counters", "Oldest", "Outbox", "Row"]

Record = Detection | Interval | Event
Build = Callable[[int], Sequence[Record]]
Kind = Literal["detections", "intervals", "events"]
Answer = TypeVar("Answer")

_MOST_UNWRITTEN = 200
"""Deliveries noted in memory before they are written by themselves; most go with the next commit and cost the flash nothing.
A crash sends these again; the far end knows them by their key."""

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
    resent: int = 0
    """Rows published again because nobody confirmed them in time."""
    acks_refused: int = 0
    """Of a collector: for what was never published."""
    backdated: int = 0
    """Rows whose stamps were corrected when the wall clock was set."""
    failed_reads: int = 0
    """Of a disk that couldn't be read."""


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
        givers: Sequence[Giver] = (),
        resend_after_s: float = 60.0,
        clock: BoxClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`givers` free disk, in order, before sent rows are dropped for it.

        A row that was `published` and not confirmed is pending again after `resend_after_s`.
        """
        self.folder = folder
        self.device_id = device_id
        self.boot_id = boot_id or random_ulid()
        self.refused = 0
        """Commits refused since the last that went through."""
        self.counters = Counters()
        self.clock = clock or BoxClock()
        self.resend_after_s = resend_after_s
        self._monotonic = monotonic
        self._room = Room(folder, min_free_bytes, givers)
        self._lock = threading.RLock()
        self._done: set[int] = set()  # delivered, not yet written
        self._published: dict[int, float] = {}  # seq -> when
        self._aside: dict[int, float] = {}  # seq -> until when
        self._settled_since_prune = True
        self._lock_file = claim(folder)
        try:
            self._database, self._log_settled = open_database(folder / "outbox.sqlite")
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
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
            fresh = {"device_id": self.device_id, "spool_id": random_ulid(), "next_seq": "1"}
            self._database.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", fresh.items())
        self._waiting = int(self._database.execute("SELECT count(*) FROM waiting").fetchone()[0])
        self._spool_id = self.get_state("spool_id") or ""
        self._next_seq = int(self.get_state("next_seq") or 1)
        self._gaps = Gaps(self.folder / "gap", told=int(self.get_state("gaps_told") or 0))
        self.live_from = self.next_seq
        """Rows from this one on are live, those before it history: see `begin_live`."""
        self._published_to = self.next_seq - 1  # earlier runs may have published all they made
        same = self.clock.machine_boot != "" and self.get_state("machine_boot") == self.clock.machine_boot
        self._machine_from = int(self.get_state("machine_from") or 1) if same else self.next_seq

    @property
    def spool_id(self) -> str:
        """Made with the store; with device id and seq it names a record for ever."""
        return self._spool_id

    @property
    def next_seq(self) -> int:
        """The number of the next record."""
        return self._next_seq

    @property
    def evicted(self) -> int:
        """Sent rows dropped so far for want of room."""
        return self._room.evicted

    def get_state(self, key: str) -> str | None:
        """A value kept with the records."""
        with self._lock:
            row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def ask(self, question: Callable[[StoreReader], Answer]) -> Answer:
        """What a reader of the store answers; TransientError while the disk can't be read."""
        with self._lock:
            try:
                return question(StoreReader(self._database))
            except sqlite3.OperationalError as error:
                raise TransientError("the store can't be read", where=self.folder, got=str(error)) from error

    # -- in ---------------------------------------------------------------------------------------------------------------

    def commit(self, build: Build, state: Mapping[str, str] | None = None) -> list[Record]:
        """Keep records together with state, all or nothing; `build` makes them from the first one's seq, and may be called again.

        TransientError where the disk is full or fails: nothing was kept, the refusal is counted in `refused` and told in an
        event with the first commit that goes through.
        """
        with self._lock:
            try:
                self._need_settled_log()
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
        gap = self._gaps.gap
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            first = self._next_seq
            records = list(build(first))
            after = first + len(records)
            told = [gap.event(self.device_id, self._spool_id, after, self.clock.now())] if gap.records else []
            rows = [(first + k, _kind(r), to_json(r), self.boot_id) for k, r in enumerate([*records, *told])]
            self._database.executemany("INSERT INTO records (seq, kind, body, boot) VALUES (?, ?, ?, ?)", rows)
            made_ns, offset_ns = self.clock.elapsed_ns(), self.clock.loose_offset_ns()
            self._database.executemany("INSERT INTO waiting VALUES (?, ?, ?)", [(row[0], made_ns, offset_ns) for row in rows])
            own = {"next_seq": str(first + len(rows)), "gaps_told": str(gap.number), **self._machine_state()}
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", {**state, **own}.items())
            self._write_done()
        self._next_seq = first + len(rows)
        self._waiting += len(rows)
        self._note_written()
        if told:
            self.counters.gaps += 1
            self._gaps.told()
        return records

    def _need_settled_log(self) -> None:
        if not self._log_settled:
            self._log_settled = settle(self._database)
        if not self._log_settled:
            raise OSError("what the log holds can't be written into the database")

    def _machine_state(self) -> dict[str, str]:
        return {"machine_boot": self.clock.machine_boot, "machine_from": str(self._machine_from)}

    # -- out --------------------------------------------------------------------------------------------------------------

    def begin_live(self) -> None:
        """From here on records are live and what waits is history: for a link that comes up behind a backlog."""
        self.live_from = self.next_seq

    def pending(self, limit: int, after_seq: int = 0) -> list[Row]:
        """Undelivered rows that aren't out for confirmation, in order; none while the disk can't be read."""
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
            now = self._monotonic()
            out = self._done.union(seq for seq, at in self._published.items() if at > now - self.resend_after_s)
            out.update(seq for seq, until in self._aside.items() if until > now)
            try:
                found = (row for row in self._database.execute(query, (after_seq, before_seq)) if row[0] not in out)
                return [Row(*row, historical=row[0] < self.live_from) for row in islice(found, limit)]
            except sqlite3.OperationalError:
                self.counters.failed_reads += 1
                return []

    def published(self, seqs: Sequence[int]) -> None:
        """These were sent and wait to be confirmed; not pending again for `resend_after_s`."""
        now = self._monotonic()
        with self._lock:
            self.counters.resent += sum(seq in self._published for seq in seqs)
            self._published.update(dict.fromkeys(seqs, now))
            self._published_to = max(self._published_to, *seqs, 0)

    def published_besides(self, seqs: Iterable[int]) -> list[int]:
        """Rows out for confirmation other than these."""
        with self._lock:
            return list(self._published.keys() - set(seqs))

    def unpublished(self, seqs: Sequence[int] | None = None) -> None:
        """These (default: all that are out) were lost on the way: pending at once."""
        with self._lock:
            for seq in list(self._published) if seqs is None else seqs:
                self._published.pop(seq, None)

    def set_aside(self, seq: int, for_s: float) -> None:
        """Nobody takes this row: it waits, and isn't pending for so long or until a restart."""
        with self._lock:
            self._published.pop(seq, None)
            self._aside[seq] = self._monotonic() + for_s

    @property
    def aside(self) -> int:
        """Rows that wait set aside."""
        return len(self._aside)

    @property
    def unconfirmed(self) -> int:
        """Rows that are out for confirmation."""
        return len(self._published)

    def confirmed_to(self, spool_id: str, seq: int, first: int = 1) -> int:
        """A collector has committed everything from `first` up to `seq`; returns how many rows that settled.

        Another spool's word is ignored. A seq beyond what was ever published is refused and counted, and a row that this
        run has not published stays: it is sent, and confirmed again.
        """
        with self._lock:
            if spool_id != self._spool_id:
                return 0
            if seq > self._published_to:
                self.counters.acks_refused += 1
                return 0
            settled = [number for number in self._published if first <= number <= seq]
            self.delivered(settled)
            return len(settled)

    def delivered(self, seqs: Sequence[int]) -> None:
        """The far end has these; written with the next commit, so that a crash may send the newest again."""
        with self._lock:
            for seq in seqs:
                self._published.pop(seq, None)
                self._aside.pop(seq, None)
                if seq not in self._done and self._waits(seq):
                    self._done.add(seq)
                    self._waiting -= 1
            if len(self._done) >= _MOST_UNWRITTEN:
                self._flush()

    def _waits(self, seq: int) -> bool:
        try:
            return self._database.execute("SELECT 1 FROM waiting WHERE seq = ?", (seq,)).fetchone() is not None
        except sqlite3.OperationalError:
            self.counters.failed_reads += 1
            return False

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
            try:
                row = next((row for row in self._database.execute(query) if row[0] not in self._done), None)
            except sqlite3.OperationalError:
                self.counters.failed_reads += 1
                return None
        if row is None:
            return None
        here = row[0] >= self._machine_from
        return Oldest(row[0], (self.clock.elapsed_ns() - (row[1] if here else 0)) / 1e9)

    def backdate(self, after_seq: int = 0, limit: int = 500) -> int:
        """Correct the stamps of waiting rows that this machine made since its start while nobody vouched for the wall clock.

        Takes `limit` rows after `after_seq` and returns the last one's seq, 0 where there are no more. TransientError where
        the disk refuses.
        """
        query = """SELECT seq, body, made_ns, offset_ns FROM waiting CROSS JOIN records USING (seq)
            WHERE seq > ? AND offset_ns IS NOT NULL ORDER BY seq LIMIT ?"""
        with self._lock:
            try:
                rows = self._database.execute(query, (max(after_seq, self._machine_from - 1), limit)).fetchall()
                right_ns = self.clock.offset_ns
                bodies = [(shifted(body, right_ns - off, self.clock.backdated(made)), seq) for seq, body, made, off in rows]
                with self._database:
                    self._database.execute("BEGIN IMMEDIATE")
                    self._database.executemany("UPDATE records SET body = ? WHERE seq = ?", bodies)
                    self._database.executemany("UPDATE waiting SET offset_ns = NULL WHERE seq = ?", [(row[0],) for row in rows])
            except sqlite3.OperationalError as error:
                raise TransientError("stamps can't be corrected", where=self.folder, got=str(error)) from error
            self.counters.backdated += len(rows)
            return rows[-1][0] if rows else 0

    # -- room -------------------------------------------------------------------------------------------------------------

    def _need_room(self) -> None:
        """Make room where the disk is short; OSError where nothing is left to drop."""
        self._room.ask_givers()
        if self._room.missing_bytes > 0:
            self._flush()
            self._room.need_pages(self._database)

    def _refuse(self, build: Build) -> None:
        """Count what was not kept; it is told once there is room."""
        self.refused += 1
        lost = [_kind(record) for record in build(self._next_seq)]
        self.counters.refused_records += len(lost)
        self._gaps.note(lost, self.clock.now())

    def prune(self, keep: int = 200_000) -> None:
        """Forget the oldest delivered rows beyond `keep`, many at a time: whole pages come free, which costs no writing."""
        with self._lock, contextlib.suppress(sqlite3.OperationalError):  # of a full disk: tried again when more is settled
            # Apart, each is one look at the table's edge; together, SQLite reads all of it.
            ends = "SELECT (SELECT min(seq) FROM records), (SELECT max(seq) FROM records)"
            oldest, newest = self._database.execute(ends).fetchone()
            if oldest is None or not self._settled_since_prune or newest - oldest + 1 - self._waiting < keep + keep // 50:
                return
            self._settled_since_prune = False
            with self._database:
                query = "DELETE FROM records WHERE seq <= ? AND seq NOT IN (SELECT seq FROM waiting)"
                self._database.execute(query, (newest - keep,))

    def close(self) -> None:
        """Release the store; safe to call twice."""
        with self._lock:
            if self._lock_file >= 0:
                self._flush()
                self._database.close()
                self._gaps.close()
                os.close(self._lock_file)
                self._lock_file = -1
