"""The particles' few columns: by label and day in the order of their score, so that the surest of a season lie at the ends of runs.

A run is the particles of one label and day. Those of the day that is not over lie apart, in the order of storing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec

from device.errors import InputError
from device.storage.history.entries import from_us
from device.storage.history.tables import DAY_US
from device.storage.history.values import LoggedParticle, ParticlePage, Sort

__all__ = ["asked_particles"]

_Row = tuple[Any, ...]
_COLUMNS = "score, interval, behind, label, esd, esd_uncertainty, z"
_RUNS = """WITH RECURSIVE runs (label, day) AS (
    SELECT number, (SELECT min(day) FROM particles p WHERE p.label = number AND p.day >= {first}) FROM labels WHERE number IN ({labels})
    UNION ALL SELECT label, (SELECT min(day) FROM particles p WHERE p.label = runs.label AND p.day > runs.day) FROM runs
        WHERE day <= {last}
) SELECT label, day{more} FROM runs WHERE day <= {last}"""
"""Steps from one run to the next: one look at the index for each."""


def asked_particles(
    database: sqlite3.Connection,
    label: str | None,
    span: tuple[int, int],
    min_score: float,
    sort: Sort,
    limit: int,
    after: str | None,
) -> ParticlePage:
    """A page of them: see `HistoryReader.particles`."""
    names: dict[int, str] = dict(database.execute("SELECT number, name FROM labels").fetchall())
    labels = [number for number, name in names.items() if label is None or name == label]
    least = -1 if min_score <= 0 else round(1000 * min_score)
    page = _by_score if sort in ("score", "-score") else _by_time
    rows = page(_Asked(database, labels, span, least), sort.startswith("-"), _cursor(after), limit + 1)
    more = len(rows) > limit
    held = [row[0] for number in names for row in database.execute("SELECT min(day) FROM particles WHERE label = ?", (number,))]
    held += [row[0] for row in database.execute("SELECT min(day) FROM fresh_particles")]
    days = [day for day in held if day is not None]
    return ParticlePage(
        particles=tuple(_told(database, row, names) for row in rows[:limit]),
        after=msgspec.json.encode(rows[limit - 1][:3]).decode() if more else None,
        held_since=from_us(min(days) * DAY_US) if days else None,
    )


def _cursor(after: str | None) -> tuple[int, int, int] | None:
    if after is None:
        return None
    try:
        return msgspec.json.decode(after, type=tuple[int, int, int])
    except msgspec.MsgspecError as error:
        raise InputError("not what a page before said", where="after", got=after[:80]) from error


class _Asked:
    """Of which labels, of when, how sure; all of it numbers, and so written into the SQL."""

    def __init__(self, database: sqlite3.Connection, labels: Sequence[int], span: tuple[int, int], least: int) -> None:
        self.database, self.least = database, least
        self._span, self._labels = span, ",".join(map(str, labels))
        self._days = span[0] // DAY_US, max(span[1] - 1, 0) // DAY_US

    def runs(self, more: str = "") -> list[_Row]:
        """(label, day) of those that overlap the span, and further columns."""
        first, last = self._days
        return self.database.execute(_RUNS.format(first=first, last=last, labels=self._labels, more=more)).fetchall()

    def fresh_days(self) -> list[int]:
        """Those that hold particles in the order of storing; mostly one."""
        query = f"SELECT DISTINCT day FROM fresh_particles WHERE day BETWEEN ? AND ? AND label IN ({self._labels})"  # noqa: S608  numbers alone
        return [day for (day,) in self.database.execute(query, self._days)]

    def of_run(self, label: int, day: int, beyond: str, order: str, wanted: int) -> list[_Row]:
        """The first of a run in this order."""
        return self._first("particles", f"label = {label}", day, beyond, order, wanted)

    def of_fresh(self, day: int, beyond: str, order: str, wanted: int) -> list[_Row]:
        """The first of a day's that lie in the order of storing."""
        return self._first("fresh_particles", f"label IN ({self._labels})", day, beyond, order, wanted)

    def _first(self, table: str, of: str, day: int, beyond: str, order: str, wanted: int) -> list[_Row]:
        query = f"""SELECT {_COLUMNS} FROM {table} WHERE {of} AND day = ? AND score >= ?{beyond}{self._within(day)}
            ORDER BY {order} LIMIT ?"""  # noqa: S608  numbers alone
        return self.database.execute(query, (day, self.least, wanted)).fetchall()

    def _within(self, day: int) -> str:
        """SQL that leaves out what lies outside of the span, on the days at its ends."""
        since, until = max(self._span[0], day * DAY_US), min(self._span[1], (day + 1) * DAY_US)
        if until - since == DAY_US:
            return ""
        return f" AND interval IN (SELECT number FROM intervals WHERE start_us >= {since} AND start_us < {until})"  # noqa: S608  numbers alone


