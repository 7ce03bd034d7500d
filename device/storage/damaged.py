"""Damaged files of a store, kept for a person to look at."""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["KEPT", "DamagedCopies", "next_number"]

KEPT = "damaged-{}.sqlite"
"""A database; its log has the same name and ends in .wal."""


class DamagedCopies:
    """Damaged files that are kept for a person: they go when the disk is short."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def names(self) -> list[str]:
        """Of the databases, the oldest first."""
        return [path.name for path in self._sorted()]

    def _sorted(self) -> list[Path]:
        return sorted(self._folder.glob(KEPT.format("*")), key=number_of)

    def keep(self, newest: int) -> None:
        """Drop all others."""
        for path in self._sorted()[: -newest or None]:
            self._drop(path)

    def reclaim(self, wanted_bytes: int) -> int:
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


def number_of(path: Path) -> int:
    said = path.stem.rpartition("-")[2]
    return int(said) if said.isdecimal() else 0


def next_number(folder: Path) -> int:
    """For the next file that is kept."""
    return max((number_of(path) for path in folder.glob(KEPT.format("*"))), default=0) + 1
