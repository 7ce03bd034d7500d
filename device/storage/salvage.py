"""A damaged store made into a sound one: every record that is whole comes out, and what is lost is told under its own key.

The new database is built beside the damaged one and takes its place at the end, so that a crash at any moment begins again
or finishes. The damaged files stay in the folder, a few of them, for a person to look at; records go on under a new spool.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import msgspec

from device.errors import InputError
from device.identifiers import record_ulid
from device.records import Event, iso_time, to_json
from device.storage.highwater import Reached, reached
from device.storage.identity import OF_THIS_FILE, Witness, read_witness
from device.storage.migrations import migrate
from device.storage.pages import Cell, DamagedFile, Value
from device.storage.spools import Spools
from device.storage.sums import record_sum, state_sum, waiting_sum

__all__ = [
    "DATABASE", "DamagedCopies", "Salvaged", "add_events", "finish_interrupted", "hold_log", "holds_ours", "is_held", "lost_event", "release_log", "salvage",
]

DATABASE = "outbox.sqlite"
_LOG = "outbox.sqlite-wal"
_HELD_LOG = "salvage.wal"
"""A copy of the log, where SQLite would give up what it holds."""
_PARTIAL, _DONE = "salvage.partial", "salvage.sqlite"
_KEPT = "damaged-{}.sqlite"
_MOST_KEPT = 3
_KINDS = (b"detections", b"intervals", b"events")
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
        lost = f"{len(self.lost)} that waited are lost ({spans(self.lost, spools)})" if self.lost else "none that waited is lost"
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


@dataclass
class _Survey:
    """What the damaged pages hold."""

    whole: set[int] = field(default_factory=set[int])
    waiting: dict[int, _Waits] = field(default_factory=dict[int, "_Waits"])
    state: dict[str, str] = field(default_factory=dict[str, str])
    unread: set[str] = field(default_factory=set[str])
    beside: Reached = Reached()
    """What the files beside the database say."""
    witness: Witness | None = None
    spool_of: dict[str, int] = field(default_factory=dict[str, int])
    """Spool ids that records name, and how far their numbers lie behind the positions."""

    def number(self, key: str) -> int | None:
        said = self.state.get(key, "")
        return int(said) if said.isdecimal() else None

    @property
    def next_position(self) -> int:
        return max(self._counted_to, self.beside.following, max(self.whole, default=0) + 1, max(self.waiting, default=0) + 1)

    @property
    def _counted_to(self) -> int:
        """The next one by the state that came out."""
        return self.number("next_seq") or max(max(self.whole, default=0), max(self.waiting, default=0)) + 1

    @property
    def spools(self) -> Spools:
        told = Spools.of(self.witness.spools) if self.witness else None
        if known := Spools.of(self.state.get("spools")) or told:
            return known
        if spool_id := self.state.get("spool_id"):
            return Spools.begun(spool_id)
        by_records = sorted((base, spool_id) for spool_id, base in self.spool_of.items())
        return Spools.of(msgspec.json.encode([(spool_id, base) for base, spool_id in by_records]).decode()) or Spools.begun()

    @property
    def floor(self) -> int:
        """Up to here everything was delivered."""
        known = max(self.number("settled_to") or 0, self.beside.settled_to)
        return known or min(self.whole, default=self.next_position) - 1

    @cached_property
    def wanted(self) -> set[int]:
        """Positions that wait to be delivered, as far as anybody can know."""
        waiting = {position for position in self.waiting if position < self.next_position}
        waiting.update(range(self._counted_to, self.next_position))
        if self.number("waiting") == len(self.waiting):
            return waiting
        # Delivered ones that were dropped lie before the first that is there and doesn't wait.
        first = max(self.floor, min(self.whole - waiting, default=self.floor + 1) - 1)
        return waiting | {position for position in self.whole if position > self.floor} | set(range(first + 1, self.next_position))


def salvage(folder: Path, device_id: str, boot_id: str, now: datetime, reason: str) -> tuple[Salvaged, Spools]:
    """Build a sound store and put it in the damaged one's place; OSError or sqlite3.OperationalError where the disk won't have it.

    `reason` goes into the event. Returns what came out and the spools, the current one new.
    """
    finish_interrupted(folder)
    log = folder / _HELD_LOG
    damaged = DamagedFile(folder / DATABASE, log if log.exists() else folder / _LOG)
    with contextlib.closing(damaged):
        survey = _survey(damaged)
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
        kept = _KEPT.format(_next_number(folder))
        found = Salvaged(len(survey.whole), left, tuple(lost), tuple(sorted(survey.unread)), kept)
        spools = survey.spools.after(survey.next_position - 1)
        building.finish(partial, spools, found, reason)
    partial.replace(folder / _DONE)
    _sync(folder)
    finish_interrupted(folder)
    return found, spools


def _refuse_anothers(folder: Path, survey: _Survey, device_id: str) -> None:
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
    number = _next_number(folder) if (folder / DATABASE).exists() else _next_number(folder) - 1
    kept = folder / _KEPT.format(max(number, 1))
    for name in (_LOG, _HELD_LOG):
        if (folder / name).exists():
            (folder / name).replace(kept.with_suffix(".wal"))
    if (folder / DATABASE).exists():
        (folder / DATABASE).replace(kept)
    (folder / _DONE).replace(folder / DATABASE)
    _sync(folder)
    DamagedCopies(folder).keep(_MOST_KEPT)


def hold_log(folder: Path) -> None:
    """Keep a copy of the log before SQLite gives up what it holds."""
    if not (folder / _LOG).exists():
        return
    shutil.copyfile(folder / _LOG, folder / _PARTIAL)
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
    with contextlib.closing(DamagedFile(folder / DATABASE, folder / _LOG)) as damaged:
        survey = _survey(damaged)
    return bool(survey.whole or survey.state)


class DamagedCopies:
    """Damaged files that are kept for a person: they go when the disk is short."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def names(self) -> list[str]:
        """Of the databases, the oldest first."""
        return [path.name for path in self._sorted()]

    def _sorted(self) -> list[Path]:
        return sorted(self._folder.glob(_KEPT.format("*")), key=_number)

    def keep(self, newest: int) -> None:
        """Drop all others."""
        for path in self._sorted()[: -newest or None]:
            self._drop(path)

    def give(self, wanted_bytes: int) -> int:
        """Free about this much, the oldest first."""
        freed = 0
        for path in self._sorted():
            if freed >= wanted_bytes:
                break
            freed += self._drop(path)
        return freed

    def _drop(self, path: Path) -> int:
        freed = 0
        for file in (path, path.with_suffix(".wal")):
            with contextlib.suppress(OSError):
                size = file.stat().st_size
                file.unlink()
                freed += size
        return freed


