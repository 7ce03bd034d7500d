"""What is corrected in a record that waits: stamps made before the wall clock was set, a key that another store uses."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from device.clock import BoxClock
from device.frames import Clock
from device.records import iso_time
from device.storage.rot import CONTENT, is_whole
from device.storage.sums import record_sum, waiting_sum

__all__ = ["correct_stamps", "rekeyed", "shifted"]

_STAMPS = ("captured_at", "started_at", "ended_at", "since")


def shifted(body: bytes, shift_ns: int, stamp: Clock) -> bytes:
    """A record as JSON with its wall times moved by `shift_ns` and the quality that they then have; its id stays."""
    record: dict[str, Any] = msgspec.json.decode(body)
    for name in _STAMPS:
        if name in record:
            record[name] = _moved(record[name], shift_ns)
    if "clock" in record:
        record["clock"] = {
            "source": stamp.source, "synchronised": stamp.synchronised, "uncertainty_s": stamp.uncertainty_s,
        }  # fmt: skip
    return msgspec.json.encode(record)


def correct_stamps(
    database: sqlite3.Connection, clock: BoxClock, *, after: int, limit: int, summed_from: int
) -> tuple[int, int]:
    """Of up to `limit` rows behind the position `after`: (how many were corrected, the last one's position or 0)."""
    query = f"""SELECT seq, {CONTENT}, records.sum, made_ns, offset_ns, waiting.sum FROM waiting CROSS JOIN records
        USING (seq) WHERE seq > ? AND offset_ns IS NOT NULL ORDER BY seq LIMIT ?"""  # noqa: S608  no input
    rows = database.execute(query, (after, limit)).fetchall()
    right_ns, corrected = clock.offset_ns, 0
    with database:
        database.execute("BEGIN IMMEDIATE")
        for position, kind, body, boot, known, made_ns, offset_ns, waits in rows:
            if waits is not None and waits != waiting_sum(position, made_ns, offset_ns):
                raise sqlite3.DatabaseError(f"when record {position} was made can't be read")
            if not is_whole(position, kind, body, boot, known, summed_from):
                continue
            right = shifted(body, right_ns - offset_ns, clock.backdated(made_ns))
            content = (right, record_sum(position, kind, right, boot), position)
            database.execute("UPDATE records SET body = ?, sum = ? WHERE seq = ?", content)
            row = (position, made_ns, None, waiting_sum(position, made_ns, None))
            database.execute("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", row)
            corrected += 1
    return corrected, rows[-1][0] if rows else 0


def rekeyed(body: bytes, spool_id: str, seq: int) -> bytes:
    """A record as JSON under another key; its id stays."""
    record: dict[str, Any] = msgspec.json.decode(body)
    return msgspec.json.encode(record | {"spool_id": spool_id, "seq": seq})


def _moved(stamp: str, shift_ns: int) -> str:
    try:
        return iso_time(datetime.fromisoformat(stamp).astimezone(UTC) + timedelta(microseconds=shift_ns // 1000))
    except (ValueError, OverflowError):  # beyond the years 1 to 9999: left as the clock of that time had it
        return stamp
