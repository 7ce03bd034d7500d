"""Questions to the history, from any thread, each with a connection of its own that can't write.

Every answer is one snapshot. What is asked for comes in as many points as can be shown, never more: the length of their spans
follows from the width that is asked for.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from msgspec import structs

from device.analysis.count import ARTEFACTS
from device.errors import InputError, TransientError
from device.records import Concentration
from device.storage.damaged import DamagedCopies
from device.storage.history.entries import edge_um, from_us, to_us
from device.storage.history.estimates import concentrations
from device.storage.history.particles import asked_particles
from device.storage.history.tables import (
    DAY_US,
    FOLDER,
    LEVELS,
    UNITS,
    Level,
    count_sums,
    database_in,
    interval_sums,
    open_for_reading,
)
from device.storage.history.values import (
    HistoryGap,
    HistorySeries,
    HistoryStatus,
    LoggedEvent,
    LoggedInterval,
    ParticlePage,
    SeriesPoint,
    SizeDistribution,
    Sort,
    VolumeUnit,
)
from device.storage.sums import is_damage

__all__ = ["HistoryProgress", "HistoryReader"]

_MOST_POINTS = 2000
_MOST_ROWS = 10_000
_PER = (None, "m^-3", "mL^-1")
"""Units of concentrations, by number of the volume's."""
_MULTIPLES = ((0, 1), (0, 3), (1, 1), (1, 3), (1, 6), (1, 12), (2, 1), (2, 2), (2, 7), (2, 14), (2, 28), (2, 91), (2, 364))
"""Spans that points may have: a level and how many of its spans."""
_SHORTEST_BY_SUMS_S = 2 * LEVELS[0].length_us / 1e6
"""A longer gap holds a whole span of ten minutes in which nothing began."""

Answer = TypeVar("Answer")
_Row = tuple[Any, ...]


@dataclass(frozen=True)
class HistoryProgress:
    """What only the one who writes knows."""

    behind: int | None = None
    """Records that are not in the history yet."""
    trouble: str = ""
    """Why it can't be written; empty where it can."""


