"""A collector's word, and what it can settle: rows of this box's store that it published and the broker acknowledged.

On a broker where anybody may write, a word can be anybody's: it settles nothing that no collector can have yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import msgspec
from msgspec import Struct

from device.messaging.payloads import Ack
from device.storage.outbox import Outbox

__all__ = ["Confirmations"]


class _Lone(Struct, frozen=True):
    """An acknowledgement that doesn't say where it begins."""

    spool_id: str
    seq: int


class Confirmations:
    """Everything here runs on the link's thread."""

    def __init__(self, outbox: Outbox, raise_warning: Callable[[str, str], None]) -> None:
        self._outbox, self._raise_warning = outbox, raise_warning
        self._early: dict[int, tuple[str, int]] = {}  # row -> its key: confirmed before the broker acknowledged it

    def read(self, payload: bytes) -> Ack | None:
        """None where it settles nothing: malformed, of another store, or without `first` and not the next in line."""
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            ack = self._lone(payload)
        # Also beyond what was made: that tells the store something (see `Outbox.confirmed_to`).
        ours = ack is not None and ack.first <= ack.seq and self._outbox.places(ack.spool_id, ack.seq)
        return ack if ours else None

    def _lone(self, payload: bytes) -> Ack | None:
        """One without `first` speaks for a single record, and says nothing of those before it."""
        try:
            lone = msgspec.json.decode(payload, type=_Lone)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        places = self._outbox.places(lone.spool_id, lone.seq, lone.seq)
        if not places:
            return None
        oldest = self._outbox.oldest_waiting
        if oldest is None or oldest.place >= places.start:
            return Ack(spool_id=lone.spool_id, seq=lone.seq, first=lone.seq)
        self._raise_warning(
            "ack_without_first",
            f"A collector confirms record {lone.seq} without `first`: that settles nothing while record {oldest.seq} waits. "
            "Let it say {spool_id, seq, first}: everything from first to seq is committed.",
        )
        return None

    def _places(self, ack: Ack) -> range:
        """The rows that it speaks of."""
        return self._outbox.places(ack.spool_id, ack.seq, ack.first)

    def settle(self, ack: Ack, in_flight: Iterable[int]) -> int:
        """How many rows that settles: those in flight only once the broker has acknowledged them, too."""
        places = self._places(ack)
        before = places.start - ack.first
        early = sorted(row for row in in_flight if row in places)
        self._early.update({row: (ack.spool_id, row - before) for row in early})
        bounds = pairwise((ack.first - 1, *(row - before for row in early), ack.seq + 1))
        ranges = [(lower + 1, upper - 1) for lower, upper in bounds if lower + 1 < upper]
        return sum(self._outbox.confirmed_to(ack.spool_id, last, first) for first, last in ranges)

    def acknowledged(self, rows: Iterable[int]) -> int:
        """The broker has these; how many of them a collector had confirmed already."""
        keys = [self._early.pop(row) for row in rows if row in self._early]
        return sum(self._outbox.confirmed_to(spool_id, seq, seq) for spool_id, seq in keys)

    def forget(self) -> None:
        """Nothing is in flight any more."""
        self._early.clear()
