"""The particles' few columns: by label and day in the order of their score, so that the surest of a season lie at the ends of runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
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
    days = {number: [(day, "particles") for day in _days(database, number, span)] for number in labels}
    for number, day in _fresh_days(database, span):
        if number in days:
            days[number].append((day, "fresh_particles"))
    last = _cursor(after)
    page = _by_score if sort in ("score", "-score") else _by_time
    rows = page(database, days, least, sort.startswith("-"), last, span, limit + 1)
    more = len(rows) > limit
    held = [day for number in names for day in [_first_day(database, number)] if day is not None]
    held += [row[0] for row in database.execute("SELECT min(day) FROM fresh_particles") if row[0] is not None]
    return ParticlePage(
        particles=tuple(_told(database, row, names) for row in rows[:limit]),
        after=msgspec.json.encode(rows[limit - 1][:3]).decode() if more else None,
        held_since=from_us(min(held) * DAY_US) if held else None,
    )


def _cursor(after: str | None) -> tuple[int, int, int] | None:
    if after is None:
        return None
    try:
        return msgspec.json.decode(after, type=tuple[int, int, int])
    except msgspec.MsgspecError as error:
        raise InputError("not what a page before said", where="after", got=after[:80]) from error


def _first_day(database: sqlite3.Connection, label: int, after: int = -1) -> int | None:
    query = "SELECT min(day) FROM particles WHERE label = ? AND day > ?"
    return database.execute(query, (label, after)).fetchone()[0]


def _days(database: sqlite3.Connection, label: int, span: tuple[int, int]) -> Iterator[int]:
    """Days that hold particles of a label and overlap the span: one look at the index for each."""
    day = _first_day(database, label, span[0] // DAY_US - 1)
    while day is not None and day * DAY_US < span[1]:
        yield day
        day = _first_day(database, label, day)


def _fresh_days(database: sqlite3.Connection, span: tuple[int, int]) -> list[tuple[int, int]]:
    """(label, day) of particles that lie in the order of storing."""
    query = "SELECT DISTINCT label, day FROM fresh_particles WHERE day >= ? AND day <= ? ORDER BY day"
    return database.execute(query, (span[0] // DAY_US, max(span[1] - 1, 0) // DAY_US)).fetchall()


def _within(day: int, span: tuple[int, int]) -> str:
    """SQL that leaves out what lies outside of the span, on the days at its ends."""
    if span[0] <= day * DAY_US and (day + 1) * DAY_US <= span[1]:
        return ""
    return f" AND (SELECT start_us FROM intervals WHERE number = interval) BETWEEN {span[0]} AND {span[1] - 1}"  # noqa: S608  numbers alone


def _by_score(
    database: sqlite3.Connection,
    days: dict[int, list[tuple[int, str]]],
    least: int,
    down: bool,
    last: _Row | None,
    span: tuple[int, int],
    wanted: int,
) -> list[_Row]:
    """The first of all runs, one run a label and day; a run is left as soon as nothing of it can be among them."""
    best: list[_Row] = []
    order = "DESC" if down else "ASC"
    beyond = "" if last is None else f" AND (score, interval, behind) {'<' if down else '>'} ({last[0]}, {last[1]}, {last[2]})"

    for label, of_label in days.items():
        for day, table in reversed(of_label):
            low, high = least, 1000
            if len(best) >= wanted:
                low, high = (max(low, best[-1][0]), high) if down else (low, best[-1][0])
            query = f"""SELECT {_COLUMNS} FROM {table} WHERE label = ? AND day = ? AND score >= ? AND score <= ?{beyond}
                {_within(day, span)} ORDER BY score {order}, interval {order}, behind {order} LIMIT ?"""  # noqa: S608  numbers alone
            rows = database.execute(query, (label, day, low, high, wanted)).fetchall()
            if rows:
                best = sorted([*best, *rows], key=itemgetter(0, 1, 2), reverse=down)[:wanted]
    return best


def _by_time(
    database: sqlite3.Connection,
    days: dict[int, list[tuple[int, str]]],
    least: int,
    down: bool,
    last: _Row | None,
    span: tuple[int, int],
    wanted: int,
) -> list[_Row]:
    """Day by day: within one, in the order of storing."""
    order = "DESC" if down else "ASC"
    sign = -1 if down else 1

    def rank(row: _Row) -> tuple[int, int]:
        # Within an interval the records come in order: the one that is furthest behind its interval's is the first.
        return sign * row[1], -sign * row[2]

    started = (
        None if last is None else database.execute("SELECT start_us FROM intervals WHERE number = ?", (last[1],)).fetchone()
    )
    last_day = None if started is None else int(started[0]) // DAY_US
    found: list[_Row] = []
    for day in sorted({day for of_label in days.values() for day, _ in of_label}, reverse=down):
        if last_day is not None and (day > last_day if down else day < last_day):
            continue
        rows: list[_Row] = []
        beyond = ""
        if last is not None and day == last_day:
            way, other = ("<", ">") if down else (">", "<")
            beyond = f" AND (interval {way} {last[1]} OR (interval = {last[1]} AND behind {other} {last[2]}))"
        for label, table in ((number, held) for number, of_label in days.items() for on, held in of_label if on == day):
            query = f"""SELECT {_COLUMNS} FROM {table} WHERE label = ? AND day = ? AND score >= ?{beyond}{_within(day, span)}
                ORDER BY interval {order}, behind {"ASC" if down else "DESC"} LIMIT ?"""  # noqa: S608  numbers alone
            rows += database.execute(query, (label, day, least, wanted))
        found += sorted(rows, key=rank)
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
