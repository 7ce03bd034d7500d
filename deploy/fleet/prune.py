"""Records that are older than they are kept. Keys, hours and what else is counted stay."""

from __future__ import annotations

from typing import Literal

from deploy.fleet.database import Connection
from device.errors import InputError

__all__ = ["prune"]

_AT_ONCE = 10_000

# By the time that a collector wrote them: a box's clock decides nothing here.
_DELETE = """DELETE FROM records WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM records WHERE kind = %s AND received_at < now() - make_interval(days => %s) LIMIT %s))"""


def prune(connection: Connection, kind: Literal["detections", "intervals", "events"], older_than_days: int) -> int:
    """Delete them, some thousands a transaction, and return how many; as the owner of the database."""
    if older_than_days < 1:
        raise InputError(
            "records are kept for a day at least", where="--older-than-days", expected="1 or more", got=older_than_days
        )
    deleted = 0
    while (rows := connection.execute(_DELETE, (kind, older_than_days, _AT_ONCE)).rowcount) > 0:
        deleted += rows
    return deleted
