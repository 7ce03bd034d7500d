"""What the database knows of each box: how far it is whole, what is missing, when it was last heard, what was wrong with it."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from deploy.fleet.database import Connection

__all__ = ["Fleet", "Refused", "SequenceGap", "SpoolStatus", "UnknownSchema", "look"]

_GAPS_TOLD = 20
"""Of one spool; the number missing is always whole."""

_TIME = '\'YYYY-MM-DD"T"HH24:MI:SS.US"Z"\''

_SPOOLS = f"""SELECT s.device_id, s.spool_id, s.committed_to, s.highest,
    s.highest - s.committed_to - (SELECT count(*) FROM received r
        WHERE (r.device_id, r.spool_id) = (s.device_id, s.spool_id) AND r.seq > s.committed_to),
    to_char(s.last_at, {_TIME}), extract(epoch FROM now() - s.last_received_at)::double precision, coalesce(c.number, 0)
FROM spools s LEFT JOIN (SELECT device_id, spool_id, count(*) AS number FROM conflicts GROUP BY 1, 2) c USING (device_id, spool_id)
ORDER BY s.device_id, s.last_received_at"""

_GAPS = """SELECT before + 1, seq - 1 FROM (
    SELECT seq, lag(seq, 1, %(committed_to)s) OVER (ORDER BY seq) AS before FROM received
    WHERE device_id = %(device_id)s AND spool_id = %(spool_id)s AND seq > %(committed_to)s
) steps WHERE seq > before + 1 ORDER BY seq LIMIT %(limit)s"""

_REFUSED = f"""SELECT device_id, coalesce(r.times, 0) + coalesce(a.not_kept, 0), coalesce(r.number, 0), coalesce(a.not_kept, 0),
    to_char(greatest(r.last_at, a.last_at), {_TIME}), a.last_reason
FROM (SELECT device_id, count(*) AS number, sum(times)::bigint AS times, max(last_at) AS last_at FROM rejected GROUP BY 1) r
FULL JOIN rejections a USING (device_id) ORDER BY 2 DESC, 1"""

_UNKNOWN = """SELECT device_id, unknown_schema, count(*) FROM records WHERE unknown_schema IS NOT NULL AND NOT is_known(unknown_schema)
    GROUP BY 1, 2 ORDER BY 1, 2"""


class SequenceGap(Struct, frozen=True):
    """Numbers that have not come, both ends included."""

    first: int
    last: int


class SpoolStatus(Struct, frozen=True, kw_only=True):
    """One store of one box."""

    device_id: str
    spool_id: str
    committed_to: int
    highest: int
    missing: int
    """Numbers up to the highest that have not come."""
    last_at: str
    """The newest time in a record."""
    silent_s: float
    """Since the last record came."""
    conflicts: int = 0
    """Records under a number that another record has: of a restored store, or of two boxes of one id; both are kept."""
    gaps: tuple[SequenceGap, ...] = ()
    """The first ones."""


class Refused(Struct, frozen=True, kw_only=True):
    """Messages on the topics of one device that were no records."""

    device_id: str
    messages: int
    """Each counted as often as it came."""
    kept: int
    """Different ones, whole, in `rejected`."""
    not_kept: int
    """For which the device's quota had no room."""
    last_at: str
    last_reason: str | None


class UnknownSchema(Struct, frozen=True, kw_only=True):
    """Records of a schema version that this Holonode doesn't know; whole, and in none of the views."""

    device_id: str
    schema: str
    records: int


class Fleet(Struct, frozen=True, kw_only=True):
    """All of it."""

    spools: tuple[SpoolStatus, ...]
    rejected: int
    """Messages that were no records, each counted as often as it came."""
    refused: tuple[Refused, ...] = ()
    """The same by device."""
    unknown_schemas: tuple[UnknownSchema, ...] = ()


def look(connection: Connection) -> Fleet:
    """Read it, as any user who may read."""
    spools = tuple(_spool(connection, row) for row in connection.execute(_SPOOLS.encode()).fetchall())
    refused = tuple(
        Refused(device_id=device_id, messages=messages, kept=kept, not_kept=not_kept, last_at=last_at, last_reason=reason)
        for device_id, messages, kept, not_kept, last_at, reason in connection.execute(_REFUSED.encode()).fetchall()
    )
    unknown = tuple(
        UnknownSchema(device_id=device_id, schema=schema, records=records)
        for device_id, schema, records in connection.execute(_UNKNOWN).fetchall()
    )
    return Fleet(spools=spools, rejected=sum(one.messages for one in refused), refused=refused, unknown_schemas=unknown)


def _spool(connection: Connection, row: tuple[Any, ...]) -> SpoolStatus:
    device_id, spool_id, committed_to, highest, missing, last_at, silent_s, conflicts = row
    gaps: tuple[SequenceGap, ...] = ()
    if missing:
        where = {"device_id": device_id, "spool_id": spool_id, "committed_to": committed_to, "limit": _GAPS_TOLD}
        gaps = tuple(SequenceGap(*row) for row in connection.execute(_GAPS, where).fetchall())
    return SpoolStatus(
        device_id=device_id, spool_id=spool_id, committed_to=committed_to, highest=highest, missing=missing, last_at=last_at,
        silent_s=round(silent_s, 1), conflicts=conflicts, gaps=gaps,
    )  # fmt: skip