class HistoryReader:
    """Of the history in a store's folder; TransientError where it can't be read at the moment."""

    def __init__(
        self,
        folder: Path,
        progress: Callable[[], HistoryProgress] = HistoryProgress,
        on_damage: Callable[[], None] = lambda: None,
    ) -> None:
        """`progress` of the one who writes; `on_damage` hears that the file turned out to be damaged."""
        self._folder, self._path = folder / FOLDER, database_in(folder)
        self._progress, self._on_damage = progress, on_damage
        self._own = threading.local()

    # -- the connection ---------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            database = self._connection()
            database.execute("BEGIN")
            try:
                return question(database)
            finally:
                database.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:
            self._drop()
            if isinstance(error, sqlite3.Error) and is_damage(error):
                self._on_damage()
            raise TransientError(
                "the history can't be read",
                where=self._path,
                got=str(error),
                remedy="It is looked after; try again in a while.",
            ) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's; another one where the file is another."""
        found = self._path.stat()
        file = (found.st_dev, found.st_ino)
        if getattr(self._own, "file", None) != file:
            self._drop()
            self._own.database, self._own.file = open_for_reading(self._path), file
        return self._own.database

    def _drop(self) -> None:
        database: sqlite3.Connection | None = getattr(self._own, "database", None)
        self._own.database = self._own.file = None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def close(self) -> None:
        """This thread's connection."""
        self._drop()

    # -- questions --------------------------------------------------------------------------------------------------------

    def span(self) -> tuple[str, str] | None:
        """Begins of the first and of the last interval; None where there is none."""
        found = self._ask(_span)
        return None if found is None else (from_us(found[0]), from_us(found[1]))

    def series(
        self, since: str, until: str, points: int, labels: Sequence[str] | None = None, unit: VolumeUnit | None = None
    ) -> HistorySeries:
        """Counts and concentrations from `since` up to `until`, in at most `points` points (1 to 2000).

        Of these `labels` (None: all; one that was never seen is left out), with volumes in `unit` (None: that of the newest
        interval). Points may be intervals, or spans of ten minutes up to years; spans at the edges are whole ones.
        """
        span = _asked_span(since, until)
        if not 1 <= points <= _MOST_POINTS:
            raise InputError("no number of points", where="points", expected=f"1 to {_MOST_POINTS}", got=points)
        series = self._ask(lambda database: _SeriesQuestion(database, span, labels, unit).answer(points))
        return structs.replace(series, since=from_us(span[0]), until=from_us(span[1]))

    def sizes(self, since: str, until: str, label: str | None = None) -> SizeDistribution:
        """Of the particles of the days (UTC) from `since` up to `until`; of a label, or of all but artefacts such as bubbles."""
        since_us, until_us = _asked_span(since, until)
        days = since_us // DAY_US, max(until_us - 1, since_us) // DAY_US
        found = dict(self._ask(partial(_sizes, days=days, label=label)))
        first, last = (min(found), max(found)) if found else (0, -1)
        return SizeDistribution(
            since=from_us(days[0] * DAY_US), until=from_us((days[1] + 1) * DAY_US),
            edges_um=tuple(round(edge_um(k), 4) for k in range(first, last + 2)) if found else (),
            n=tuple(found.get(k, 0) for k in range(first, last + 1)),
        )  # fmt: skip

    def gaps(self, since: str, until: str, longer_than_s: float) -> tuple[HistoryGap, ...]:
        """Times between intervals, longer than this, that begin before `until` and end after `since`; in order of time."""
        span = _asked_span(since, until)
        if not longer_than_s > 0:
            raise InputError("no length of a gap", where="longer_than_s", expected="above 0", got=longer_than_s)
        pairs = self._ask(partial(_gaps, span=span, longer_us=round(longer_than_s * 1e6)))
        return tuple(HistoryGap(start=from_us(a), end=from_us(b), seconds=(b - a) / 1e6) for a, b in pairs)

    def events(self, since: str, until: str, limit: int = 1000) -> tuple[LoggedEvent, ...]:
        """The last `limit` of those that began from `since` up to `until`, the newest first."""
        query = """SELECT since_us, id, code, severity, message, value, unit FROM events WHERE since_us >= ? AND since_us < ?
            ORDER BY since_us DESC, number DESC LIMIT ?"""
        span = _asked_span(since, until)
        rows = self._ask(lambda database: database.execute(query, (*span, _limited(limit))).fetchall())
        return tuple(
            LoggedEvent(since=from_us(us), id=id_, code=code, severity=severity, message=said, value=value, unit=unit)
            for us, id_, code, severity, said, value, unit in rows
        )

    def intervals(self, since: str, until: str, limit: int = 1000, after: int | None = None) -> tuple[LoggedInterval, ...]:
        """Those that began from `since` up to `until` and are held one by one, in the order of their storing after `after`."""
        span = _asked_span(since, until)

        def question(database: sqlite3.Connection) -> tuple[LoggedInterval, ...]:
            where = "number > :after AND start_us >= :since AND start_us < :until ORDER BY number LIMIT :limit"
            asked = {"after": after or 0, "since": span[0], "until": span[1], "limit": _limited(limit)}
            return _SeriesQuestion(database, span, None, None).one_by_one(where, asked)

        return self._ask(question)

    def particles(
        self,
        label: str | None,
        since: str,
        until: str,
        min_score: float = 0.0,
        sort: Sort = "-score",
        limit: int = 100,
        after: str | None = None,
    ) -> ParticlePage:
        """Particles of a label (None: of all) of intervals that began from `since` up to `until`.

        `min_score` above 0 leaves out what has no score. `after`: what the page before said.
        """
        span = _asked_span(since, until)
        return self._ask(lambda database: asked_particles(database, label, span, min_score, sort, _limited(limit), after))

    def status(self) -> HistoryStatus:
        """How it is; also where it can't be read."""
        progress = self._progress()
        size = sum(path.stat().st_size for path in self._folder.glob("history.sqlite*") if path.is_file())
        try:
            first_last, intervals, rebuilt = self._ask(_facts)
            there, trouble = True, progress.trouble
        except TransientError as error:
            first_last, intervals, rebuilt = None, 0, {}
            there, trouble = False, progress.trouble or error.what
        return HistoryStatus(
            there=there, first=from_us(first_last[0]) if first_last else None, last=from_us(first_last[1]) if first_last else None,
            intervals=intervals, bytes=size, behind=progress.behind, trouble=trouble, rebuilt_at=rebuilt.get("rebuilt_at"),
            rebuilt_why=rebuilt.get("rebuilt_why", ""), set_aside=tuple(DamagedCopies(self._folder).names),
        )  # fmt: skip


def _asked_span(since: str, until: str) -> tuple[int, int]:
    span = to_us(since), to_us(until)
    if span[0] > span[1]:
        raise InputError("the range is backwards", where="since, until", expected="since before until", got=f"{since}, {until}")
    return span


def _limited(limit: int) -> int:
    if not 1 <= limit <= _MOST_ROWS:
        raise InputError("no such number of rows", where="limit", expected=f"1 to {_MOST_ROWS}", got=limit)
    return limit


