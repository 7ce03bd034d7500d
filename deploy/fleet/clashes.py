"""Keys that come again: with the same content, with the stamps corrected, or with another content.

A store that was restored from a copy, and two boxes of one id, number different records alike. The first content of a key is
in `records`; every other one is kept whole in `conflicts`, for neither is the wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from deploy.fleet.intake import Arrival, Key
from deploy.fleet.rows import INPUT, columns

__all__ = ["settle"]

# Locked, so that no other collector decides on the same key meanwhile. Without the records: most keys that come again need nothing.
_LOOK = """SELECT i.n, r.digest FROM received r JOIN (
    SELECT * FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bytea[], %b::boolean[])
    WITH ORDINALITY AS i (device_id, spool_id, seq, digest, synchronised, n)
) i USING (device_id, spool_id, seq)
WHERE r.digest IS DISTINCT FROM i.digest OR (i.synchronised AND NOT r.synchronised)
ORDER BY device_id, spool_id, seq, i.n FOR UPDATE OF r"""

# Keys written before there were digests: the record itself is compared. NULL where it is gone; where only its columns are left,
# nobody can say, and both are kept.
_STAMPS = "'{captured_at,started_at,ended_at,since,clock,historical}'::text[]"
_COMPARE = f"""WITH {INPUT}
SELECT CASE WHEN c.seq IS NOT NULL THEN coalesce(c.record - {_STAMPS} = i.record::jsonb - {_STAMPS}, false) END FROM received r JOIN input i USING (device_id, spool_id, seq)
LEFT JOIN records c ON (c.device_id, c.at, c.spool_id, c.seq) = (r.device_id, r.at, r.spool_id, r.seq) ORDER BY i.n"""

_SIGN = f"""WITH {INPUT} UPDATE received r SET digest = i.digest FROM input i
WHERE (r.device_id, r.spool_id, r.seq) = (i.device_id, i.spool_id, i.seq)"""

_ADOPT = f"""WITH {INPUT}, taken AS (
    UPDATE received r SET at = i.at, synchronised = i.synchronised, digest = i.digest FROM input i
    WHERE (r.device_id, r.spool_id, r.seq) = (i.device_id, i.spool_id, i.seq)
)
INSERT INTO records (device_id, spool_id, seq, kind, at, record, unknown_schema)
SELECT device_id, spool_id, seq, kind, at, record::jsonb, nullif(unknown_schema, '') FROM input"""

_KEEP_BOTH = f"""WITH {INPUT}
INSERT INTO conflicts AS c (device_id, spool_id, seq, digest, kind, at, synchronised, record)
SELECT device_id, spool_id, seq, digest, kind, at, synchronised, record::jsonb FROM input ORDER BY device_id, spool_id, seq, digest
ON CONFLICT (device_id, spool_id, seq, digest) DO UPDATE SET times = c.times + 1, last_at = now(),
    at = CASE WHEN EXCLUDED.synchronised AND NOT c.synchronised THEN EXCLUDED.at ELSE c.at END,
    record = CASE WHEN EXCLUDED.synchronised AND NOT c.synchronised THEN EXCLUDED.record ELSE c.record END,
    synchronised = c.synchronised OR EXCLUDED.synchronised
RETURNING device_id, spool_id, seq, digest, times"""

# A record that comes again is the same one, unless the box has set its clock since and corrected the stamps.
_CORRECT = f"""WITH {INPUT}, better AS (
    SELECT device_id, spool_id, seq, r.at AS old_at, i.at, i.record FROM received r JOIN input i USING (device_id, spool_id, seq)
    WHERE i.synchronised AND NOT r.synchronised AND r.digest = i.digest ORDER BY device_id, spool_id, seq FOR UPDATE OF r
), marked AS (
    UPDATE received r SET at = b.at, synchronised = true FROM better b
    WHERE (r.device_id, r.spool_id, r.seq) = (b.device_id, b.spool_id, b.seq)
)
UPDATE records c SET at = b.at, record = b.record::jsonb FROM better b
WHERE (c.device_id, c.at, c.spool_id, c.seq) = (b.device_id, b.old_at, b.spool_id, b.seq)"""


def settle(cursor: psycopg.Cursor[Any], contents: Sequence[Arrival]) -> tuple[int, list[Arrival]]:
    """(how many took a number under which nothing was kept, those that are another content of their key for the first time).

    `contents` are of a batch whose fresh ones are inserted; each key and content is in it once.
    """
    adopted: dict[Key, Arrival] = {}
    better: list[Arrival] = []
    others: list[Arrival] = []
    undigested: list[Arrival] = []
    for n, digest in cursor.execute(_LOOK, _keys(contents)).fetchall():
        arrival = contents[n - 1]
        if digest is None:
            undigested.append(arrival)
        elif digest == arrival.digest:
            better.append(arrival)
        elif digest == b"" and arrival.key not in adopted:
            adopted[arrival.key] = arrival
        else:
            others.append(arrival)
    for arrival, is_same in _compared(cursor, undigested):
        # Gone since: nothing to compare with, and nothing that it would double.
        if is_same is None and arrival.key not in adopted:
            adopted[arrival.key] = arrival
        else:
            (better if is_same else others).append(arrival)
    _write(cursor, _ADOPT, list(adopted.values()))
    _write(cursor, _CORRECT, [arrival for arrival in better if arrival.synchronised])
    first_time = {tuple(row[:-1]) for row in _write(cursor, _KEEP_BOTH, others) if row[-1] == 1}
    return len(adopted), [a for a in others if (a.key.device_id, a.key.spool_id, a.key.seq, a.digest) in first_time]


def _keys(contents: Sequence[Arrival]) -> tuple[list[object], ...]:
    rows = [(a.key.device_id, a.key.spool_id, a.key.seq, a.digest, a.synchronised) for a in contents]
    return tuple(list(column) for column in zip(*rows, strict=True))


def _compared(cursor: psycopg.Cursor[Any], undigested: Sequence[Arrival]) -> list[tuple[Arrival, bool | None]]:
    """Each with whether the record that is there has the same content, whose digest it then has from now on."""
    if not undigested:
        return []
    answers = [row[0] for row in cursor.execute(_COMPARE.encode(), columns(undigested)).fetchall()]
    found = list(zip(undigested, answers, strict=True))
    _write(cursor, _SIGN, list({one.key: one for one, is_same in found if is_same}.values()))
    return found


def _write(cursor: psycopg.Cursor[Any], statement: str, arrivals: Sequence[Arrival]) -> list[tuple[Any, ...]]:
    """What the statement returns, if anything."""
    if not arrivals:
        return []
    cursor.execute(statement.encode(), columns(arrivals))
    return cursor.fetchall() if cursor.description else []
