"""A store looked at from outside, while no service has it: what `doctor` and `arm` ask."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import statistics
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import msgspec

from device.errors import InputError
from device.records import Interval, from_json
from device.storage.sums import tolerant_text

__all__ = ["History", "StoreReader", "in_use", "store_reader"]

_LAST = 20_000
"""Records that tell how much an interval holds."""
_LAST_INTERVALS = 50
"""Intervals that tell how often they come."""
_OVERHEAD = 1.15
"""Of SQLite's pages over what they hold, as measured."""


def in_use(folder: Path) -> bool:
    """Whether a process holds the store."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@dataclass(frozen=True)
class History:
    """What the last intervals came to."""

    intervals: int
    """That were looked at."""
    bytes_per_interval: float
    """On disk, with the detections."""
    seconds_apart: float | None
    """From the beginning of one to the next, in the middle of the last ones; None where there are fewer than three."""


class StoreReader:
    """Reads alone."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def state(self, key: str) -> str | None:
        """A value kept with the records."""
        row = self._database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def trouble(self) -> str | None:
        """The first thing that is wrong with the database; None where it is whole."""
        found = str(self._database.execute("PRAGMA quick_check(1)").fetchone()[0])
        return None if found == "ok" else found

    def last(self, limit: int) -> list[bytes]:
        """The last records as JSON, oldest first."""
        rows = self._database.execute("SELECT body FROM records ORDER BY seq DESC LIMIT ?", (limit,))
        return [bytes(row[0]) for row in rows][::-1]

    def last_interval(self) -> Interval | None:
        """None where there is none, or it can't be read."""
        query = "SELECT body FROM records WHERE kind = 'intervals' ORDER BY seq DESC LIMIT 1"
        row = self._database.execute(query).fetchone()
        try:
            return None if row is None else from_json(bytes(row[0]), Interval)
        except InputError:
            return None

    def history(self) -> History | None:
        """None where there are no intervals."""
        last = "SELECT kind, body FROM records ORDER BY seq DESC LIMIT ?"
        kinds = f"SELECT count(*) FILTER (WHERE kind = 'intervals'), sum(length(body)) FROM ({last})"  # noqa: S608  no input
        intervals, size = self._database.execute(kinds, (_LAST,)).fetchone()
        if not intervals:
            return None
        bodies = self._database.execute(
            "SELECT body FROM records WHERE kind = 'intervals' ORDER BY seq DESC LIMIT ?", (_LAST_INTERVALS,)
        )
        starts = [_started(row[0]) for row in bodies][::-1]
        apart = [(b - a).total_seconds() for a, b in pairwise(starts)]
        return History(intervals, _OVERHEAD * size / intervals, statistics.median(apart) if len(apart) > 1 else None)


def _started(body: bytes) -> datetime:
    return datetime.fromisoformat(msgspec.json.decode(body)["started_at"])


@contextlib.contextmanager
def store_reader(folder: Path) -> Generator[StoreReader | None]:
    """The store in a folder; None where there is none, or a service has it. sqlite3.DatabaseError where it is damaged."""
    path = folder / "outbox.sqlite"
    if not path.is_file() or in_use(folder):
        yield None
        return
    # Read only: on closing, SQLite would write a killed service's log into the database and take it away.
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=1, uri=True)
    try:
        database.text_factory = tolerant_text
        yield StoreReader(database)
    finally:
        database.close()
