"""Rotten records: kept for a person, never sent, and told under their own keys so that nobody waits for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from device.records import iso_time
from device.storage.salvage import add_events, lost_event
from device.storage.spools import Spools
from device.storage.sums import record_sum

__all__ = ["is_whole", "set_apart"]

_MOST_KEPT = 1000


def is_whole(position: int, kind: str, body: bytes, boot: str, known: int | None, summed_from: int) -> bool:
    """Whether a row is what was written; of one from before there were checksums nobody knows."""
    return position < summed_from if known is None else known == record_sum(position, kind, body, boot)


def set_apart(
    database: sqlite3.Connection, positions: Sequence[int], device_id: str, boot_id: str, spools: Spools, now: datetime
) -> None:
    """Put what is left of records into `rotten`, and what tells of their loss in their places."""
    with database:
        database.execute("BEGIN IMMEDIATE")
        for position in positions:
            keep = "INSERT OR REPLACE INTO rotten SELECT seq, kind, body, boot, ? FROM records WHERE seq = ?"
            database.execute(keep, (iso_time(now), position))
            event = lost_event(device_id, spools, position, now)
            add_events(database, [(position, event)], boot_id)
        newest = "SELECT seq FROM rotten ORDER BY found_at DESC, seq DESC LIMIT ?"
        database.execute(f"DELETE FROM rotten WHERE seq NOT IN ({newest})", (_MOST_KEPT,))  # noqa: S608  no input
