"""A damaged store made into a sound one: every record that is whole comes out, and what is lost is told under its own key.

The new database is built beside the damaged one and takes its place at the end, so that a crash at any moment begins again
or finishes. The damaged files stay in the folder, a few of them, for a person to look at; records go on under a new spool.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from device.errors import InputError
from device.identifiers import record_ulid
from device.records import Event, iso_time, to_json
from device.storage.damaged import KEPT, DamagedCopies, next_number
from device.storage.highwater import reached
from device.storage.identity import OF_THIS_FILE, read_witness
from device.storage.migrations import migrate
from device.storage.pages import DamagedFile
from device.storage.spools import Spools
from device.storage.sums import record_sum, state_sum
from device.storage.survey import Recorded, Survey, Waits, rows_of, survey_of

__all__ = [
    "DATABASE", "LOG", "Salvaged", "add_events", "finish_interrupted", "hold_log", "holds_ours", "is_held", "lost_event",
    "release_log", "salvage", "spans",
]  # fmt: skip

DATABASE = "outbox.sqlite"
LOG = "outbox.sqlite-wal"
_HELD_LOG = "salvage.wal"
"""A copy of the log, where SQLite would give up what it holds."""
_PARTIAL, _DONE = "salvage.partial", "salvage.sqlite"
_MOST_KEPT = 3
_MOST_SPANS = 12
"""Runs of numbers that an event names."""


@dataclass(frozen=True)
class Salvaged:
    """What came of it."""

    whole: int
    """Records that came out."""
    left: int
    """Delivered ones among them that there was no room for; they are in the damaged file."""
    lost: tuple[int, ...]
    """Positions of records that waited and are gone; each is told under its own key."""
    state_lost: tuple[str, ...]
    """Keys of the state that can't be read."""
    kept: str
    """The damaged file's name."""

    def words(self, spools: Spools) -> str:
        """For a person."""
        lost = (
            f"{len(self.lost)} that waited are lost ({spans(self.lost, spools)})" if self.lost else "none that waited is lost"
        )
        state = f"; state that can't be read: {', '.join(self.state_lost)}" if self.state_lost else ""
        left = f"; {self.left} delivered ones are only in the damaged file, for want of room" if self.left else ""
        return f"{self.whole} records came out whole, {lost}{state}{left}; the damaged file is kept as {self.kept}"


def spans(positions: Sequence[int], spools: Spools) -> str:
    """Numbers of records in words, by spool: '4-6, 9 of <spool>'."""
    runs: dict[str, list[list[int]]] = {}
    for position in positions:
        spool_id, seq = spools.key(position)
        mine = runs.setdefault(spool_id, [])
        if mine and mine[-1][1] == seq - 1:
            mine[-1][1] = seq
        else:
            mine.append([seq, seq])
    words: list[str] = []
    for spool_id, found in runs.items():
        said = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found[:_MOST_SPANS])
        words.append(f"{said}{' and more' if len(found) > _MOST_SPANS else ''} of {spool_id}")
    return "; ".join(words)


def lost_event(device_id: str, spools: Spools, position: int, now: datetime) -> Event:
    """What is published under the key of a record that can't be."""
    spool_id, seq = spools.key(position)
    return Event(
        device_id=device_id, spool_id=spool_id, seq=seq, id=record_ulid(now, device_id, spool_id, seq), code="record_lost",
        severity="alarm", message=f"Record {seq} was damaged in the store before it was delivered.", value=1.0, unit="records",
        since=iso_time(now),
    )  # fmt: skip


def salvage(folder: Path, device_id: str, boot_id: str, now: datetime, reason: str) -> tuple[Salvaged, Spools]:
    """Build a sound store and put it in the damaged one's place; OSError or sqlite3.OperationalError where the disk won't have it.

    `reason` goes into the event. Returns what came out and the spools, the current one new.
    """
    finish_interrupted(folder)
    log = folder / _HELD_LOG
    damaged = DamagedFile(folder / DATABASE, log if log.exists() else folder / LOG)
    with contextlib.closing(damaged):
        survey = survey_of(damaged)
        survey.beside, survey.witness = reached(folder), read_witness(folder)
        _refuse_anothers(folder, survey, device_id)
        lost = sorted(position for position in survey.wanted - survey.whole if survey.spools.key(position)[1] > 0)
        partial = folder / _PARTIAL
        building = _Building(damaged, survey, lost, device_id, boot_id, now)
        left = 0
        try:
            building.write(partial, survey.whole)
        except (sqlite3.OperationalError, OSError):
            # What waits comes first; what was delivered stays in the damaged file.
            left = len(survey.whole - survey.wanted)
            building.write(partial, survey.whole & survey.wanted)
        kept = KEPT.format(next_number(folder))
        found = Salvaged(len(survey.whole), left, tuple(lost), tuple(sorted(survey.unread)), kept)
        spools = survey.spools.after(survey.next_position - 1)
        building.finish(partial, spools, found, reason)
    partial.replace(folder / _DONE)
    _sync(folder)
    finish_interrupted(folder)
    return found, spools


def _refuse_anothers(folder: Path, survey: Survey, device_id: str) -> None:
    if (other := survey.state.get("device_id", device_id)) != device_id:
        raise InputError(
            "this store belongs to another device", where=folder, expected=other, got=device_id,
            remedy="Give device.id back its name, or use another storage.folder.",
        )  # fmt: skip


