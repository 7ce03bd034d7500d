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
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from device.clock import BoxClock
from device.errors import TransientError
from device.identifiers import random_ulid
from device.records import to_json
from device.storage.backdate import correct_stamps
from device.storage.damaged import DamagedCopies
from device.storage.database import claim, settle
from device.storage.flight import Flight
from device.storage.gap import Gaps
from device.storage.highwater import HighWater
from device.storage.migrations import SCHEMA_VERSION
from device.storage.opening import StoreEvent, StoreOwner, read_state, write_state
from device.storage.reading import StoreReader
from device.storage.room import Reclaimable, Room
from device.storage.rot import CONTENT, is_whole
from device.storage.rows import Oldest, OutboxCounters, Record, Row, kind_of, record_of
from device.storage.sound import SoundStore
from device.storage.sums import record_sum, waiting_sum

__all__ = ["SCHEMA_VERSION", "Oldest", "Outbox", "OutboxCounters", "Row", "StoreEvent"]

Build = Callable[[int], Sequence[Record]]
Answer = TypeVar("Answer")

_MOST_UNWRITTEN = 200
"""Deliveries noted in memory before they are written by themselves; most go with the next commit and cost the flash nothing.
A crash sends these again; the far end knows them by their key."""

_NO_END = 2**62

_BOOT_CHARACTERS = 16
"""Kept of the boot id, its random part: with all of it and a checksum, two detections share a page of the flash, not three."""
_ASIDE_S = 60.0
"""For which a rotten record is passed over where the disk won't take what tells of it."""


