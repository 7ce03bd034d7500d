"""What the database knows of each box: how far it is whole, what is missing, when it was last heard."""

from __future__ import annotations

from msgspec import Struct

from deploy.fleet.database import Connection

__all__ = ["Fleet", "Gap", "Spool", "look"]

_GAPS_TOLD = 20
"""Of one spool; the number missing is always whole."""

_SPOOLS = """SELECT s.device_id, s.spool_id, s.committed_to, s.highest,
    s.highest - s.committed_to - (SELECT count(*) FROM received r
        WHERE (r.device_id, r.spool_id) = (s.device_id, s.spool_id) AND r.seq > s.committed_to),
    to_char(s.last_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), extract(epoch FROM now() - s.last_received_at)::double precision
FROM spools s ORDER BY s.device_id, s.last_received_at"""

_GAPS = """SELECT before + 1, seq - 1 FROM (
    SELECT seq, lag(seq, 1, %(committed_to)s) OVER (ORDER BY seq) AS before FROM received
    WHERE device_id = %(device_id)s AND spool_id = %(spool_id)s AND seq > %(committed_to)s
) steps WHERE seq > before + 1 ORDER BY seq LIMIT %(limit)s"""


class Gap(Struct, frozen=True):
    """Numbers that have not come, both ends included."""

    first: int
    last: int


class Spool(Struct, frozen=True, kw_only=True):
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
    gaps: tuple[Gap, ...] = ()
    """The first ones."""


class Fleet(Struct, frozen=True, kw_only=True):
    """All of it."""

    spools: tuple[Spool, ...]
    rejected: int
    """Messages that were no records, each counted as often as it came."""


def look(connection: Connection) -> Fleet:
    """Read it, as any user who may read."""
    spools: list[Spool] = []
    for device_id, spool_id, committed_to, highest, missing, last_at, silent_s in connection.execute(_SPOOLS).fetchall():
        gaps: tuple[Gap, ...] = ()
        if missing:
            where = {"device_id": device_id, "spool_id": spool_id, "committed_to": committed_to, "limit": _GAPS_TOLD}
            gaps = tuple(Gap(*row) for row in connection.execute(_GAPS, where).fetchall())
        spools.append(
            Spool(
                device_id=device_id,
                spool_id=spool_id,
                committed_to=committed_to,
                highest=highest,
                missing=missing,
                last_at=last_at,
                silent_s=round(silent_s, 1),
                gaps=gaps,
            )
        )
    row = connection.execute("SELECT coalesce(sum(times), 0) FROM rejected").fetchone()
    return Fleet(spools=tuple(spools), rejected=int(row[0]) if row else 0)
