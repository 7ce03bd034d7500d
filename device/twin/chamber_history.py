"""What a simulated chamber has been through, on disk: beads stay in a chamber while the instrument has no power."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["ChamberHistory"]


class ChamberHistory(Struct, frozen=True, kw_only=True):
    """With the same seeds and steps the same chamber comes again."""

    chamber: int
    """Its number in its run, from 1."""
    run: int
    """Of the twin that filled it."""
    rocked_s: tuple[float, ...] = ()
    """How long it was rocked before each look."""
    at_s: float
    """Wall clock of the last one, seconds of Unix time."""

    @classmethod
    def read(cls, file: Path | None) -> ChamberHistory | None:
        """None where no chamber is filled, or the file says nothing."""
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls) if file else None
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, file: Path) -> None:
        """All of it or nothing."""
        partial = file.with_suffix(".partial")
        partial.write_bytes(msgspec.json.encode(self))
        partial.replace(file)

    @property
    def missed_s(self) -> float:
        """Since the last look, by the wall clock; 0 where that went back."""
        return max(time.time() - self.at_s, 0.0)