def _number(path: Path) -> int:
    said = path.stem.rpartition("-")[2]
    return int(said) if said.isdecimal() else 0


def _next_number(folder: Path) -> int:
    return max((_number(path) for path in folder.glob(_KEPT.format("*"))), default=0) + 1


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- reading --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Record:
    position: int
    kind: str
    body: bytes
    boot: str

    @property
    def row(self) -> tuple[int, str, bytes, str, int]:
        """For the table; one from before there were checksums gets one."""
        return self.position, self.kind, self.body, self.boot, record_sum(self.position, self.kind, self.body, self.boot)


@dataclass(frozen=True)
class _Waits:
    position: int
    made_ns: int
    offset_ns: int | None

    @property
    def row(self) -> tuple[int, int, int | None, int]:
        """For the table."""
        return self.position, self.made_ns, self.offset_ns, waiting_sum(self.position, self.made_ns, self.offset_ns)


@dataclass(frozen=True)
class _State:
    key: str
    value: str | None
    """None: not whole."""


_Row = _Record | _Waits | _State


def _row_of(cell: Cell) -> _Row | None:
    """The row in a cell, by its shape and its checksum; None where it is none of a store's, or not whole."""
    if cell.rowid is None:
        return _state_of(cell.values)
    if cell.rowid < 1 or cell.values[0] is not None:
        return None
    return _waits_of(cell.rowid, cell.values) if len(cell.values) < 5 else _record_of(cell.rowid, cell.values)


def _record_of(position: int, values: Sequence[Value]) -> _Record | None:
    match values:
        case (None, bytes(kind), bytes(body), bytes(boot), int()) if kind in _KINDS and _reads(body):
            return _Record(position, kind.decode(), body, boot.decode(errors="replace"))
        case (None, bytes(kind), bytes(body), bytes(boot), int(), int(known)) if kind in _KINDS:
            found = _Record(position, kind.decode(), body, boot.decode(errors="replace"))
            return found if known == record_sum(position, found.kind, body, found.boot) else None
        case _:
            return None


