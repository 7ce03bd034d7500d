"""Connections to the fleet's PostgreSQL; no password passes through here, libpq finds it (PGPASSFILE, ~/.pgpass)."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import conninfo

from device.errors import InputError, TransientError

__all__ = ["SCHEMA", "Connection", "connect"]

SCHEMA = "holonode"
"""The PostgreSQL schema that holds all of it."""

Connection = psycopg.Connection[tuple[Any, ...]]

_SETTINGS = f"-c search_path={SCHEMA} -c statement_timeout=60s -c timezone=UTC -c idle_in_transaction_session_timeout=60s"


def connect(database: str) -> Connection:
    """A connection in autocommit; InputError where the address is wrong, TransientError where nobody answers."""
    parts = _parts(database)
    try:
        return psycopg.connect(
            database, autocommit=True, options=f"{parts.get('options', '')} {_SETTINGS}", application_name="holonode-fleet",
            connect_timeout=5, keepalives_idle=10, keepalives_interval=5, keepalives_count=3, tcp_user_timeout=30_000,
        )  # fmt: skip
    except psycopg.OperationalError as error:
        raise TransientError(
            "PostgreSQL can't be reached", where=_place(parts), got=" ".join(str(error).split()),
            remedy="Is it running, and is --database (or HOLONODE_FLEET_DATABASE) right?",
        ) from error  # fmt: skip


def _parts(database: str) -> dict[str, Any]:
    try:
        parts: dict[str, Any] = conninfo.conninfo_to_dict(database)
    except psycopg.ProgrammingError:
        raise InputError(
            "not an address of PostgreSQL", where="--database", expected="postgresql://user@host/name",
            remedy="It isn't shown here, for it may hold a password.",
        ) from None  # fmt: skip
    if parts.get("password"):
        raise InputError(
            "a database's address must not hold a password", where="--database",
            remedy="Put it into a file that only this user can read and name that in PGPASSFILE.",
        )  # fmt: skip
    return parts


def _place(parts: dict[str, Any]) -> str:
    return f"{parts.get('host', 'the default host')}, database {parts.get('dbname', 'of the user')}"
