"""Rotten records: put back where a whole copy is left, else kept for a person, never sent, and told under their own keys so
that nobody waits for them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from device.records import iso_time
from device.storage.pages import DamagedFile
from device.storage.salvage import LOG, add_events, lost_event
from device.storage.spools import Spools
from device.storage.sums import record_sum
from device.storage.survey import Recorded, rows_of

__all__ = ["CONTENT", "is_whole", "put_back", "set_apart"]

CONTENT = "CAST(kind AS TEXT), CAST(body AS BLOB), CAST(boot AS TEXT)"
"""Of `records`: a flipped bit may make a text of the same bytes a blob, which no checksum sees."""

_MOST_KEPT = 1000


def is_whole(position: int, kind: str, body: bytes, boot: str, known: int | None, summed_from: int) -> bool:
    """Whether a row is what was written; of one from before there were checksums nobody knows."""
    return position < summed_from if known is None else known == record_sum(position, kind, body, boot)


def put_back(database: sqlite3.Connection, folder: Path, positions: Sequence[int], spools: Spools) -> list[int]:
    """Write records that are whole in the log in their places again; the positions of those that aren't.

    SQLite reads what it copied from the log into the database, and lets the log stand until it is written over.
    """
    missing = {position: spools.key(position) for position in positions}
    # The database itself stays closed to others: closing it, this process would lose its locks.
    with contextlib.closing(DamagedFile(None, folder / LOG)) as log, database:
        rows = (row for row in rows_of(log) if isinstance(row, Recorded) and row.position in missing)
        found = {row.position: row for row in rows if row.key == missing[row.position]}
        database.execute("BEGIN IMMEDIATE")
        for position, kind, body, boot, known in (row.row for row in found.values()):
            content = (kind, body, boot, known, position)
            database.execute("UPDATE records SET kind = ?, body = ?, boot = ?, sum = ? WHERE seq = ?", content)
    return [position for position in positions if position not in found]


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
