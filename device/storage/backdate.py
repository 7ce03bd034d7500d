"""What is corrected in a record that waits: stamps made before the wall clock was set, a key that another store uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from device.frames import Clock
from device.records import iso_time

__all__ = ["rekeyed", "shifted"]

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


def rekeyed(body: bytes, spool_id: str, seq: int) -> bytes:
    """A record as JSON under another key; its id stays."""
    record: dict[str, Any] = msgspec.json.decode(body)
    return msgspec.json.encode(record | {"spool_id": spool_id, "seq": seq})


def _moved(stamp: str, shift_ns: int) -> str:
    try:
        return iso_time(datetime.fromisoformat(stamp).astimezone(UTC) + timedelta(microseconds=shift_ns // 1000))
    except (ValueError, OverflowError):  # beyond the years 1 to 9999: left as the clock of that time had it
        return stamp
