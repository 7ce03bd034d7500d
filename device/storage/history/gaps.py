"""Times of which there is no interval."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.storage.history.tables import LEVELS, rolled

__all__ = ["asked_gaps"]

_LEVEL = LEVELS[0]
_SHORTEST_BY_SUMS_US = 2 * _LEVEL.length_us
"""A longer gap holds a whole span of ten minutes in which nothing began."""


def asked_gaps(database: sqlite3.Connection, span: tuple[int, int], longer_us: int) -> list[tuple[int, int]]:
    """Begin and end, us, of those that are longer than this, begin before the span's end and end after its begin."""
    before = database.execute("SELECT max(start_us) FROM intervals WHERE start_us < ?", (span[0],)).fetchone()[0]
    since = span[0] if before is None else before
    found = _by_sums if longer_us > _SHORTEST_BY_SUMS_US else _one_by_one
    return found(database, since, span[1], longer_us)


def _numbers(rows: Iterable[tuple[Any, ...]]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(rows), np.int64)


def _one_by_one(database: sqlite3.Connection, since: int, until: int, longer_us: int) -> list[tuple[int, int]]:
    """Of the intervals only those come out of the database that a gap may follow, and those that last into the next."""
    query = """SELECT end_us, next FROM (SELECT start_us, end_us, (SELECT start_us FROM intervals b
            WHERE (b.start_us, b.end_us) > (a.start_us, a.end_us) ORDER BY b.start_us, b.end_us LIMIT 1) AS next
        FROM intervals a WHERE start_us >= ? AND start_us <= ?)
        WHERE next - end_us NOT BETWEEN 0 AND ? ORDER BY start_us, end_us"""
    ends, nexts = _numbers(database.execute(query, (since, until, longer_us))).reshape(-1, 2).T
    ends = np.maximum.accumulate(ends)
    found = nexts - ends > longer_us
    # Two intervals of one begin and end are followed by one gap.
    return list(dict.fromkeys(zip(ends[found].tolist(), nexts[found].tolist(), strict=True)))


def _by_sums(database: sqlite3.Connection, since: int, until: int, longer_us: int) -> list[tuple[int, int]]:
    """Where spans of ten minutes are missing, a look at the intervals about them."""
    length = _LEVEL.length_us
    after = database.execute("SELECT min(start_us) FROM intervals WHERE start_us > ?", (until,)).fetchone()[0]
    stored = "SELECT start FROM sums WHERE level = ? AND start >= ? AND start <= ?"
    behind = "SELECT DISTINCT start_us / ? FROM intervals WHERE number > ? AND +start_us >= ?"
    spans = chain(
        database.execute(stored, (_LEVEL.number, since // length, until // length + 1)),
        database.execute(behind, (length, rolled(database, _LEVEL), since)),
        [] if after is None else [(after // length,)],
    )
    starts = np.unique(_numbers(spans))
    missing = np.flatnonzero(np.diff(starts) > 1)
    edges = [_edges(database, int(starts[k]), int(starts[k + 1]), length) for k in missing]
    return [(begin, end) for begin, end in edges if end - begin > longer_us and end > since and begin < until]


def _edges(database: sqlite3.Connection, before: int, after: int, length_us: int) -> tuple[int, int]:
    """End of the last interval of one span, begin of the first of another; of those no longer held one by one, the spans' own."""
    last = "SELECT max(end_us) FROM intervals WHERE start_us >= ? AND start_us < ?"
    first = "SELECT min(start_us) FROM intervals WHERE start_us >= ? AND start_us < ?"
    end = database.execute(last, (before * length_us, (before + 1) * length_us)).fetchone()[0]
    begin = database.execute(first, (after * length_us, (after + 1) * length_us)).fetchone()[0]
    return ((before + 1) * length_us if end is None else end), (after * length_us if begin is None else begin)