def _reads(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _waits_of(position: int, values: Sequence[Value]) -> _Waits | None:
    match values:
        case (None, int(made_ns), (int() | None) as offset_ns):
            return _Waits(position, made_ns, offset_ns)
        case (None, int(made_ns), (int() | None) as offset_ns, int(known)):
            return _Waits(position, made_ns, offset_ns) if known == waiting_sum(position, made_ns, offset_ns) else None
        case _:
            return None


def _state_of(values: Sequence[Value]) -> _State | None:
    match values:
        case (bytes(key), bytes(value)) | (bytes(key), bytes(value), None) if key.isascii():
            return _State(key.decode(), value.decode(errors="replace"))
        case (bytes(key), bytes(value), int(known)) if key.isascii() and key.decode().isidentifier():
            found = _State(key.decode(), value.decode(errors="replace"))
            return found if found.value is not None and known == state_sum(found.key, found.value) else _State(found.key, None)
        case _:
            return None


def _survey(damaged: DamagedFile) -> _Survey:
    found = _Survey()
    for row in _rows(damaged):
        if isinstance(row, _Record):
            found.whole.add(row.position)
        elif isinstance(row, _Waits):
            found.waiting[row.position] = row
        elif row.value is None:
            found.unread.add(row.key)
        else:
            found.state[row.key] = row.value
    found.unread -= found.state.keys()
    if not found.state:
        found.unread.add("all of it")
    if "spools" not in found.state and "spool_id" not in found.state:
        found.spool_of = _spools_of_records(damaged)
    return found


def _rows(damaged: DamagedFile) -> Iterator[_Row]:
    """Every whole row, what was given back before what is in use: of a row that comes twice, the last one counts."""
    pages = range(1, damaged.page_count + 1)
    odd: list[int] = []
    yield from (row for row in map(_row_of, damaged.in_earlier_log()) if isinstance(row, _Record))
    for number in (n for n in pages if n in damaged.free):
        yield from (row for row in _on_page(damaged, number, odd) if not isinstance(row, _Waits))
    for number in (n for n in pages if n not in damaged.free):
        yield from _on_page(damaged, number, odd)
    for number in odd:
        if number not in damaged.in_chains:
            yield from filter(None, map(_row_of, damaged.anywhere(number)))


def _on_page(damaged: DamagedFile, number: int, odd: list[int]) -> list[_Row]:
    """Of its last version where that is whole, else of all of them, the last one's last; such a page is `odd`."""
    found: list[list[_Row]] = []
    for cells, sensible in damaged.versions_of_cells(number):
        rows = [_row_of(cell) for cell in cells]
        found.append([row for row in rows if row is not None])
        if sensible and not any(row is None or (isinstance(row, _State) and row.value is None) for row in rows):
            break
    else:
        odd.append(number)
    return [row for rows in reversed(found) for row in rows]


def _spools_of_records(damaged: DamagedFile) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in _rows(damaged):
        if not isinstance(row, _Record):
            continue
        with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
            body = msgspec.json.decode(row.body, type=dict[str, object])
            spool_id, seq = body["spool_id"], body["seq"]
            if isinstance(spool_id, str) and isinstance(seq, int):
                found[spool_id] = row.position - seq
    return found


# -- writing --------------------------------------------------------------------------------------------------------------


@dataclass
class _Building:
    """The sound database that is made of it."""

    damaged: DamagedFile
    survey: _Survey
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
            records = (row for row in _rows(self.damaged) if isinstance(row, _Record) and row.position in wanted)
            database.executemany(
                "INSERT OR REPLACE INTO records (seq, kind, body, boot, sum) VALUES (?, ?, ?, ?, ?)",
                (row.row for row in records),
            )
            waiting = self.survey.wanted & self.survey.whole
            known = (self.survey.waiting.get(position) or _Waits(position, 0, None) for position in sorted(waiting))
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
        database.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", _Waits(position, 0, None).row)


def _opened(path: Path) -> sqlite3.Connection:
    """Quick and unsafe: nothing counts on it before it is whole and synced."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute("PRAGMA synchronous = OFF")
    return database
