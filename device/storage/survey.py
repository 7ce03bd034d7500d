"""What the pages of a damaged store hold: rows by their shape and their checksums, and what follows from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import msgspec

from device.storage.highwater import HighWaterMark
from device.storage.identity import Witness
from device.storage.pages import Cell, DamagedFile, Value
from device.storage.spools import Spools
from device.storage.sums import record_sum, state_sum, waiting_sum

__all__ = ["Recorded", "Survey", "Waits", "rows_of", "survey_of"]

_MOST_ORPHANS = 64
"""Pages that are tried as the rest of a row whose chain is broken."""
_KINDS = (b"detections", b"intervals", b"events")


class _Keyed(msgspec.Struct):
    seq: int
    spool_id: str = ""


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
        return self.position, self.kind, self.body, self.boot, self.sum

    @property
    def key(self) -> tuple[str, int] | None:
        """(spool_id, seq) as it says them itself."""
        return _key_of(self.body)

    @property
    def sum(self) -> int:
        """Its checksum."""
        return record_sum(self.position, self.kind, self.body, self.boot)


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


def _row_of(cell: Cell, bases: Collection[int] = ()) -> _Row | None:
    """The row in a cell, by its shape and its checksum; None where it is none of a store's, or not whole.

    `bases`: of spools, by which a record whose place isn't read right is placed by its own number.
    """
    if cell.rowid is None:
        return _state_of(cell.values) if cell.exact else None
    if cell.values[0] is not None:
        return None
    if len(cell.values) < 5:
        return _waits_of(cell.rowid, cell.values) if cell.exact and cell.rowid > 0 else None
    return _record_of(cell, bases)


def _record_of(cell: Cell, bases: Collection[int]) -> Recorded | None:
    match cell.values:
        case (None, bytes(kind), bytes(body), bytes(boot), int()) if kind in _KINDS and cell.exact and _key_of(body):
            return Recorded(cell.rowid or 0, kind.decode(), body, boot.decode(errors="replace"))
        case (None, bytes(kind), bytes(body), bytes(boot), int(), int(known)) if kind in _KINDS:
            found = Recorded(cell.rowid or 0, kind.decode(), body, boot.decode(errors="replace"))
            key = found.key if bases and known != found.sum else None
            placed = [replace(found, position=base + key[1]) for base in bases] if key else []
            return next((record for record in (found, *placed) if known == record.sum and record.position > 0), None)
        case _:
            return None


def _key_of(body: bytes) -> tuple[str, int] | None:
    """(spool_id, seq) of a record as JSON; None where it is none."""
    try:
        keyed = msgspec.json.decode(body, type=_Keyed)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return keyed.spool_id, keyed.seq


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
    beside: HighWaterMark = field(default_factory=HighWaterMark)
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
        waiting = {position for position in self.waiting if self.floor < position < self.next_position}
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
    bases, seen = {0}, set[int | str]()
    yield from (row for row in map(_row_of, damaged.in_earlier_log()) if isinstance(row, Recorded))
    for number in (n for n in pages if n in damaged.free):
        yield from (row for row in _on_page(damaged, number, odd) if not isinstance(row, Waits))
    for number in (n for n in pages if n not in damaged.free):
        for row in _on_page(damaged, number, odd):
            if isinstance(row, Recorded):
                seen.add(row.position)
            elif isinstance(row, Kept) and row.value is not None:
                seen.add(row.key)
                if row.key == "spools" and (spools := Spools.of(row.value)):
                    bases.update(spool.base for spool in spools.known)
            yield row
    yield from _on_odd_pages(damaged, [number for number in odd if number not in damaged.in_chains], bases, seen)


def _on_odd_pages(damaged: DamagedFile, odd: Sequence[int], bases: set[int], seen: Collection[int | str]) -> Iterator[_Row]:
    """At any place of them, what wasn't seen in its own place."""
    orphans = [number for number in odd if number not in damaged.free][:_MOST_ORPHANS]
    for number in odd:
        for row in (_row_of(cell, bases) for cell in damaged.anywhere(number, orphans)):
            name = row.position if isinstance(row, Recorded) else row.key if isinstance(row, Kept) else None
            if row is not None and name not in seen:
                yield row


def _on_page(damaged: DamagedFile, number: int, odd: list[int]) -> list[_Row]:
    """Of its last version and, until one is whole, of those before, the last one's last; it is `odd` where the last isn't whole."""
    found: list[list[_Row]] = []
    whole = False
    for cells, sensible in damaged.versions_of_cells(number):
        rows = [_row_of(cell) for cell in cells]
        found.append([row for row in rows if row is not None])
        whole = sensible and not any(row is None or (isinstance(row, Kept) and row.value is None) for row in rows)
        if whole:
            break
    if len(found) > 1 or not whole:
        odd.append(number)
    return [row for rows in reversed(found) for row in rows]


def _spools_of_records(damaged: DamagedFile) -> dict[str, int]:
    keyed = ((row.position, row.key) for row in rows_of(damaged) if isinstance(row, Recorded))
    return {key[0]: position - key[1] for position, key in keyed if key and key[0]}
