"""What the pages of a damaged store hold: rows by their shape and their checksums, and what follows from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import msgspec

from device.storage.highwater import Reached
from device.storage.identity import Witness
from device.storage.pages import Cell, DamagedFile, Value
from device.storage.spools import Spools
from device.storage.sums import record_sum, state_sum, waiting_sum

__all__ = ["Recorded", "Survey", "Waits", "rows_of", "survey_of"]

_KINDS = (b"detections", b"intervals", b"events")


@dataclass(frozen=True)
class Recorded:
    """A row of `records`."""

    position: int
    kind: str
    body: bytes
    boot: str

    @property
    def row(self) -> tuple[int, str, bytes, str, int]:
        """For the table; one from before there were checksums gets one."""
        return self.position, self.kind, self.body, self.boot, record_sum(self.position, self.kind, self.body, self.boot)


@dataclass(frozen=True)
class Waits:
    """A row of `waiting`."""

    position: int
    made_ns: int
    offset_ns: int | None

    @property
    def row(self) -> tuple[int, int, int | None, int]:
        """For the table."""
        return self.position, self.made_ns, self.offset_ns, waiting_sum(self.position, self.made_ns, self.offset_ns)


@dataclass(frozen=True)
class Kept:
    key: str
    value: str | None
    """None: not whole."""


_Row = Recorded | Waits | Kept


def _row_of(cell: Cell) -> _Row | None:
    """The row in a cell, by its shape and its checksum; None where it is none of a store's, or not whole."""
    if cell.rowid is None:
        return _state_of(cell.values)
    if cell.rowid < 1 or cell.values[0] is not None:
        return None
    return _waits_of(cell.rowid, cell.values) if len(cell.values) < 5 else _record_of(cell.rowid, cell.values)


def _record_of(position: int, values: Sequence[Value]) -> Recorded | None:
    match values:
        case (None, bytes(kind), bytes(body), bytes(boot), int()) if kind in _KINDS and _reads(body):
            return Recorded(position, kind.decode(), body, boot.decode(errors="replace"))
        case (None, bytes(kind), bytes(body), bytes(boot), int(), int(known)) if kind in _KINDS:
            found = Recorded(position, kind.decode(), body, boot.decode(errors="replace"))
            return found if known == record_sum(position, found.kind, body, found.boot) else None
        case _:
            return None


def _reads(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def _waits_of(position: int, values: Sequence[Value]) -> Waits | None:
    match values:
        case (None, int(made_ns), (int() | None) as offset_ns):
            return Waits(position, made_ns, offset_ns)
        case (None, int(made_ns), (int() | None) as offset_ns, int(known)):
            return Waits(position, made_ns, offset_ns) if known == waiting_sum(position, made_ns, offset_ns) else None
        case _:
            return None


def _state_of(values: Sequence[Value]) -> Kept | None:
    match values:
        case (bytes(key), bytes(value)) | (bytes(key), bytes(value), None) if key.isascii():
            return Kept(key.decode(), value.decode(errors="replace"))
        case (bytes(key), bytes(value), int(known)) if key.isascii() and key.decode().isidentifier():
            found = Kept(key.decode(), value.decode(errors="replace"))
            return found if found.value is not None and known == state_sum(found.key, found.value) else Kept(found.key, None)
        case _:
            return None


@dataclass
class Survey:
    """What the damaged pages hold."""

    whole: set[int] = field(default_factory=set[int])
    waiting: dict[int, Waits] = field(default_factory=dict[int, "Waits"])
    state: dict[str, str] = field(default_factory=dict[str, str])
    unread: set[str] = field(default_factory=set[str])
    beside: Reached = field(default_factory=Reached)
    """What the files beside the database say."""
    witness: Witness | None = None
    spool_of: dict[str, int] = field(default_factory=dict[str, int])
    """Spool ids that records name, and how far their numbers lie behind the positions."""

    def number(self, key: str) -> int | None:
        """A figure of the state; None where it isn't there."""
        said = self.state.get(key, "")
        return int(said) if said.isdecimal() else None

    @property
    def next_position(self) -> int:
        """No row had this one or a later one."""
        return max(self._counted_to, self.beside.following, max(self.whole, default=0) + 1, max(self.waiting, default=0) + 1)

    @property
    def _counted_to(self) -> int:
        """The next one by the state that came out."""
        return self.number("next_seq") or max(max(self.whole, default=0), max(self.waiting, default=0)) + 1

    @property
    def spools(self) -> Spools:
        """By the state, the witness, or what records say."""
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
        stated = self.number("settled_to")
        if stated is None and not self.beside.following:
            return min(self.whole, default=self.next_position) - 1
        return max(stated or 0, self.beside.settled_to)

    @cached_property
    def wanted(self) -> set[int]:
        """Positions that wait to be delivered, as far as anybody can know."""
        waiting = {position for position in self.waiting if position < self.next_position}
        waiting.update(range(self._counted_to, self.next_position))
        if self.number("waiting") == len(self.waiting):
            return waiting
        # Delivered ones that were dropped lie before the first that is there and doesn't wait.
        first = max(self.floor, min(self.whole - waiting, default=self.floor + 1) - 1)
        return (
            waiting | {position for position in self.whole if position > self.floor} | set(range(first + 1, self.next_position))
        )


def survey_of(damaged: DamagedFile) -> Survey:
    """Look at every page."""
    found = Survey()
    for row in rows_of(damaged):
        if isinstance(row, Recorded):
            found.whole.add(row.position)
        elif isinstance(row, Waits):
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


def rows_of(damaged: DamagedFile) -> Iterator[_Row]:
    """Every whole row, what was given back before what is in use: of a row that comes twice, the last one counts."""
    pages = range(1, damaged.page_count + 1)
    odd: list[int] = []
    yield from (row for row in map(_row_of, damaged.in_earlier_log()) if isinstance(row, Recorded))
    for number in (n for n in pages if n in damaged.free):
        yield from (row for row in _on_page(damaged, number, odd) if not isinstance(row, Waits))
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
        if sensible and not any(row is None or (isinstance(row, Kept) and row.value is None) for row in rows):
            break
    else:
        odd.append(number)
    return [row for rows in reversed(found) for row in rows]


def _spools_of_records(damaged: DamagedFile) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in rows_of(damaged):
        if not isinstance(row, Recorded):
            continue
        with contextlib.suppress(msgspec.DecodeError, KeyError, TypeError):
            body = msgspec.json.decode(row.body, type=dict[str, object])
            spool_id, seq = body["spool_id"], body["seq"]
            if isinstance(spool_id, str) and isinstance(seq, int):
                found[spool_id] = row.position - seq
    return found