def _span(database: sqlite3.Connection) -> tuple[int, int] | None:
    """Apart, each is one look at an index's edge."""
    ends = "SELECT (SELECT min(start_us) FROM intervals), (SELECT max(start_us) FROM intervals), (SELECT min(start) FROM sums WHERE level = 2)"
    first, last, day = database.execute(ends).fetchone()
    if first is None:
        return None
    is_whole = database.execute("SELECT min(number) FROM intervals").fetchone()[0] == 1
    return (first if is_whole or day is None else min(first, day * DAY_US)), last


def _facts(database: sqlite3.Connection) -> tuple[tuple[int, int] | None, int, dict[str, str]]:
    count = database.execute("SELECT count(*) FROM intervals").fetchone()[0]
    rebuilt = dict(database.execute("SELECT key, value FROM meta WHERE key IN ('rebuilt_at', 'rebuilt_why')").fetchall())
    return _span(database), count, rebuilt


def _sizes(database: sqlite3.Connection, days: tuple[int, int], label: str | None) -> list[_Row]:
    names = dict(database.execute("SELECT name, number FROM labels").fetchall())
    chosen = [
        number for name, number in names.items() if (name not in ARTEFACTS if label in (None, "total") else name == label)
    ]
    query = f"""SELECT bin, sum(n) FROM sizes WHERE label IN ({",".join("?" * len(chosen))}) AND day >= ? AND day <= ?
        GROUP BY bin"""  # noqa: S608  no input
    return database.execute(query, (*chosen, *days)).fetchall()


def _gaps(database: sqlite3.Connection, span: tuple[int, int], longer_us: int) -> list[tuple[int, int]]:
    query = "SELECT max(start_us) FROM intervals WHERE start_us < ?"
    before = database.execute(query, (span[0],)).fetchone()[0]
    since, until = (span[0] if before is None else before), span[1]
    if longer_us / 1e6 > _SHORTEST_BY_SUMS_S:
        return _gaps_by_sums(database, since, until, longer_us)
    return _gaps_one_by_one(database, since, until, longer_us)


def _gaps_one_by_one(database: sqlite3.Connection, since: int, until: int, longer_us: int) -> list[tuple[int, int]]:
    rows = database.execute(
        "SELECT start_us, end_us FROM intervals WHERE start_us >= ? AND start_us <= ? ORDER BY start_us", (since, until)
    ).fetchall()
    query = "SELECT min(start_us) FROM intervals WHERE start_us > ?"
    after = database.execute(query, (until,)).fetchone()[0]
    if not rows:
        return []
    starts, ends = np.array(rows, dtype=np.int64).T
    starts = np.append(starts, after if after is not None else starts[-1])
    ends = np.maximum.accumulate(ends)
    found = np.flatnonzero(starts[1:] - ends > longer_us)
    return [(int(ends[k]), int(starts[k + 1])) for k in found]


