"""The history's sums, counted again from its intervals without its SQL."""

from __future__ import annotations

import math
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

from device.storage.history.tables import LEVELS, database_in

__all__ = ["wrong_sums", "wrong_sums_in"]


def wrong_sums(folder: Path) -> list[str]:
    """What of the history in a store's folder is not what its intervals come to; empty: nothing."""
    with closing(sqlite3.connect(database_in(folder))) as database:
        return wrong_sums_in(database)


def wrong_sums_in(database: sqlite3.Connection) -> list[str]:
    """The same of an open one."""
    found = str(database.execute("PRAGMA integrity_check").fetchone()[0])
    if found != "ok":
        return [found]
    intervals = database.execute("SELECT * FROM intervals ORDER BY number").fetchall()
    counts: dict[int, list[tuple[int, int, float, int]]] = defaultdict(list)
    for interval, *rest in database.execute("SELECT * FROM counts"):
        counts[interval].append(tuple(rest))
    return [fault for level in LEVELS for fault in _of_level(database, level.number, level.length_us, intervals, counts)]


def _of_level(database, level, length_us, intervals, counts) -> list[str]:
    row = database.execute("SELECT value FROM meta WHERE key = ?", (f"rolled_{level}",)).fetchone()
    rolled = 0 if row is None else row[0]
    spans: dict[int, list[float]] = defaultdict(lambda: [0.0] * 10)
    labels: dict[tuple[int, int, int], list[float]] = defaultdict(lambda: [0.0] * 6)
    for number, _, _, start, end, unit, volume, dead, qc, _, analysed, dropped, _, _ in intervals:
        if number > rolled:
            continue
        span = start // length_us
        sound = qc != 4
        parts = [
            1, analysed > 0, qc == 4, (end - start) / 1e6, dead, (volume or 0) * (unit == 1 and sound),
            (volume or 0) * (unit == 2 and sound), analysed, dropped,
        ]  # fmt: skip
        spans[span] = [a + b for a, b in zip(spans[span], parts, strict=False)] + [max(spans[span][9], qc)]
        for label, n, weight, uncertainty in counts[number] if sound else ():
            v = volume or 0.0
            parts = [n, v, n * weight, n * weight**2, v * weight, v * uncertainty / 1e4]
            key = (unit if volume is not None else 0, label, span)
            labels[key] = [a + b for a, b in zip(labels[key], parts, strict=True)]
    stored = {row[1]: row[2:] for row in database.execute("SELECT * FROM sums WHERE level = ?", (level,))}
    by_label = {row[1:4]: row[4:] for row in database.execute("SELECT * FROM label_sums WHERE level = ?", (level,))}
    return [f"level {level}: {fault}" for fault in (*_differ(stored, spans), *_differ(by_label, labels))]


def _differ(stored, counted) -> list[str]:
    if stored.keys() != counted.keys():
        return [f"spans {sorted(stored.keys() ^ counted.keys())[:5]} are on one side alone"]
    return [
        f"{key}: {found} stored, {counted[key]} counted"
        for key, found in stored.items()
        if any(not math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in zip(found, counted[key], strict=True))
    ]
