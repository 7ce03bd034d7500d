"""Keys that come again: with the same content, with the stamps corrected, or with another content.

A store that was restored from a copy, and two boxes of one id, number different records alike. The first content of a key is
in `records`; every other one is kept whole in `conflicts`, for neither is the wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from deploy.fleet.intake import Arrival
from deploy.fleet.rows import INPUT, columns

__all__ = ["settle"]

# Keys written before there were digests are compared with the record itself. Locked, so that no other collector decides on the
# same key meanwhile.
_STAMPS = "'{captured_at,started_at,ended_at,since,clock,historical}'::text[]"
_DIFFERENT = f"""WITH {INPUT}
SELECT i.n, r.digest, c.record IS NULL, c.record - {_STAMPS} = i.record::jsonb - {_STAMPS}
FROM received r JOIN input i USING (device_id, spool_id, seq)
LEFT JOIN records c ON r.digest IS NULL AND (c.device_id, c.at, c.spool_id, c.seq) = (r.device_id, r.at, r.spool_id, r.seq)
WHERE r.digest IS DISTINCT FROM i.digest ORDER BY r.device_id, r.spool_id, r.seq, i.n FOR UPDATE OF r"""

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
    """(how many took a number that was known and held nothing, those that are another content of their key and came first now).

    `contents` are of a batch whose fresh ones are inserted; each key and content is in it once.
    """
    adopted: dict[object, Arrival] = {}
    same: dict[object, Arrival] = {}
    others: list[Arrival] = []
    for n, digest, nothing_there, is_same in cursor.execute(_DIFFERENT.encode(), columns(contents)).fetchall():
        arrival = contents[n - 1]
        # Of before there were digests, and gone since: nothing to compare with, and nothing that it would double.
        empty = digest == b"" or (digest is None and nothing_there)
        if empty and arrival.key not in adopted:
            adopted[arrival.key] = arrival
        elif is_same:
            same.setdefault(arrival.key, arrival)
        else:
            others.append(arrival)
    for statement, found in ((_ADOPT, adopted), (_SIGN, same)):
        if found:
            cursor.execute(statement.encode(), columns(list(found.values())))
    kept = cursor.execute(_KEEP_BOTH.encode(), columns(others)).fetchall() if others else []
    if any(arrival.synchronised for arrival in contents):
        cursor.execute(_CORRECT.encode(), columns(contents))
    first_time = {tuple(row[:-1]) for row in kept if row[-1] == 1}
    return len(adopted), [a for a in others if (a.key.device_id, a.key.spool_id, a.key.seq, a.digest) in first_time]
