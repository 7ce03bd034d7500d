"""Records as the columns of one statement: a batch is a handful of arrays, however many records it holds."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.fleet.intake import Arrival

__all__ = ["INPUT", "columns"]

# Binary (%b): as text, each quote of a record would be escaped, one by one, in Python.
INPUT = """input AS (
    SELECT * FROM unnest(
        %b::text[], %b::text[], %b::bigint[], %b::text[], %b::timestamptz[], %b::boolean[], %b::text[], %b::bytea[], %b::text[]
    ) WITH ORDINALITY AS i (device_id, spool_id, seq, kind, at, synchronised, record, digest, unknown_schema, n)
)"""
"""A common table expression."""


def columns(arrivals: Sequence[Arrival]) -> tuple[list[object], ...]:
    """The parameters of INPUT."""
    rows = [
        (a.key.device_id, a.key.spool_id, a.key.seq, a.kind, a.at, a.synchronised, a.body, a.digest, a.unknown_schema)
        for a in arrivals
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
