"""The spools of a store: which record of the store is which number of which spool.

A row has a position, which counts through the store's whole life. A spool begins behind a position and numbers from 1, so
that a key (spool_id, seq) is never used twice, whatever became of the store: see decisions/2026-11-27-copies-and-rot.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from device.identifiers import random_ulid

__all__ = ["Spool", "Spools"]


@dataclass(frozen=True)
class Spool:
    """One of them."""

    spool_id: str
    base: int
    """Its number 1 is the next position."""


@dataclass(frozen=True)
class Spools:
    """All of them, the current one last."""

    known: tuple[Spool, ...]

    @classmethod
    def begun(cls, spool_id: str = "", base: int = 0) -> Spools:
        """The first one of a store."""
        return cls((Spool(spool_id or random_ulid(), base),))

    @classmethod
    def of(cls, text: str | None) -> Spools | None:
        """As `to_json` wrote them; None where that says nothing."""
        try:
            pairs = msgspec.json.decode(text or "", type=list[tuple[str, int]])
        except msgspec.MsgspecError:
            return None
        return cls(tuple(Spool(*pair) for pair in pairs)) if pairs else None

    def to_json(self) -> str:
        """For the store."""
        return msgspec.json.encode([(spool.spool_id, spool.base) for spool in self.known]).decode()

    @property
    def current(self) -> Spool:
        """Where records are added."""
        return self.known[-1]

    def after(self, position: int) -> Spools:
        """With another that begins behind this position."""
        return Spools((*(spool for spool in self.known if spool.base < position), Spool(random_ulid(), position)))

    def of_position(self, position: int) -> Spool:
        """The spool that this row belongs to."""
        return next((spool for spool in reversed(self.known) if spool.base < position), self.known[0])

    def key(self, position: int) -> tuple[str, int]:
        """(spool_id, seq) of a row."""
        spool = self.of_position(position)
        return spool.spool_id, position - spool.base

    def span(self, spool_id: str) -> range:
        """The positions of a spool; the current one is open, a spool that isn't known is empty."""
        for number, spool in enumerate(self.known):
            if spool.spool_id == spool_id:
                end = self.known[number + 1].base if number + 1 < len(self.known) else 2**62
                return range(spool.base + 1, end + 1)
        return range(0)