def finish_interrupted(folder: Path) -> None:
    """Put a finished store in the damaged one's place, wherever an earlier attempt got to; an unfinished one is dropped."""
    (folder / _PARTIAL).unlink(missing_ok=True)
    if not (folder / _DONE).exists():
        return
    # The log before the database: beside another database SQLite would write it into that.
    number = next_number(folder) if (folder / DATABASE).exists() else next_number(folder) - 1
    kept = folder / KEPT.format(max(number, 1))
    for name in (LOG, _HELD_LOG):
        if (folder / name).exists():
            (folder / name).replace(kept.with_suffix(".wal"))
    if (folder / DATABASE).exists():
        (folder / DATABASE).replace(kept)
    (folder / _DONE).replace(folder / DATABASE)
    _sync(folder)
    DamagedCopies(folder).keep(_MOST_KEPT)


def hold_log(folder: Path) -> None:
    """Keep a copy of the log before SQLite gives up what it holds."""
    if not (folder / LOG).exists():
        return
    shutil.copyfile(folder / LOG, folder / _PARTIAL)
    with (folder / _PARTIAL).open("rb+") as file:
        os.fsync(file.fileno())
    (folder / _PARTIAL).replace(folder / _HELD_LOG)
    _sync(folder)


def release_log(folder: Path) -> None:
    """What it held is in the database."""
    (folder / _HELD_LOG).unlink(missing_ok=True)


def is_held(folder: Path) -> bool:
    """Whether a log was kept and not salvaged from yet."""
    return (folder / _HELD_LOG).exists()


def holds_ours(folder: Path) -> bool:
    """Whether anything in a file that SQLite doesn't read came from a store."""
    with contextlib.closing(DamagedFile(folder / DATABASE, folder / LOG)) as damaged:
        survey = survey_of(damaged)
    return bool(survey.whole or "next_seq" in survey.state)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass
class _Building:
    """The sound database that is made of it."""

    damaged: DamagedFile
    survey: Survey
    lost: Sequence[int]
    device_id: str
    boot_id: str
    now: datetime

    def write(self, path: Path, wanted: set[int]) -> None:
        """The tables, the state, and these records."""
        path.unlink(missing_ok=True)
        with contextlib.closing(_opened(path)) as database:
            migrate(database, path)
            database.execute("BEGIN")
            records = (row for row in rows_of(self.damaged) if isinstance(row, Recorded) and row.position in wanted)
            database.executemany(
                "INSERT OR REPLACE INTO records (seq, kind, body, boot, sum) VALUES (?, ?, ?, ?, ?)",
                (row.row for row in records),
            )
            waiting = self.survey.wanted & self.survey.whole
            known = (self.survey.waiting.get(position) or Waits(position, 0, None) for position in sorted(waiting))
            database.executemany("INSERT INTO waiting VALUES (?, ?, ?, ?)", (row.row for row in known))
            database.execute("COMMIT")

    def finish(self, path: Path, spools: Spools, found: Salvaged, reason: str) -> None:
        """What is lost told under its own keys, what happened under the new spool; then all of it on the disk."""
        position = spools.current.base + 1
        events = [(p, lost_event(self.device_id, self.survey.spools, p, self.now)) for p in self.lost]
        events.append((position, self._told(spools, found, reason)))
        own = {
            "device_id": self.device_id, "spool_id": spools.current.spool_id, "spools": spools.to_json(),
            "next_seq": str(position + 1), "settled_to": str(min(self.survey.wanted, default=position) - 1),
            "waiting": str(len(self.survey.wanted & self.survey.whole) + len(events)),
        }  # fmt: skip
        passed_over = OF_THIS_FILE | {"schema"}
        state = {key: value for key, value in self.survey.state.items() if key not in passed_over} | own
        with contextlib.closing(_opened(path)) as database:
            database.execute("BEGIN")
            add_events(database, events, self.boot_id)
            rows = ((key, value, state_sum(key, value)) for key, value in state.items())
            database.executemany("INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
        with path.open("rb+") as file:
            os.fsync(file.fileno())

    def _told(self, spools: Spools, found: Salvaged, reason: str) -> Event:
        spool_id, seq = spools.current.spool_id, 1
        return Event(
            device_id=self.device_id, spool_id=spool_id, seq=seq, id=record_ulid(self.now, self.device_id, spool_id, seq),
            code="store_salvaged", severity="alarm",
            message=f"The store was damaged ({reason}): {found.words(self.survey.spools)}. Records go on under a new spool.",
            value=float(len(found.lost)), unit="records", since=iso_time(self.now),
        )  # fmt: skip


def add_events(database: sqlite3.Connection, events: Iterable[tuple[int, Event]], boot_id: str) -> None:
    """Put events at positions, waiting, in the transaction that is open; what stands there is replaced."""
    for position, event in events:
        body = to_json(event)
        row = (position, "events", body, boot_id, record_sum(position, "events", body, boot_id))
        database.execute("INSERT OR REPLACE INTO records (seq, kind, body, boot, sum) VALUES (?, ?, ?, ?, ?)", row)
        database.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", Waits(position, 0, None).row)


def _opened(path: Path) -> sqlite3.Connection:
    """Quick and unsafe: nothing counts on it before it is whole and synced."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    return database
