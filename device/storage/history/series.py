"""How counts and concentrations went: as intervals one by one, or as sums of ten minutes, hours and days.

What is added up is grouped before it is joined, label by label in the order of the key; arrays, not rows, are estimated from.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.records import Concentration
from device.storage.history.entries import from_us
from device.storage.history.estimates import concentrations
from device.storage.history.tables import DAY_US, LEVELS, UNITS, Level, count_sums, interval_sums, rolled, stored_span
from device.storage.history.values import HistorySeries, LoggedInterval, SeriesPoint, VolumeUnit

__all__ = ["SeriesQuestion"]

_PER = (None, "m^-3", "mL^-1")
"""Units of concentrations, by number of the volume's."""
_MULTIPLES = ((0, 1), (0, 3), (1, 1), (1, 3), (1, 6), (1, 12), (2, 1), (2, 2), (2, 7), (2, 14), (2, 28), (2, 91), (2, 364))
"""Spans that points may have: a level and how many of its spans."""
_NOT_ROLLED = "number > :rolled AND +start_us >= :since AND +start_us < :until"
"""Few, and the newest: found by number, not by time."""
_SUMS = """sum(intervals) AS intervals, sum(looked) AS looked, sum(failed) AS failed, sum(covered_s) AS covered_s,
    sum(dead_time_s) AS dead_time_s, sum(volume_m3) AS volume_m3, sum(volume_ml) AS volume_ml, sum(analysed) AS analysed,
    sum(dropped) AS dropped, max(qc) AS qc"""
_LABEL_SUMS = "sum(n), sum(volume), sum(particles), sum(squares), sum(exposure), sum(spread)"

_Row = tuple[Any, ...]
_Figures = NDArray[np.float64]
_Estimates = tuple[dict[int, dict[str, int]], dict[int, dict[str, Concentration]]]
"""Counts and concentrations, by span (or number of an interval) and label."""


def _figures(rows: Iterable[_Row], columns: int) -> _Figures:
    """float64 [row, column]; whole numbers are exact up to 2^53."""
    return np.fromiter(chain.from_iterable(rows), np.float64).reshape(-1, columns)


