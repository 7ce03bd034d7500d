"""Records as version 1 wrote them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from device.storage.sums import record_sum

__all__ = ["as_earlier", "store_as_earlier"]

_SLOTS = ("reconstruction", "classifier")
_LATER = ("confidence", "scene", "reasons")


def as_earlier(body: bytes) -> bytes:
    """A record of today as version 1 would have written it."""
    record = msgspec.json.decode(body)
    record["schema"] = record["schema"].replace("/2", "/1")
    found = {}
    for name, value in record.items():
        if name == "models":
            found["model"] = {role: value.get(role) for role in _SLOTS}
        elif name not in _LATER:
            found[name] = value
    return msgspec.json.encode(found)


def store_as_earlier(folder: Path) -> list[bytes]:
    """Make every record of a store that nobody holds one of version 1; returns them in order."""
    bodies: list[bytes] = []
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as database, database:
        for seq, kind, body, boot in database.execute("SELECT seq, kind, body, boot FROM records ORDER BY seq").fetchall():
            bodies.append(as_earlier(body))
            row = (bodies[-1], record_sum(seq, kind, bodies[-1], boot), seq)
            database.execute("UPDATE records SET body = ?, sum = ? WHERE seq = ?", row)
    return bodies
