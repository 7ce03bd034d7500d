"""Messages that are no records: kept whole, each once, as long as their device's quota has room, and counted for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from deploy.fleet.intake import Rejection
from device.text import plain

__all__ = ["QUOTA_BYTES", "QUOTA_ROWS", "device_of", "keep"]

QUOTA_ROWS, QUOTA_BYTES = 1000, 16 * 2**20
"""Of one device: enough to see what it sends; what is deleted makes room."""

_LONGEST_TOPIC, _LONGEST_REASON = 500, 1000
"""Characters kept; the topic is part of a key, which PostgreSQL limits to 2,700 bytes."""

# Its row locks out other collectors that write for the same device, so that what they see of the quota is the same.
_NAME = """INSERT INTO rejections AS a (device_id, last_reason)
SELECT * FROM unnest(%s::text[], %s::text[]) AS i (device_id, reason) ORDER BY device_id
ON CONFLICT (device_id) DO UPDATE SET last_at = now(), last_reason = EXCLUDED.last_reason"""

_KEEP = f"""WITH input AS (
    SELECT *, split_part(topic, '/', 3) AS device_id
    FROM unnest(%b::text[], %b::bytea[], %b::text[], %b::bytea[], %b::bigint[], %b::bigint[])
    WITH ORDINALITY AS i (topic, sha256, reason, payload, size, times, n)
), known AS (
    UPDATE rejected r SET times = r.times + i.times, last_at = now() FROM input i
    WHERE (r.topic, r.sha256) = (i.topic, i.sha256) RETURNING r.topic, r.sha256
), held AS (
    SELECT device_id, count(*) AS number, sum(octet_length(payload)) AS bytes FROM rejected
    WHERE device_id IN (SELECT device_id FROM input) GROUP BY device_id
), fresh AS (
    SELECT i.*, count(*) OVER w AS number, sum(octet_length(payload)) OVER w AS bytes FROM input i
    WHERE NOT EXISTS (SELECT FROM known k WHERE (k.topic, k.sha256) = (i.topic, i.sha256))
    WINDOW w AS (PARTITION BY device_id ORDER BY n)
), kept AS (
    INSERT INTO rejected (topic, sha256, reason, payload, size, times)
    SELECT f.topic, f.sha256, f.reason, f.payload, f.size, f.times FROM fresh f LEFT JOIN held h USING (device_id)
    WHERE f.number + coalesce(h.number, 0) <= {QUOTA_ROWS} AND f.bytes + coalesce(h.bytes, 0) <= {QUOTA_BYTES}
    RETURNING topic, sha256
)
UPDATE rejections a SET not_kept = a.not_kept + d.times, not_kept_bytes = a.not_kept_bytes + d.bytes FROM (
    SELECT device_id, sum(times) AS times, sum(times * size) AS bytes FROM fresh f
    WHERE NOT EXISTS (SELECT FROM kept k WHERE (k.topic, k.sha256) = (f.topic, f.sha256)) GROUP BY device_id
) d WHERE a.device_id = d.device_id"""

# The empty digest: nothing is kept under this number, but its box must not wait for it.
_COUNT_IN = r"""INSERT INTO received (device_id, spool_id, seq, at, synchronised, digest)
SELECT device_id, spool_id, seq, now(), false, '\x'::bytea FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS i (device_id, spool_id, seq)
ORDER BY device_id, spool_id, seq ON CONFLICT DO NOTHING"""


def device_of(topic: str) -> str:
    """Whose account a message is on: the third level of its topic, on which by the access list only that device publishes."""
    levels = topic.split("/")
    return levels[2] if len(levels) > 2 else ""


def keep(cursor: psycopg.Cursor[Any], rejections: Sequence[Rejection]) -> None:
    """Within the caller's transaction."""
    if not rejections:
        return
    rows: dict[tuple[str, bytes], list[Any]] = {}
    for one in rejections:
        topic = plain(one.topic)[:_LONGEST_TOPIC]
        row = rows.setdefault((topic, one.sha256), [plain(one.reason)[:_LONGEST_REASON], one.payload, one.size, 0])
        row[-1] += 1
    last = {device_of(topic): row[0] for (topic, _), row in rows.items()}
    cursor.execute(_NAME, (list(last), list(last.values())))
    topics, digests = (list(column) for column in zip(*rows, strict=True))
    cursor.execute(_KEEP.encode(), (topics, digests, *(list(column) for column in zip(*rows.values(), strict=True))))
    if keys := [one.key for one in rejections if one.key is not None]:
        columns = ([key.device_id for key in keys], [key.spool_id for key in keys], [key.seq for key in keys])
        cursor.execute(_COUNT_IN, columns)
