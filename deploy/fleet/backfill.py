"""The columns of records that were written before there were any (step 8), some thousands a transaction.

Each row says by itself whether it is done, so that this goes on where it was interrupted; collectors go on meanwhile.
"""

from __future__ import annotations

from deploy.fleet.database import Connection

__all__ = ["fill_columns"]

_PAGES = 2000
"""Of 8 KiB, in one transaction."""
_VACUUM_EVERY = 20
"""Transactions: what they left behind is written over by the next ones, so that the table hardly grows."""

# The trigger on it fills them.
_FILL = "UPDATE records SET record = record WHERE ctid >= %s::tid AND ctid < %s::tid AND id IS NULL AND record IS NOT NULL"


def fill_columns(connection: Connection) -> int:
    """Of all of them; returns how many there were."""
    filled = 0
    row = connection.execute("SELECT pg_relation_size('records') / current_setting('block_size')::bigint").fetchone()
    pages = row[0] if row else 0
    for k, start in enumerate(range(0, pages + 1, _PAGES), start=1):
        filled += connection.execute(_FILL, (f"({start},0)", f"({start + _PAGES},0)")).rowcount
        if k % _VACUUM_EVERY == 0:
            connection.execute("VACUUM records")
    return filled
