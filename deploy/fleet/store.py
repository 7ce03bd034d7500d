"""Rows into PostgreSQL, each key once; and how far each spool is whole.

Two transactions a batch. The first holds the rows and is on disk before anything is acknowledged. The second moves the
marks: it locks the spools in the order of their names and only then looks at what is there, so that of several collectors
the last one sees the rows of all. It need not wait for the disk: a mark lost in a crash is found again from the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg

from deploy.fleet.database import Connection, connect
from deploy.fleet.intake import Arrival, Key, Rejection
from deploy.fleet.schema import check
from device.errors import TransientError
from device.messaging.topics import Topics

__all__ = ["Mark", "Store", "Written"]

# Binary (%b): as text, each quote of a record would be escaped, one by one, in Python.
_INPUT = """input AS (
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::timestamptz[], %b::boolean[], %b::text[])
    AS i (device_id, spool_id, seq, kind, at, synchronised, record)
)"""

_INSERT = f"""WITH {_INPUT}, fresh AS (
    INSERT INTO received (device_id, spool_id, seq, at, synchronised)
    SELECT device_id, spool_id, seq, at, synchronised FROM input ORDER BY device_id, spool_id, seq
    ON CONFLICT DO NOTHING RETURNING device_id, spool_id, seq
)
INSERT INTO records (device_id, spool_id, seq, kind, at, record)
SELECT device_id, spool_id, seq, kind, at, record::jsonb FROM input JOIN fresh USING (device_id, spool_id, seq)"""

# A record that comes again is the same one, unless the box has set its clock since and corrected the stamps.
_CORRECT = f"""WITH {_INPUT}, better AS (
    SELECT device_id, spool_id, seq, r.at AS old_at, i.at, i.record FROM received r JOIN input i USING (device_id, spool_id, seq)
    WHERE i.synchronised AND NOT r.synchronised ORDER BY device_id, spool_id, seq FOR UPDATE OF r
), marked AS (
    UPDATE received r SET at = b.at, synchronised = true FROM better b
    WHERE (r.device_id, r.spool_id, r.seq) = (b.device_id, b.spool_id, b.seq)
)
UPDATE records c SET at = b.at, record = b.record::jsonb FROM better b
WHERE (c.device_id, c.at, c.spool_id, c.seq) = (b.device_id, b.old_at, b.spool_id, b.seq)"""

_REJECT = """INSERT INTO rejected AS r (topic, sha256, reason, payload) VALUES (%s, %s, %s, %s)
ON CONFLICT (topic, sha256) DO UPDATE SET times = r.times + 1, last_at = now()"""

_COUNT_IN = """INSERT INTO received (device_id, spool_id, seq, at, synchronised) VALUES (%s, %s, %s, now(), true)
ON CONFLICT DO NOTHING"""

_TOUCH = """INSERT INTO spools AS s (device_id, spool_id, highest, last_at)
SELECT device_id, spool_id, max(seq), max(at) FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[])
AS i (device_id, spool_id, seq, at) GROUP BY device_id, spool_id ORDER BY device_id, spool_id
ON CONFLICT (device_id, spool_id) DO UPDATE
SET highest = greatest(s.highest, EXCLUDED.highest), last_at = greatest(s.last_at, EXCLUDED.last_at), last_received_at = now()"""

_ADVANCE = """UPDATE spools s SET committed_to = contiguous_to(s.device_id, s.spool_id, s.committed_to)
FROM (SELECT DISTINCT device_id, spool_id FROM unnest(%s::text[], %s::text[]) AS i (device_id, spool_id)) t
WHERE (s.device_id, s.spool_id) = (t.device_id, t.spool_id) RETURNING s.device_id, s.spool_id, s.committed_to"""


_PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""Lost connections, full disks, deadlocks, a server that is a standby at the moment."""

_UNFIT = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""What a record can be that PostgreSQL doesn't hold: a zero character, a number out of range, nested too deep."""

_LONGEST_TOPIC, _LONGEST_REASON = 500, 1000
"""Characters kept of a rejected message's; the topic is part of a key, which PostgreSQL limits to 2,700 bytes."""


@dataclass(frozen=True)
class Mark:
    """Every record of a spool from `first` up to `seq` is committed."""

    device_id: str
    spool_id: str
    seq: int
    first: int = 1


@dataclass(frozen=True)
class Written:
    """What became of a batch."""

    records: int = 0
    """Committed for the first time."""
    again: int = 0
    """Had come before."""
    rejected: int = 0
    marks: tuple[Mark, ...] = ()


class Store:
    """One connection, made again when it is lost; TransientError as long as it can't be."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: Connection | None = None

    def open(self) -> Connection:
        """Connect, and refuse a database without the tables."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database)
            try:
                check(self._connection)
            except BaseException:
                self.close()
                raise
        return self._connection

    def close(self) -> None:
        """Safe to call twice."""
        if self._connection is not None:
            self._connection.close()

    def commit(self, taken: Sequence[Arrival | Rejection]) -> Written:
        """Everything is in the database when this returns; TransientError where it can't be: then nothing may be acknowledged."""
        try:
            return _commit(self.open(), taken)
        except _PASSING as error:
            self.close()
            raise TransientError("PostgreSQL takes no records", got=" ".join(str(error).split())) from error


