"""What is no longer kept: whole months of it, dropped. Keys, hours, sizes and what else is counted stay.

Months are those in which a collector wrote it: a box's clock decides nothing here. What lies in none (records of before there
were months) goes by rows.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg
from psycopg import sql

from deploy.fleet.database import SCHEMA, Connection
from device.errors import InputError, TransientError

__all__ = ["Kind", "Payloads", "prune", "prune_payloads", "retention"]

Kind = Literal["detections", "intervals", "events"]
Payloads = Literal["payloads"]
"""Of detections, the records as they came."""

_AT_ONCE = 10_000
_DAYS = re.compile(r"[0-9]{1,6}")
_LEAF = re.compile(r"records_(\d{4})_(\d{2})_(\w+)")
_OTHERS = ("records_before", "records_rest")
"""Parts that are no month."""

_PARTS = """SELECT c.relname, p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' ORDER BY 1"""
_DELETE = """DELETE FROM {part} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {part} WHERE kind = %s AND received_at < now() - make_interval(days => %s) LIMIT %s))"""
_GIVE_UP = """UPDATE {part} SET record = NULL WHERE ctid = ANY(ARRAY(SELECT ctid FROM {part} WHERE kind = 'detections'
    AND record IS NOT NULL AND is_known(unknown_schema) AND received_at < now() - make_interval(days => %s) LIMIT %s))"""
_COLUMNS = (
    """SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
)


def retention(text: str) -> dict[Kind | Payloads, int]:
    """How many days each is kept, of "detections=730,events=365": in the order in which they go."""
    known: tuple[Kind | Payloads, ...] = ("detections", "payloads", "intervals", "events")
    parts = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    said = {what: days for what, _, days in parts}
    if not said:
        raise InputError(
            "nothing says how long what is kept", where="--older-than-days, --keep", expected="payloads=90,detections=730,events=730",
            remedy="Name it there or in HOLONODE_FLEET_KEEP; what isn't named is kept for ever.",
        )  # fmt: skip
    if wrong := [f"{what}={days}" for what, days in said.items() if what not in set[str](known) or not _DAYS.fullmatch(days)]:
        raise InputError(
            "not how long something is kept",
            where="--keep",
            expected=f"{' | '.join(known)}, = and whole days",
            got=", ".join(wrong),
        )
    kept: dict[Kind | Payloads, int] = {what: int(said[what]) for what in known if what in said}
    for days in kept.values():
        _check_days(days)
    return kept


def prune(connection: Connection, kind: Kind, older_than_days: int) -> int:
    """Drop months of which all is older, and return how many records went; as the owner of the database."""
    _check_days(older_than_days)
    deleted = 0
    for part, month in _parts(connection):
        ends = _end(part, kind)
        if ends is not None and ends <= _cutoff(older_than_days):
            deleted += _drop(connection, part, month)
        elif part in _OTHERS:
            query = sql.SQL(_DELETE).format(part=sql.Identifier(part))
            while (rows := connection.execute(query, (kind, older_than_days, _AT_ONCE)).rowcount) > 0:
                deleted += rows
            if part == "records_before":
                _drop_if_empty(connection, part)
    return deleted


def prune_payloads(connection: Connection, older_than_days: int) -> int:
    """Give up the records of detections as they came, where all of a month is older; their columns stay. Returns how many.

    A record of an unknown schema stays whole: its columns may lack what it says.
    """
    _check_days(older_than_days)
    given_up = 0
    for part, month in _parts(connection):
        ends = _end(part, "detections")
        if ends is not None and ends <= _cutoff(older_than_days):
            given_up += _rewritten(connection, part, month)
        elif part in _OTHERS:
            query = sql.SQL(_GIVE_UP).format(part=sql.Identifier(part))
            while (rows := connection.execute(query, (older_than_days, _AT_ONCE)).rowcount) > 0:
                given_up += rows
    return given_up


def _check_days(days: int) -> None:
    if days < 1:
        raise InputError(
            "records are kept for a day at least", where="--older-than-days, --keep", expected="1 or more", got=days
        )


def _cutoff(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=min(days, 700_000))


def _parts(connection: Connection) -> list[tuple[str, str]]:
    """(its name, what it is a part of)."""
    return [(part, parent) for part, parent in connection.execute(_PARTS, (SCHEMA,)).fetchall()]


def _end(part: str, kind: Kind) -> datetime | None:
    """When the month ended; None: no month, or of another kind."""
    found = _LEAF.fullmatch(part)
    if found is None or found[3] != kind:
        return None
    year, month = divmod(int(found[1]) * 12 + int(found[2]), 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _drop(connection: Connection, part: str, month: str) -> int:
    name, of = sql.Identifier(part), sql.Identifier(month)
    try:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'")
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(of))
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
            connection.execute(sql.SQL("DROP TABLE {}").format(name))
            if not any(parent == month for _, parent in _parts(connection)):
                connection.execute(sql.SQL("DROP TABLE {}").format(of))
    except psycopg.errors.LockNotAvailable as error:
        raise _busy(part, error) from error
    return row[0] if row else 0


def _drop_if_empty(connection: Connection, part: str) -> None:
    name = sql.Identifier(part)
    with connection.transaction():
        if connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(name)).fetchone() is None:
            connection.execute(sql.SQL("DROP TABLE {}").format(name))


def _rewritten(connection: Connection, part: str, month: str) -> int:
    """The part without them, in its place: what they took is given back at once, and who reads hardly waits."""
    old, new, of = sql.Identifier(part), sql.Identifier(f"{part}_new"), sql.Identifier(month)
    held = sql.SQL("SELECT count(*) FROM {} WHERE record IS NOT NULL AND is_known(unknown_schema)").format(old)
    try:
        with connection.transaction():
            connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'")
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(old))
            row = connection.execute(held).fetchone()
            if not row or not row[0]:
                return 0
            like = "CREATE TABLE {} (LIKE {} INCLUDING ALL) WITH (toast_tuple_target = 256)"
            connection.execute(sql.SQL(like).format(new, old))
            columns = [sql.Identifier(name) for (name,) in connection.execute(_COLUMNS, (part,)).fetchall()]
            kept = [
                sql.SQL("CASE WHEN NOT is_known(unknown_schema) THEN record END") if name == sql.Identifier("record") else name
                for name in columns
            ]
            connection.execute(sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
                new, sql.SQL(", ").join(columns), sql.SQL(", ").join(kept), old))  # fmt: skip
            for statement in (
                "ALTER TABLE {of} DETACH PARTITION {old}", "DROP TABLE {old}", "ALTER TABLE {new} RENAME TO {old}",
                "ALTER TABLE {of} ATTACH PARTITION {old} FOR VALUES IN ('detections')", "ANALYZE {old}",
            ):  # fmt: skip
                connection.execute(sql.SQL(statement).format(of=of, old=old, new=new))
    except psycopg.errors.LockNotAvailable as error:
        raise _busy(part, error) from error
    return row[0]


def _busy(part: str, error: Exception) -> TransientError:
    return TransientError(
        "somebody reads or writes what should go", where=part, got=str(error).strip(), remedy="Try again later."
    )