def _gaps_by_sums(database: sqlite3.Connection, since: int, until: int, longer_us: int) -> list[tuple[int, int]]:
    """Where spans of ten minutes are missing, a look at the intervals about them."""
    level = LEVELS[0]
    query = """SELECT start FROM sums WHERE level = :level AND start >= :first AND start <= :last
        UNION SELECT start_us / :length FROM intervals WHERE number > :rolled AND start_us >= :since ORDER BY 1"""
    asked = {
        "level": level.number, "length": level.length_us, "first": since // level.length_us, "last": until // level.length_us + 1,
        "rolled": _rolled(database, level), "since": since,
    }  # fmt: skip
    spans = [row[0] for row in database.execute(query, asked)]
    query = "SELECT min(start_us) FROM intervals WHERE start_us > ?"
    if (after := database.execute(query, (until,)).fetchone()[0]) is not None:
        spans = sorted({*spans, after // level.length_us})
    found: list[tuple[int, int]] = []
    starts = np.array(spans, dtype=np.int64)
    for k in np.flatnonzero(np.diff(starts) > 1):
        begin, end = _edges(database, int(starts[k]), int(starts[k + 1]), level.length_us)
        if end - begin > longer_us and end > since and begin < until:
            found.append((begin, end))
    return found


def _edges(database: sqlite3.Connection, before: int, after: int, length_us: int) -> tuple[int, int]:
    """End of the last interval of one span, begin of the first of another; of those no longer held one by one, the spans' own."""
    last = "SELECT max(end_us) FROM intervals WHERE start_us >= ? AND start_us < ?"
    first = "SELECT min(start_us) FROM intervals WHERE start_us >= ? AND start_us < ?"
    end = database.execute(last, (before * length_us, (before + 1) * length_us)).fetchone()[0]
    begin = database.execute(first, (after * length_us, (after + 1) * length_us)).fetchone()[0]
    return ((before + 1) * length_us if end is None else end), (after * length_us if begin is None else begin)


def _rolled(database: sqlite3.Connection, level: Level) -> int:
    row = database.execute("SELECT value FROM meta WHERE key = ?", (f"rolled_{level.number}",)).fetchone()
    return 0 if row is None else int(row[0])


class _SeriesQuestion:
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
        found = _span(self._database)
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
        seen = dict.fromkeys(label for point in points for label in point.counts)
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
            "level": level.number, "length": length, "multiple": multiple, "rolled": _rolled(self._database, level), "unit": self._unit,
            "first": since // step * multiple, "last": (until - 1) // length, "since": since // step * step, "until": until,
        }  # fmt: skip
        behind = "number > :rolled AND start_us >= :since AND start_us < :until"
        query = f"""SELECT start / :multiple AS span, sum(intervals), sum(looked), sum(failed), sum(covered_s), sum(dead_time_s),
            sum(volume_m3), sum(volume_ml), sum(analysed), sum(dropped), max(qc) FROM (
                SELECT * FROM sums WHERE level = :level AND start >= :first AND start <= :last
                UNION ALL {interval_sums(behind)}) GROUP BY 1 ORDER BY 1"""  # noqa: S608  no input
        rows = self._database.execute(query, asked).fetchall()
        labels = ",".join(map(str, self._labels))
        query = f"""SELECT start / :multiple AS span, label, sum(n), sum(volume), sum(particles), sum(squares), sum(exposure),
            sum(spread) FROM (
                SELECT * FROM label_sums WHERE level = :level AND unit IN (0, :unit) AND label IN ({labels})
                    AND start >= :first AND start <= :last
                UNION ALL SELECT * FROM ({count_sums(behind)}) WHERE unit IN (0, :unit) AND label IN ({labels}))
            GROUP BY 1, 2"""  # noqa: S608  numbers alone
        counts, told = self._estimated(self._database.execute(query, asked).fetchall())
        return [self._point(row, (row[0] * step, (row[0] + 1) * step), counts, told) for row in rows]

    def one_by_one(self, where: str, asked: dict[str, int]) -> tuple[LoggedInterval, ...]:
        """Intervals, in the order that `where` ends in."""
        query = f"""SELECT number, 1, analysed > 0, qc = 4, (end_us - start_us) / 1e6, dead_time_s,
            CASE WHEN unit = 1 AND qc <> 4 THEN volume END, CASE WHEN unit = 2 AND qc <> 4 THEN volume END, analysed, dropped, qc,
            start_us, end_us, (SELECT name FROM spools WHERE spools.number = spool), seq FROM intervals WHERE {where}"""  # noqa: S608  no input
        rows = self._database.execute(query, asked).fetchall()
        labels = ",".join(map(str, self._labels))
        query = f"""SELECT interval, label, n, ifnull(volume, 0), n * weight, n * weight * weight, ifnull(volume * weight, 0),
                ifnull(volume * uncertainty / 1e4, 0)
            FROM (SELECT number, volume, unit FROM intervals WHERE qc <> 4 AND number IN (SELECT number FROM intervals WHERE {where}))
            CROSS JOIN counts ON interval = number WHERE label IN ({labels}) AND unit IN (0, :unit)"""  # noqa: S608  numbers alone
        found = self._database.execute(query, {**asked, "unit": self._unit}).fetchall()
        counts, told = self._estimated(found)
        return tuple(
            LoggedInterval(
                number=row[0], spool_id=row[13], seq=row[14], point=self._point(row, (row[11], row[12]), counts, told)
            )
            for row in rows
        )

    def _estimated(self, rows: list[_Row]) -> tuple[dict[int, dict[str, int]], dict[int, dict[str, Concentration]]]:
        """Counts and concentrations by span and label, of (span, label, n, volume, particles, squares, exposure, spread)."""
        counts: dict[int, dict[str, int]] = {}
        told: dict[int, dict[str, Concentration]] = {}
        if not rows:
            return counts, told
        sums = np.array([row[3:] for row in rows], dtype=np.float64)
        estimates = np.array(concentrations(*sums.T)).T.tolist()
        per = _PER[self._unit]
        for (span, label, n, volume, *_), (value, low, high) in zip(rows, estimates, strict=True):
            name = self._names[label]
            counts.setdefault(span, {})[name] = n
            if volume and per is not None:
                told.setdefault(span, {})[name] = Concentration(value, low, high, per)  # type: ignore[arg-type]
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
