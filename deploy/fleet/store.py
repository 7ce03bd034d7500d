"""Rows into PostgreSQL, each key once; and how far each spool is whole.

Two transactions a batch. The first holds the rows and is on disk before anything is acknowledged. The second moves the
marks: it locks the spools in the order of their names and only then looks at what is there, so that of several collectors
the last one sees the rows of all. It need not wait for the disk: a mark lost in a crash is found again from the rows.

A record that PostgreSQL refuses is found by halving the batch, and put aside as long as another one is taken: what is the
database's fault is waited for, what is the record's own stops nobody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg

from deploy.fleet import rejections
from deploy.fleet.clashes import settle
from deploy.fleet.database import Connection, connect
from deploy.fleet.intake import Arrival, Key, Rejection
from deploy.fleet.notes import Note
from deploy.fleet.rows import INPUT, columns
from deploy.fleet.schema import check
from device.errors import TransientError
from device.messaging.topics import Topics

__all__ = ["BatchResult", "Mark", "Store"]

_INSERT = f"""WITH {INPUT}, fresh AS (
    INSERT INTO received (device_id, spool_id, seq, at, synchronised, digest)
    SELECT device_id, spool_id, seq, at, synchronised, digest FROM input ORDER BY device_id, spool_id, seq
    ON CONFLICT DO NOTHING RETURNING device_id, spool_id, seq
)
INSERT INTO records (device_id, spool_id, seq, kind, at, record, unknown_schema)
SELECT device_id, spool_id, seq, kind, at, record::jsonb, nullif(unknown_schema, '')
FROM input JOIN fresh USING (device_id, spool_id, seq)"""

_TOUCH = """INSERT INTO spools AS s (device_id, spool_id, highest, last_at)
SELECT device_id, spool_id, max(seq), max(at) FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::timestamptz[])
AS i (device_id, spool_id, seq, at) GROUP BY device_id, spool_id ORDER BY device_id, spool_id
ON CONFLICT (device_id, spool_id) DO UPDATE
SET highest = greatest(s.highest, EXCLUDED.highest), last_at = greatest(s.last_at, EXCLUDED.last_at), last_received_at = now()"""

_ADVANCE = """UPDATE spools s SET committed_to = contiguous_to(s.device_id, s.spool_id, s.committed_to)
FROM (SELECT DISTINCT device_id, spool_id FROM unnest(%s::text[], %s::text[]) AS i (device_id, spool_id)) t
WHERE (s.device_id, s.spool_id) = (t.device_id, t.spool_id) RETURNING s.device_id, s.spool_id, s.committed_to"""

_END_OF_RUN = """SELECT contiguous_to(device_id, spool_id, seq) FROM unnest(%s::text[], %s::text[], %s::bigint[])
WITH ORDINALITY AS i (device_id, spool_id, seq, n) ORDER BY n"""

_REFUSALS = (psycopg.Error, ValueError, OverflowError)
"""By the server, or by its client before anything is sent."""

_OWN_FAULTS = ("0A", "21", "22", "23", "38", "39", "54", "P0", "XX")
"""Classes of SQLSTATE that one record alone can be the cause of: a zero character, a number out of range, nested too deep.
The others are of the server or the connection: full disks, deadlocks, rights that were taken away, a standby."""

_MONTHS_AHEAD = 2
"""For which there is a part of `records` in time."""

_CANARY = Arrival(
    Key(device_id="-", spool_id="-", seq=1), "events", datetime(2000, 1, 1, tzinfo=UTC), False, "{}", digest=b"canary"
)
"""A record that nothing is wrong with; never committed."""


@dataclass(frozen=True)
class Mark:
    """Every record of a spool from `first` up to `seq` is committed."""

    device_id: str
    spool_id: str
    seq: int
    first: int = 1


@dataclass(frozen=True)
class BatchResult:
    """What became of a batch."""

    records: int = 0
    """Committed for the first time."""
    again: int = 0
    """Had come before."""
    rejected: int = 0
    conflicts: int = 0
    """Committed beside another record of the same key."""
    marks: tuple[Mark, ...] = ()
    notes: tuple[Note, ...] = ()


class Store:
    """One connection, made again when it is lost; TransientError as long as it can't be."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._month = (0, 0)

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

    def commit(self, taken: Sequence[Arrival | Rejection]) -> BatchResult:
        """Everything is in the database when this returns; TransientError where it can't be: then nothing may be acknowledged."""
        try:
            connection = self.open()
            self._make_months(connection)
            return _commit(connection, taken)
        except _REFUSALS as error:
            self.close()
            raise TransientError("PostgreSQL takes no records", got=" ".join(str(error).split())) from error

    def _make_months(self, connection: Connection) -> None:
        """Once a month, in time."""
        today = datetime.now(UTC)
        if (today.year, today.month) != self._month:
            connection.execute("SELECT make_months(%s)", (_MONTHS_AHEAD,))
            self._month = (today.year, today.month)


@dataclass(frozen=True)
class _TransactionOutcome:
    """Of one transaction, or of several."""

    fresh: int = 0
    clashed: tuple[Arrival, ...] = ()
    unfit: tuple[Rejection, ...] = ()

    def __add__(self, other: _TransactionOutcome) -> _TransactionOutcome:
        return _TransactionOutcome(self.fresh + other.fresh, self.clashed + other.clashed, self.unfit + other.unfit)