def _by_score(asked: _Asked, down: bool, last: _Row | None, wanted: int) -> list[_Row]:
    """The first of all runs, those whose ends promise most before the others; no more is read once none can be among them."""
    order = "score DESC, interval DESC, behind DESC" if down else "score, interval, behind"
    beyond = "" if last is None else f" AND (score, interval, behind) {'<' if down else '>'} ({last[0]}, {last[1]}, {last[2]})"
    best: list[_Row] = []
    for day in asked.fresh_days():
        best = _merged(best, asked.of_fresh(day, beyond, order, wanted), down, wanted)
    first = f"FROM particles p WHERE p.label = runs.label AND p.day = runs.day AND score >= {asked.least}{beyond} ORDER BY {order} LIMIT 1"
    ends = [row for row in asked.runs(f", (SELECT score {first}), (SELECT interval {first})") if row[2] is not None]
    for label, day, *end in sorted(ends, key=itemgetter(2, 3), reverse=down):
        if len(best) >= wanted and (tuple(end) < best[-1][:2] if down else tuple(end) > best[-1][:2]):
            break
        best = _merged(best, asked.of_run(label, day, beyond, order, wanted), down, wanted)
    return best


def _merged(best: list[_Row], more: list[_Row], down: bool, wanted: int) -> list[_Row]:
    return sorted([*best, *more], key=itemgetter(0, 1, 2), reverse=down)[:wanted]


def _by_time(asked: _Asked, down: bool, last: _Row | None, wanted: int) -> list[_Row]:
    """Day by day: within one, in the order of storing."""
    order = "interval DESC, behind" if down else "interval, behind DESC"
    sign = -1 if down else 1

    def rank(row: _Row) -> tuple[int, int]:
        # Within an interval the records come in order: the one that is furthest behind its interval's is the first.
        return sign * row[1], -sign * row[2]

    last_day = None
    beyond = ""
    if last is not None:
        query = "SELECT start_us FROM intervals WHERE number = ?"
        started = asked.database.execute(query, (last[1],)).fetchone()
        last_day = None if started is None else int(started[0]) // DAY_US
        way, other = ("<", ">") if down else (">", "<")
        beyond = f" AND (interval {way} {last[1]} OR (interval = {last[1]} AND behind {other} {last[2]}))"
    days: dict[int, list[int]] = {day: [] for day in asked.fresh_days()}
    fresh = set(days)
    for label, day in asked.runs():
        days.setdefault(day, []).append(label)
    found: list[_Row] = []
    for day in sorted(days, reverse=down):
        if last_day is not None and (day > last_day if down else day < last_day):
            continue
        then = (day, beyond if day == last_day else "", order, wanted)
        rows = asked.of_fresh(day, then[1], "number DESC" if down else "number", wanted) if day in fresh else []
        found += sorted(chain(rows, *(asked.of_run(label, *then) for label in days[day])), key=rank)
        if len(found) >= wanted:
            break
    return found[:wanted]


def _told(database: sqlite3.Connection, row: Sequence[Any], names: dict[int, str]) -> LoggedParticle:
    score, interval, behind, label, esd, esd_uncertainty, z = row
    query = "SELECT start_us, seq, (SELECT name FROM spools WHERE spools.number = spool) FROM intervals WHERE number = ?"
    start_us, seq, spool_id = database.execute(query, (interval,)).fetchone() or (0, behind, "")
    return LoggedParticle(
        at=from_us(start_us), spool_id=spool_id, seq=seq - behind, label=names[label], score=None if score < 0 else score / 1000,
        esd_um=esd / 100, esd_uncertainty_um=esd_uncertainty / 100, z_um=z / 10,
    )  # fmt: skip
