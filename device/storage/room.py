"""Room on a short disk. What goes first: raw frames, crops and sent media (the reclaimables), then sent rows; an unsent row never.

The reserve, `min_free_bytes`, is what the log and the tables of one interval grow into: it is kept free so that a store whose
disk is short can still move rows about inside its file.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["Reclaimable", "Room"]

_EVICT_AT_ONCE = 2000
"""Sent rows that are dropped for one commit."""

_FEWEST_FREE_PAGES = 16
"""Of 4 kB: room for one interval's records inside the file."""


class Reclaimable(Protocol):
    """Something beside the records that holds disk it can do without."""

    def reclaim(self, wanted_bytes: int) -> int:
        """Free about this much, what matters least first; returns how much came free, never raises."""
        ...


class Room:
    """Watches one folder's disk."""

    def __init__(self, folder: Path, min_free_bytes: int, reclaimables: Sequence[Reclaimable] = ()) -> None:
        """`reclaimables` are asked in order."""
        self.min_free_bytes = min_free_bytes
        self.evicted = 0
        """Sent rows dropped so far."""
        self._folder, self._reclaimables = folder, reclaimables

    @property
    def missing_bytes(self) -> int:
        """What is wanting; 0 or less: nothing."""
        return self.min_free_bytes - shutil.disk_usage(self._folder).free if self.min_free_bytes else 0

    def reclaim(self) -> None:
        """Let them free what is wanting."""
        for reclaimable in self._reclaimables:
            if (wanted := self.missing_bytes) <= 0:
                return
            reclaimable.reclaim(wanted)

    def need_pages(self, database: sqlite3.Connection) -> None:
        """Free pages inside the file, from the oldest sent rows where there are none; OSError where none of them is left."""
        # New rows use freed pages again; only when there are none does the file have to grow.
        if _free_pages(database) < _FEWEST_FREE_PAGES:
            self._evict(database)
        if _free_pages(database) < _FEWEST_FREE_PAGES:
            raise OSError(
                f"{(self.min_free_bytes - self.missing_bytes) // 2**20} MB free, {self.min_free_bytes // 2**20} MB wanted"
            )

    def _evict(self, database: sqlite3.Connection) -> None:
        with database:
            database.execute("BEGIN IMMEDIATE")
            query = """DELETE FROM records WHERE seq IN (
                SELECT seq FROM records WHERE seq NOT IN (SELECT seq FROM waiting) ORDER BY seq LIMIT ?)"""
            self.evicted += database.execute(query, (_EVICT_AT_ONCE,)).rowcount


def _free_pages(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA freelist_count").fetchone()[0])