def _commit(connection: Connection, taken: Sequence[Arrival | Rejection]) -> BatchResult:
    arrivals = [item for item in taken if isinstance(item, Arrival)]
    contents = list(_better_of_each(arrivals))
    refused = [item for item in taken if isinstance(item, Rejection)]
    try:
        outcome = _write(connection, contents, refused)
    except _REFUSALS as error:
        if not _may_be_its_own(error):
            raise
        outcome = _sifted(connection, contents)
        refused += outcome.unfit
        _put_aside(connection, refused)
    unfit = {(rejection.key, rejection.payload) for rejection in outcome.unfit}
    kept = [one for one in arrivals if not unfit or (one.key, one.body.encode()) not in unfit]
    again = len(kept) - outcome.fresh - len(outcome.clashed)
    now = datetime.now(UTC)
    seen = [(a.key, a.at) for a in kept] + [(r.key, now) for r in refused if r.key is not None]
    marks = _advance(connection, seen, again=bool(again or outcome.clashed))
    return BatchResult(
        outcome.fresh, again, len(refused), len(outcome.clashed), marks, tuple(_notes(kept, refused, outcome.clashed))
    )


def _notes(kept: Iterable[Arrival], refused: Iterable[Rejection], clashed: Iterable[Arrival]) -> Iterable[Note]:
    for one in refused:
        yield Note(rejections.device_of(one.topic), "rejected", f"a message on {one.topic} was rejected: {one.reason}")
    for one in clashed:
        key = one.key
        yield Note(key.device_id, "conflict", f"two contents under one key, {key.seq} of {key.spool_id}: restored store or two boxes "
                   "of one id; both are kept")  # fmt: skip
    for one in kept:
        if one.unknown_schema:
            yield Note(
                one.key.device_id,
                "unknown schema",
                f"records of {one.unknown_schema}, which this version does not know; they are kept",
            )


def _better_of_each(arrivals: Iterable[Arrival]) -> Iterable[Arrival]:
    """One of each key and content."""
    best: dict[tuple[Key, bytes], Arrival] = {}
    for arrival in arrivals:
        known = best.get((arrival.key, arrival.digest))
        if known is None or (arrival.synchronised and not known.synchronised):
            best[arrival.key, arrival.digest] = arrival
    return best.values()


def _write(connection: Connection, contents: Sequence[Arrival], refused: Sequence[Rejection]) -> _TransactionOutcome:
    """One transaction."""
    outcome = _TransactionOutcome()
    with connection.transaction(), connection.cursor() as cursor:
        if contents:
            first_of_each = {arrival.key: arrival for arrival in reversed(contents)}
            fresh = cursor.execute(_INSERT, columns(list(first_of_each.values()))).rowcount
            outcome = _TransactionOutcome(fresh)
            if fresh < len(contents):
                adopted, clashed = settle(cursor, contents)
                outcome = _TransactionOutcome(fresh + adopted, tuple(clashed))
        rejections.keep(cursor, refused)
    return outcome


def _sifted(connection: Connection, contents: Sequence[Arrival]) -> _TransactionOutcome:
    """In halves, until what PostgreSQL can't take is alone; raises where the fault is not a record's own."""
    try:
        return _write(connection, contents, [])
    except _REFUSALS as error:
        if not contents or not _may_be_its_own(error):
            raise
        if len(contents) == 1:
            # Where not even this is taken, it is no fault of the record.
            with connection.transaction(force_rollback=True):
                _write(connection, [_CANARY], [])
            return _TransactionOutcome(unfit=(_unfit(contents[0], error),))
    middle = len(contents) // 2
    return _sifted(connection, contents[:middle]) + _sifted(connection, contents[middle:])


def _put_aside(connection: Connection, refused: Sequence[Rejection]) -> None:
    """All at once; where that fails each by itself, and of one that can't be kept as it is that it was there."""
    try:
        _write(connection, [], refused)
    except _REFUSALS as error:
        if not _may_be_its_own(error):
            raise
        for one in refused:
            try:
                _write(connection, [], [one])
            except _REFUSALS as still:
                if not _may_be_its_own(still):
                    raise
                _write(connection, [], [Rejection("", one.sha256, "a message that could not be put aside as it is", one.key)])


def _may_be_its_own(error: Exception) -> bool:
    if not isinstance(error, psycopg.Error) or (isinstance(error, psycopg.DataError) and error.sqlstate is None):
        return True  # refused before it was sent
    return (error.sqlstate or "").startswith(_OWN_FAULTS)


def _unfit(arrival: Arrival, error: Exception) -> Rejection:
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return Rejection(
        Topics(arrival.key.device_id).of(arrival.kind), arrival.body.encode(), f"PostgreSQL: {said or error}", arrival.key
    )


def _advance(connection: Connection, seen: Sequence[tuple[Key, datetime]], *, again: bool) -> tuple[Mark, ...]:
    """`again`: some of it had come before, perhaps to a box that has forgotten how far it was."""
    if not seen:
        return ()
    devices, spools = [key.device_id for key, _ in seen], [key.spool_id for key, _ in seen]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = off")
        cursor.execute(_TOUCH, (devices, spools, [key.seq for key, _ in seen], [at for _, at in seen]))
        whole = [Mark(*row) for row in cursor.execute(_ADVANCE, (devices, spools)).fetchall()]
        beyond = _beyond(whole, [key for key, _ in seen])
        if again and beyond:
            beyond = _to_the_end(cursor, beyond)
    return (*(mark for mark in whole if mark.seq), *beyond)


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


def _to_the_end(cursor: psycopg.Cursor[tuple[Any, ...]], runs: Sequence[Mark]) -> list[Mark]:
    """The last run of each spool as far as it goes in the database, which may be further than its box remembers."""
    last = list({(run.device_id, run.spool_id): run for run in runs}.values())
    where = ([run.device_id for run in last], [run.spool_id for run in last], [run.seq for run in last])
    ends = [int(row[0]) for row in cursor.execute(_END_OF_RUN, where).fetchall()]
    return [run for run in runs if run not in last] + [replace(run, seq=end) for run, end in zip(last, ends, strict=True)]