class Outbox:
    """One store folder, held by one service; safe to share between its threads."""

    def __init__(
        self,
        folder: Path,
        device_id: str,
        *,
        boot_id: str = "",
        min_free_bytes: int = 0,
        reclaimables: Sequence[Reclaimable] = (),
        resend_after_s: float = 60.0,
        clock: BoxClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`reclaimables` free disk, in order, before sent rows are dropped for it.

        A row that was `published` and not confirmed is pending again after `resend_after_s`.
        """
        self.folder = folder
        self.device_id = device_id
        self.boot_id = boot_id or random_ulid()
        self.refused = 0
        """Commits refused since the last that went through."""
        self.counters = OutboxCounters()
        self.clock = clock or BoxClock()
        self._room = Room(folder, min_free_bytes, (*reclaimables, DamagedCopies(folder)))
        self._lock = threading.RLock()
        self._flight = Flight(self.counters, resend_after_s, monotonic)
        self._done: set[int] = set()  # delivered, not yet written
        self._settled_since_prune = True
        self._lock_file = claim(folder)
        try:
            self._store = SoundStore(folder, self._owner, self.counters, monotonic)
        except BaseException:
            os.close(self._lock_file)
            raise
        self._high_water = HighWater(folder)
        self._begin()

    def _begin(self) -> None:
        """What holds for one opening."""
        self._store.on_mended = self._mended
        self._store.use(self._count)
        self._gaps = Gaps(self.folder / "gap", told=int(self.get_state("gaps_told") or 0))
        self.live_from = self._opened_at = self._store.next_position
        """Rows from this one on are live, those before it history: see `begin_live`."""
        self._published_to = self._opened_at - 1  # earlier runs may have published all they made
        same = self.clock.machine_boot != "" and self.get_state("machine_boot") == self.clock.machine_boot
        self._machine_from = int(self.get_state("machine_from") or 1) if same else self._opened_at
        if self._store.untold:
            try:
                self.keep({})
            except TransientError:
                return  # it is found again at the next opening, and told with the first commit that goes through
        self._store.use(lambda: self._store.turn_epoch(self._waiting, opened=True))

    def _owner(self) -> StoreOwner:
        return StoreOwner(self.device_id, self.boot_id, self.clock.now(), self.clock.machine_boot)

    def _count(self) -> None:
        waiting = {row[0] for row in self._database.execute("SELECT seq FROM waiting")}
        self._done &= waiting
        self._waiting = len(waiting) - len(self._done)

    def _mended(self) -> None:
        self._count()
        self._store.turn_epoch(self._waiting + len(self._done), opened=True)
        following = self._store.next_position
        self._high_water.note(following, self._settled_to(following))

    @property
    def _database(self) -> sqlite3.Connection:
        return self._store.database

    @property
    def resend_after_s(self) -> float:
        """After which a row that was `published` and not confirmed is pending again."""
        return self._flight.resend_after_s

    @resend_after_s.setter
    def resend_after_s(self, seconds: float) -> None:
        self._flight.resend_after_s = seconds

    @property
    def notices(self) -> list[StoreEvent]:
        """What happened to the store since the service started."""
        return self._store.notices

    @property
    def spool_id(self) -> str:
        """Where records are added; with device id and seq it names a record for ever."""
        return self._store.spool_id

    @property
    def next_seq(self) -> int:
        """The number of the next record in its spool."""
        return self._store.next_position - self._store.spools.current.base

    @property
    def damaged_files(self) -> list[str]:
        """Names of what is kept of damaged stores, in the store folder."""
        return DamagedCopies(self.folder).names

    @property
    def evicted(self) -> int:
        """Sent rows dropped so far for want of room."""
        return self._room.evicted

    @property
    def following(self) -> int:
        """The position of the next record: rows are counted through the store's whole life."""
        return self._store.next_position

    def key(self, position: int) -> tuple[str, int]:
        """(spool_id, seq) of the record at a position."""
        return self._store.spools.key(position)

    def records(self, positions: range, limit: int) -> list[tuple[int, Record | None]]:
        """The first `limit` of the records at these positions that are still there, in order; None for one that can't be read.

        TransientError while the disk can't be read.
        """
        query = f"SELECT seq, {CONTENT}, sum FROM records WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"  # noqa: S608  no input
        asked = (positions.start, positions.stop, limit)
        with self._lock:
            try:
                rows = self._store.use(lambda: self._database.execute(query, asked).fetchall())
            except sqlite3.OperationalError as error:
                raise TransientError("the store can't be read", where=self.folder, got=str(error)) from error
            summed_from = self._store.summed_from
        return [
            (position, record_of(kind, body) if is_whole(position, kind, body, boot, known, summed_from) else None)
            for position, kind, body, boot, known in rows
        ]

    def get_state(self, key: str) -> str | None:
        """A value kept with the records; None where there is none, or it is damaged."""
        with self._lock:
            return self._store.use(lambda: read_state(self._database, key))

    def ask(self, question: Callable[[StoreReader], Answer]) -> Answer:
        """What a reader of the store answers; TransientError while the disk can't be read."""
        with self._lock:
            try:
                return self._store.use(lambda: question(StoreReader(self._database)))
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
                records = self._store.use(lambda: self._insert_with_room(build, state or {}))
            except (sqlite3.OperationalError, TransientError, OSError) as error:
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

    def _insert_with_room(self, build: Build, state: Mapping[str, str]) -> list[Record]:
        self._need_settled_log()
        self._need_room()
        return self._insert(build, state)

    def _insert(self, build: Build, state: Mapping[str, str]) -> list[Record]:
        gap, untold, store = self._gaps.gap, list(self._store.untold), self._store
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            position, first, spool_id, now = store.next_position, self.next_seq, self.spool_id, self.clock.now()
            records = self._in_this_spool(build(first), first)
            told: list[Record] = list(records)
            if gap.records:
                told.append(gap.event(self.device_id, spool_id, first + len(told), now))
            for notice in untold:
                told.append(notice.event(self.device_id, spool_id, first + len(told), now))
            self._add(position, told)
            self._write_done()
            after = position + len(told)
            settled_to = self._settled_to(after)
            own = {
                **store.own_state(self._waiting + len(told)), "next_seq": str(after), "gaps_told": str(gap.number),
                "settled_to": str(settled_to), **self._machine_state(),
            }  # fmt: skip
            write_state(self._database, {**state, **own})
        store.next_position = after
        self._waiting += len(told)
        self._high_water.note(after, settled_to)
        self._note_written()
        del store.untold[: len(untold)]
        if gap.records:
            self.counters.gaps += 1
            self._gaps.told()
        return records

    def _in_this_spool(self, records: Sequence[Record], first: int) -> list[Record]:
        """The records, under the keys they get: the spool may have changed while they were made."""
        earlier = {spool.spool_id for spool in self._store.spools.known[:-1]}
        return [
            structs.replace(record, spool_id=self.spool_id, seq=first + k) if record.spool_id in earlier else record
            for k, record in enumerate(records)
        ]

    def _add(self, position: int, records: Sequence[Record]) -> None:
        made_ns, offset_ns = self.clock.elapsed_ns(), self.clock.loose_offset_ns()
        for k, record in enumerate(records, start=position):
            kind, body, boot = kind_of(record), to_json(record), self.boot_id[-_BOOT_CHARACTERS:]
            row = (k, kind, body, boot, record_sum(k, kind, body, boot))
            self._database.execute("INSERT INTO records (seq, kind, body, boot, sum) VALUES (?, ?, ?, ?, ?)", row)
            waits = (k, made_ns, offset_ns, waiting_sum(k, made_ns, offset_ns))
            self._database.execute("INSERT INTO waiting VALUES (?, ?, ?, ?)", waits)

    def _settled_to(self, after: int) -> int:
        """Up to here everything is delivered."""
        oldest = self._database.execute("SELECT min(seq) FROM waiting").fetchone()[0]
        return (after if oldest is None else int(oldest)) - 1

    def _need_settled_log(self) -> None:
        if not self._store.settled:
            self._store.settled = settle(self._database)
        if not self._store.settled:
            raise OSError("what the log holds can't be written into the database")

    def _machine_state(self) -> dict[str, str]:
        return {"machine_boot": self.clock.machine_boot, "machine_from": str(self._machine_from)}

    # -- out --------------------------------------------------------------------------------------------------------------

    def begin_live(self) -> None:
        """From here on records are live and what waits is history: for a link that comes up behind a backlog."""
        self.live_from = self._store.next_position

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
        with self._lock:
            try:
                return self._store.use(lambda: self._sound_rows(after_seq, before_seq, limit))
            except (sqlite3.OperationalError, TransientError):
                self.counters.failed_reads += 1
                return []

    def _sound_rows(self, after_seq: int, before_seq: int, limit: int) -> list[Row]:
        # LEFT JOIN keeps the order of the tables, from the few that wait to their bodies, and shows a body that is missing.
        query = f"""SELECT seq, {CONTENT}, sum FROM (SELECT seq FROM waiting WHERE seq > ? AND seq < ? ORDER BY seq)
            LEFT JOIN records USING (seq)"""  # noqa: S608  no input
        out = self._done | self._flight.hidden()
        rows: list[Row] = []
        rotten: list[int] = []
        before = after_seq
        for position, kind, body, boot, known in self._database.execute(query, (after_seq, before_seq)):
            if position <= before:
                raise sqlite3.DatabaseError(f"what waits is out of order behind record {before}")
            before = position
            if position in out:
                continue
            if len(rows) >= limit:
                break
            if body is None:
                raise sqlite3.DatabaseError(f"record {position} is missing")
            if is_whole(position, kind, body, boot, known, self._store.summed_from):
                rows.append(Row(position, kind, body, boot, historical=position < self.live_from))
            else:
                rotten.append(position)
        if not rotten:
            return rows
        # They hold nobody back: what tells of them goes out in their places, now or when the disk takes it.
        if not self._store.set_apart(rotten):
            self._flight.set_aside(rotten, _ASIDE_S)
        return self._sound_rows(after_seq, before_seq, limit)

    def published(self, seqs: Sequence[int]) -> None:
        """These were sent and wait to be confirmed; not pending again for `resend_after_s`."""
        with self._lock:
            self._flight.send(seqs)
            self._published_to = max(self._published_to, *seqs, 0)

    def published_besides(self, seqs: Iterable[int]) -> list[int]:
        """Rows out for confirmation other than these."""
        with self._lock:
            return list(self._flight.published.keys() - set(seqs))

    def unpublished(self, seqs: Sequence[int] | None = None) -> None:
        """These (default: all that are out) were lost on the way: pending at once."""
        with self._lock:
            self._flight.lose(self._flight.published if seqs is None else seqs)

    def set_aside(self, seq: int, for_s: float) -> None:
        """Nobody takes this row: it waits, and isn't pending for so long or until a restart."""
        with self._lock:
            self._flight.set_aside([seq], for_s)

    @property
    def aside(self) -> int:
        """Rows that wait set aside."""
        return len(self._flight.aside)

    @property
    def unconfirmed(self) -> int:
        """Rows that are out for confirmation."""
        return len(self._flight.published)

    def places(self, spool_id: str, seq: int, first: int = 1) -> range:
        """`Row.seq` of the records `first` to `seq` of a spool, as far as it reaches; empty where the spool is another store's."""
        span = self._store.spools.span(spool_id)
        return range(span.start + first - 1, min(span.start + seq, span.stop)) if span else span

    def confirmed_to(self, spool_id: str, seq: int, first: int = 1) -> int:
        """A collector has committed everything from `first` up to `seq`; returns how many rows that settled.

        The word on a spool of another store is ignored. A row that this run has not published stays: it is sent, and
        confirmed again. A seq beyond what was ever published is refused and counted; of a spool that was there before
        this opening it proves that the far end knows more of it than this store, which then opens another one, once.
        """
        with self._lock:
            span = self._store.spools.span(spool_id)
            current = spool_id == self.spool_id
            if not span or seq < first:
                return 0
            if current and span.start + seq - 1 > self._published_to:
                self.counters.acks_refused += 1
                if self._store.older_spool:
                    self._go_on_in_another_spool(seq)
                return 0
            confirmed = self.places(spool_id, seq, first)
            settled = [position for position in self._flight.published if position in confirmed]
            self.delivered(settled)
            return len(settled)

    def _go_on_in_another_spool(self, seq: int) -> None:
        """The far end has records that this store never sent: it was put back as a whole, witnesses and all."""
        why = (
            f"The far end has record {seq} of {self.spool_id}, which this store never sent: it was put back from a copy. "
            "It goes on under a new spool."
        )
        with contextlib.suppress(sqlite3.OperationalError, TransientError):  # the next word says so again
            self._store.use(lambda: self._store.begin_spool(max(self._published_to, self._opened_at - 1), why))

    def delivered(self, seqs: Sequence[int]) -> None:
        """The far end has these; written with the next commit, so that a crash may send the newest again."""
        with self._lock:
            for seq in seqs:
                self._flight.settle(seq)
                if seq not in self._done and self._waits(seq):
                    self._done.add(seq)
                    self._waiting -= 1
            if len(self._done) >= _MOST_UNWRITTEN:
                self._flush()

    def _waits(self, seq: int) -> bool:
        query = "SELECT 1 FROM waiting WHERE seq = ?"
        try:
            return self._store.use(lambda: self._database.execute(query, (seq,)).fetchone()) is not None
        except (sqlite3.OperationalError, TransientError):
            self.counters.failed_reads += 1
            return False

    def _flush(self) -> None:
        """Write what was delivered; what a disk refuses is kept for the next time."""
        try:
            self._store.use(self._write_done_alone)
        except (sqlite3.OperationalError, TransientError):
            return
        self._note_written()

    def _write_done_alone(self) -> None:
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._write_done()
            write_state(
                self._database, {"waiting": str(self._waiting), "settled_to": str(self._settled_to(self._store.next_position))}
            )

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
        """The undelivered row that was made first; None where none waits."""
        query = "SELECT seq, made_ns FROM waiting ORDER BY seq"
        with self._lock:
            try:
                row = self._store.use(
                    lambda: next((row for row in self._database.execute(query) if row[0] not in self._done), None)
                )
            except (sqlite3.OperationalError, TransientError):
                self.counters.failed_reads += 1
                return None
        if row is None:
            return None
        here = row[0] >= self._machine_from
        return Oldest(row[0], self._store.spools.key(row[0])[1], (self.clock.elapsed_ns() - (row[1] if here else 0)) / 1e9)

    def backdate(self, after_seq: int = 0, limit: int = 500) -> int:
        """Correct the stamps of waiting rows that this machine made since its start while nobody vouched for the wall clock.

        Takes `limit` rows after the position `after_seq` and returns the last one's, 0 where there are no more.
        TransientError where the disk refuses.
        """
        with self._lock:
            try:
                after, summed_from = max(after_seq, self._machine_from - 1), self._store.summed_from
                corrected, last = self._store.use(
                    lambda: correct_stamps(self._database, self.clock, after=after, limit=limit, summed_from=summed_from)
                )
            except sqlite3.OperationalError as error:
                raise TransientError("stamps can't be corrected", where=self.folder, got=str(error)) from error
            self.counters.backdated += corrected
            return last

    # -- room -------------------------------------------------------------------------------------------------------------

    def _need_room(self) -> None:
        """Make room where the disk is short; OSError where nothing is left to drop."""
        self._room.reclaim()
        if self._room.missing_bytes > 0:
            self._flush()
            self._room.need_pages(self._database)

    def _refuse(self, build: Build) -> None:
        """Count what was not kept; it is told once there is room."""
        self.refused += 1
        lost = [kind_of(record) for record in build(self.next_seq)]
        self.counters.refused_records += len(lost)
        self._gaps.note(lost, self.clock.now())

    def prune(self, keep: int = 200_000) -> None:
        """Forget the oldest delivered rows beyond `keep`, many at a time: whole pages come free, which costs no writing."""
        with self._lock, contextlib.suppress(sqlite3.OperationalError, TransientError):  # tried again when more is settled
            self._store.use(lambda: self._prune(keep))

    def _prune(self, keep: int) -> None:
        waiting = self._database.execute("SELECT count(*) FROM waiting").fetchone()[0]
        if waiting != self._waiting + len(self._done):
            raise sqlite3.DatabaseError(f"{self._waiting + len(self._done)} records should wait to be delivered, {waiting} do")
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
                self._store.close(self._waiting + len(self._done))
                self._high_water.close()
                self._gaps.close()
                os.close(self._lock_file)
                self._lock_file = -1