class SeriesQuestion:
    """One question, in one snapshot."""

    def __init__(
        self, database: sqlite3.Connection, span: tuple[int, int], labels: Sequence[str] | None, unit: VolumeUnit | None
    ) -> None:
        self._database = database
        self._since, self._until = span
        self._names: dict[int, str] = dict(database.execute("SELECT number, name FROM labels").fetchall())
        wanted = None if labels is None else set(labels)
        self._labels = [number for number, name in self._names.items() if wanted is None or name in wanted]
        self._unit = UNITS.index(unit) if unit is not None else self._newest_unit()
        self._units: set[int] = set()

    def _newest_unit(self) -> int:
        query = "SELECT unit FROM intervals WHERE unit > 0 AND start_us < ? ORDER BY start_us DESC LIMIT 1"
        row = self._database.execute(query, (self._until,)).fetchone()
        return 0 if row is None else int(row[0])

    def answer(self, points: int) -> HistorySeries:
        """All of it."""
        found = stored_span(self._database)
        if found is None:
            return self._series(0.0, ())
        since, until = max(self._since, found[0]), min(self._until, found[1] + 1)
        if since >= until:
            return self._series(0.0, ())
        if self._fits(points):
            where = "start_us >= :since AND start_us < :until ORDER BY start_us, number"
            logged = self.one_by_one(where, {"since": self._since, "until": self._until})
            return self._series(0.0, [one.point for one in logged])
        level, multiple = _coarse_enough(since, until, points)
        return self._series(level.length_us * multiple / 1e6, self._summed(level, multiple, since, until))

    def _fits(self, points: int) -> bool:
        """Whether there are no more intervals than points, and all of them are held."""
        first = self._database.execute("SELECT number, start_us FROM intervals ORDER BY number LIMIT 1").fetchone()
        if first is None or (first[0] > 1 and self._since < first[1]):
            return False
        query = "SELECT count(*) FROM (SELECT 1 FROM intervals WHERE start_us >= ? AND start_us < ? LIMIT ?)"
        return self._database.execute(query, (self._since, self._until, points + 1)).fetchone()[0] <= points

    def _series(self, step_s: float, points: Sequence[SeriesPoint]) -> HistorySeries:
        seen = dict.fromkeys(chain.from_iterable(point.counts for point in points))
        others = tuple(UNITS[k] for k in sorted(self._units - {self._unit, 0}))
        return HistorySeries(
            since="", until="", step_s=step_s, unit=UNITS[self._unit], other_units=others,  # type: ignore[arg-type]
            labels=tuple(sorted(seen, key=lambda label: (label != "total", label))), points=tuple(points),
        )  # fmt: skip

    # -- sums -------------------------------------------------------------------------------------------------------------

    def _summed(self, level: Level, multiple: int, since: int, until: int) -> list[SeriesPoint]:
        length = level.length_us
        step = length * multiple
        asked = {
            "level": level.number, "length": length, "multiple": multiple, "rolled": rolled(self._database, level), "unit": self._unit,
            "first": since // step * multiple, "last": (until - 1) // length, "since": since // step * step, "until": until,
        }  # fmt: skip
        query = f"""SELECT span, {_SUMS} FROM (
                SELECT start / :multiple AS span, {_SUMS} FROM sums
                    WHERE level = :level AND start >= :first AND start <= :last GROUP BY 1
                UNION ALL SELECT start / :multiple AS span, {_SUMS} FROM ({interval_sums(_NOT_ROLLED)}) GROUP BY 1)
            GROUP BY 1 ORDER BY 1"""  # noqa: S608  no input
        rows = self._database.execute(query, asked).fetchall()
        counts, told = self._estimated(*self._label_sums(asked))
        return [self._point(row, (row[0] * step, (row[0] + 1) * step), counts, told) for row in rows]

    def _label_sums(self, asked: dict[str, int]) -> tuple[NDArray[np.int64], NDArray[np.int64], _Figures]:
        """int64 [n] spans, int64 [n] labels, float64 [n, 6] n, volume, particles, squares, exposure, spread: a pair once."""
        # A span of the level itself is a row: nothing to add up.
        whole = "SELECT start, label, n, volume, particles, squares, exposure, spread", ""
        parts = f"SELECT start / :multiple, label, {_LABEL_SUMS}", "GROUP BY 1"
        columns, grouped = whole if asked["multiple"] == 1 else parts
        stored = f"""{columns} FROM label_sums WHERE level = :level AND unit = :of AND label = :label
            AND start >= :first AND start <= :last {grouped}"""
        behind = f"""SELECT start / :multiple, label, {_LABEL_SUMS} FROM ({count_sums(_NOT_ROLLED)})
            WHERE unit IN (0, :unit) AND label IN ({",".join(map(str, self._labels))}) GROUP BY 1, 2"""  # noqa: S608  numbers alone
        pairs = [(label, unit) for label in self._labels for unit in {0, self._unit}]
        rows = chain.from_iterable(
            self._database.execute(stored, asked | {"label": label, "of": unit}) for label, unit in pairs
        )
        found = _figures(chain(rows, self._database.execute(behind, asked)), 8)
        spans, labels = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
        if not len(found):
            return spans, labels, found[:, 2:]
        most = int(labels.max()) + 1
        keys, place = np.unique(spans * most + labels, return_inverse=True)
        sums = np.stack([np.bincount(place, column, len(keys)).astype(np.float64) for column in found.T[2:]], axis=1)
        return keys // most, keys % most, sums

    # -- intervals --------------------------------------------------------------------------------------------------------

    def one_by_one(self, where: str, asked: dict[str, int]) -> tuple[LoggedInterval, ...]:
        """Intervals, in the order that `where` ends in."""
        query = f"""SELECT number, 1, analysed > 0, qc = 4, (end_us - start_us) / 1e6, dead_time_s,
            CASE WHEN unit = 1 AND qc <> 4 THEN volume END, CASE WHEN unit = 2 AND qc <> 4 THEN volume END, analysed, dropped, qc,
            start_us, end_us, (SELECT name FROM spools WHERE spools.number = spool), seq, unit, volume FROM intervals WHERE {where}"""  # noqa: S608  no input
        rows = self._database.execute(query, asked).fetchall()
        volumes = {row[0]: row[16] or 0.0 for row in rows if not row[3] and (row[16] is None or row[15] in (0, self._unit))}
        counts, told = self._estimated(*self._counted(volumes))
        return tuple(
            LoggedInterval(
                number=row[0], spool_id=row[13], seq=row[14], point=self._point(row, (row[11], row[12]), counts, told)
            )
            for row in rows
        )

    def _counted(self, volumes: dict[int, float]) -> tuple[NDArray[np.int64], NDArray[np.int64], _Figures]:
        """As `_label_sums`, of intervals by their numbers, each with its volume."""
        numbers = np.array(sorted(volumes), dtype=np.int64)
        # In the order of storing they mostly follow each other: few runs.
        runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1) if len(numbers) else []
        query = f"""SELECT interval, label, n, weight, uncertainty FROM counts
            WHERE interval >= ? AND interval <= ? AND label IN ({",".join(map(str, self._labels))})"""  # noqa: S608  numbers alone
        rows = (self._database.execute(query, (int(run[0]), int(run[-1]))) for run in runs)
        found = _figures(chain.from_iterable(rows), 5)
        number, label = found[:, 0].astype(np.int64), found[:, 1].astype(np.int64)
        n, weight, uncertainty = found[:, 2], found[:, 3], found[:, 4]
        volume = np.array([volumes[k] for k in number.tolist()], dtype=np.float64)
        sums = np.stack([n, volume, n * weight, n * weight**2, volume * weight, volume * uncertainty / 1e4], axis=1)
        return number, label, sums

    # -- points -----------------------------------------------------------------------------------------------------------

    def _estimated(self, spans: NDArray[np.int64], labels: NDArray[np.int64], sums: _Figures) -> _Estimates:
        counts: dict[int, dict[str, int]] = {}
        told: dict[int, dict[str, Concentration]] = {}
        if not len(sums):
            return counts, told
        per, n, volumes = _PER[self._unit], sums[:, 0].astype(np.int64).tolist(), sums[:, 1].tolist()
        value, low, high = (column.tolist() for column in concentrations(*sums.T[1:]))
        span = None
        counted: dict[str, int] = {}
        estimated: dict[str, Concentration] = {}
        names = [self._names[label] for label in labels.tolist()]
        for k, at in enumerate(spans.tolist()):
            if at != span:
                span, counted, estimated = at, counts.setdefault(at, {}), told.setdefault(at, {})
            counted[names[k]] = n[k]
            if volumes[k] and per is not None:
                estimated[names[k]] = Concentration(value[k], low[k], high[k], per)  # type: ignore[arg-type]
        return counts, told

    def _point(
        self,
        row: _Row,
        span: tuple[int, int],
        counts: dict[int, dict[str, int]],
        told: dict[int, dict[str, Concentration]],
    ) -> SeriesPoint:
        key, intervals, looked, failed, covered_s, dead_time_s, volume_m3, volume_ml, analysed, dropped, qc = row[:11]
        self._units |= {unit for unit, volume in ((1, volume_m3), (2, volume_ml)) if volume}
        return SeriesPoint(
            start=from_us(span[0]), end=from_us(span[1]), intervals=intervals, looked=looked, failed=failed,
            covered_s=round(covered_s, 6), dead_time_s=round(dead_time_s, 6), volume=(None, volume_m3, volume_ml)[self._unit] or None,
            frames_analysed=analysed, frames_dropped=dropped, qc=qc, counts=counts.get(key, {}), concentration=told.get(key, {}),
        )  # fmt: skip


def _coarse_enough(since: int, until: int, points: int) -> tuple[Level, int]:
    """The shortest spans of which no more than `points` overlap the time asked for."""
    for number, multiple in _MULTIPLES:
        step = LEVELS[number].length_us * multiple
        if (until - 1) // step - since // step + 1 <= points:
            return LEVELS[number], multiple
    multiple = _MULTIPLES[-1][1]
    while (until - 1) // (DAY_US * multiple) - since // (DAY_US * multiple) + 1 > points:
        multiple *= 2
    return LEVELS[-1], multiple