def _commit(connection: Connection, taken: Sequence[Arrival | Rejection]) -> Written:
    arrivals = list(_better_of_each(item for item in taken if isinstance(item, Arrival)))
    rejections = [item for item in taken if isinstance(item, Rejection)]
    try:
        fresh = _write(connection, arrivals, rejections)
    except _UNFIT:
        # One of them is what PostgreSQL can't hold: find it.
        fresh, unfit = _sift(connection, arrivals)
        rejections += unfit
        _write(connection, [], rejections)
    refused = {rejection.key for rejection in rejections}
    kept = [arrival for arrival in arrivals if arrival.key not in refused]
    now = datetime.now(UTC)
    seen = [(a.key, a.at) for a in kept] + [(r.key, now) for r in rejections if r.key is not None]
    again = sum(isinstance(item, Arrival) for item in taken) - len(arrivals) + len(kept) - fresh
    return Written(fresh, again, len(rejections), _advance(connection, seen))


def _better_of_each(arrivals: Iterable[Arrival]) -> Iterable[Arrival]:
    """One of each key."""
    best: dict[Key, Arrival] = {}
    for arrival in arrivals:
        known = best.get(arrival.key)
        if known is None or (arrival.synchronised and not known.synchronised):
            best[arrival.key] = arrival
    return best.values()


def _write(connection: Connection, arrivals: Sequence[Arrival], rejections: Sequence[Rejection]) -> int:
    """One transaction; returns how many records weren't there."""
    fresh = 0
    with connection.transaction(), connection.cursor() as cursor:
        if arrivals:
            columns = _columns(arrivals)
            fresh = cursor.execute(_INSERT, columns).rowcount
            if fresh < len(arrivals) and any(arrival.synchronised for arrival in arrivals):
                cursor.execute(_CORRECT, columns)
        for one in rejections:
            topic, reason = _plain(one.topic, _LONGEST_TOPIC), _plain(one.reason, _LONGEST_REASON)
            cursor.execute(_REJECT, (topic, hashlib.sha256(one.payload).digest(), reason, one.payload))
            if one.key is not None:
                cursor.execute(_COUNT_IN, (one.key.device_id, one.key.spool_id, one.key.seq))
    return fresh


def _plain(text: str, most: int) -> str:
    """What any database and terminal can hold of a text that came from anywhere."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text[:most])


def _columns(arrivals: Sequence[Arrival]) -> tuple[list[object], ...]:
    rows = [(a.key.device_id, a.key.spool_id, a.key.seq, a.kind, a.at, a.synchronised, a.body) for a in arrivals]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _sift(connection: Connection, arrivals: Sequence[Arrival]) -> tuple[int, list[Rejection]]:
    """Each in a transaction of its own: how many weren't there, and those PostgreSQL can't take."""
    fresh = 0
    unfit: list[Rejection] = []
    for arrival in arrivals:
        try:
            fresh += _write(connection, [arrival], [])
        except _UNFIT as error:
            topic = Topics(arrival.key.device_id).of(arrival.kind)
            unfit.append(
                Rejection(topic, arrival.body.encode(), f"PostgreSQL: {error.diag.message_primary or error}", arrival.key)
            )
    return fresh, unfit


def _advance(connection: Connection, seen: Sequence[tuple[Key, datetime]]) -> tuple[Mark, ...]:
    if not seen:
        return ()
    devices, spools = [key.device_id for key, _ in seen], [key.spool_id for key, _ in seen]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(_TOUCH, (devices, spools, [key.seq for key, _ in seen], [at for _, at in seen]))
        whole = [Mark(*row) for row in cursor.execute(_ADVANCE, (devices, spools)).fetchall()]
    return (*(mark for mark in whole if mark.seq), *_beyond(whole, [key for key, _ in seen]))


def _beyond(whole: Sequence[Mark], keys: Iterable[Key]) -> list[Mark]:
    """Runs of a batch behind a gap, which may never be filled: the box was there before this database, say."""
    to = {(mark.device_id, mark.spool_id): mark.seq for mark in whole}
    runs: list[Mark] = []
    for device_id, spool_id, seq in sorted({(key.device_id, key.spool_id, key.seq) for key in keys}):
        if seq <= to[device_id, spool_id]:
            continue
        last = runs[-1] if runs else None
        if last is not None and (last.device_id, last.spool_id, last.seq + 1) == (device_id, spool_id, seq):
            runs[-1] = replace(last, seq=seq)
        else:
            runs.append(Mark(device_id, spool_id, seq, first=seq))
    return runs
