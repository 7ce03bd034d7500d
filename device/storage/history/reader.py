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

from msgspec import structs

from device.analysis.count import ARTEFACTS
from device.errors import InputError, TransientError
from device.storage.damaged import DamagedCopies
from device.storage.history.entries import edge_um, from_us, to_us
from device.storage.history.gaps import asked_gaps
from device.storage.history.particles import asked_particles
from device.storage.history.series import SeriesQuestion
from device.storage.history.tables import DAY_US, FOLDER, database_in, open_for_reading, stored_span
from device.storage.history.values import (
    HistoryGap,
    HistorySeries,
    HistoryStatus,
    LoggedEvent,
    LoggedInterval,
    ParticlePage,
    SizeDistribution,
    Sort,
    VolumeUnit,
)
from device.storage.sums import is_damage

__all__ = ["HistoryProgress", "HistoryReader"]

_MOST_POINTS = 2000
_MOST_ROWS = 10_000

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
        found = self._ask(stored_span)
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
        series = self._ask(lambda database: SeriesQuestion(database, span, labels, unit).answer(points))
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
        pairs = self._ask(partial(asked_gaps, span=span, longer_us=round(longer_than_s * 1e6)))
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
            return SeriesQuestion(database, span, None, None).one_by_one(where, asked)

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


def _facts(database: sqlite3.Connection) -> tuple[tuple[int, int] | None, int, dict[str, str]]:
    count = database.execute("SELECT count(*) FROM intervals").fetchone()[0]
    rebuilt = dict(database.execute("SELECT key, value FROM meta WHERE key IN ('rebuilt_at', 'rebuilt_why')").fetchall())
    return stored_span(database), count, rebuilt


def _sizes(database: sqlite3.Connection, days: tuple[int, int], label: str | None) -> list[_Row]:
    names = dict(database.execute("SELECT name, number FROM labels").fetchall())
    chosen = [
        number for name, number in names.items() if (name not in ARTEFACTS if label in (None, "total") else name == label)
    ]
    query = f"""SELECT bin, sum(n) FROM sizes WHERE label IN ({",".join("?" * len(chosen))}) AND day >= ? AND day <= ?
        GROUP BY bin"""  # noqa: S608  no input
    return database.execute(query, (*chosen, *days)).fetchall()
