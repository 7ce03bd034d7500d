"""The tables, step by step: numbered SQL files, each applied once, in order, whole or not at all."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from deploy.fleet.backfill import fill_columns
from deploy.fleet.comments import comment
from deploy.fleet.database import SCHEMA, Connection
from device.errors import CheckError, InputError

__all__ = ["Migration", "check", "migrate", "steps"]

_LOCK = 0x486F6C6F6E6F6465
"""Of one migration at a time: the bytes of 'Holonode'."""

_MONTHS = 9
"""The step before which the columns of all records must be filled."""

_NAME = re.compile(r"^(\d{4})_\w+\.sql$")


@dataclass(frozen=True)
class Migration:
    """One file."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def steps() -> list[Migration]:
    """The files of this version, in order."""
    folder = files("deploy.fleet") / "migrations"
    found = [(match, file) for file in folder.iterdir() if (match := _NAME.match(file.name))]
    return sorted(
        (Migration(int(m[1]), m[0], file.read_text(encoding="utf-8")) for m, file in found), key=lambda step: step.number
    )


def migrate(connection: Connection, wanted: list[Migration] | None = None) -> list[Migration]:
    """Apply what is missing and return it, and say in the database what its columns mean; any number of these may run at a time."""
    wanted = steps() if wanted is None else wanted
    connection.execute("SET statement_timeout = 0")
    connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        _prepare(connection)
        applied = _applied(connection)
        _compare(applied, wanted)
        missing = wanted[len(applied) :]
        for step in missing:
            if step.number == _MONTHS:
                fill_columns(connection)
            _apply(connection, step)
        _comment(connection)
        return missing
    finally:
        if not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _comment(connection: Connection) -> None:
    try:
        with connection.transaction():
            comment(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_the_owner(error) from error


def check(connection: Connection) -> None:
    """Refuse a database that isn't at this version's step; newer is refused only by `migrate`, for steps only add."""
    try:
        applied = _applied(connection)
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise _behind(0) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise InputError(
            "this user may not collect", where="PostgreSQL", got=str(error).strip(),
            remedy="GRANT holonode_collector TO the user; where there is no such role yet: holonode-fleet migrate.",
        ) from error  # fmt: skip
    if len(applied) < len(steps()):
        raise _behind(len(applied))


def _behind(at: int) -> InputError:
    return InputError(
        "the database lacks tables", where=f"schema {SCHEMA}", expected=f"step {len(steps())}", got=f"step {at}",
        remedy="Run holonode-fleet migrate as the owner of the database.",
    )  # fmt: skip


def _prepare(connection: Connection) -> None:
    if connection.execute("SELECT to_regclass(%s)", (f"{SCHEMA}.migrations",)).fetchone() != (None,):
        return
    try:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(
            f"""CREATE TABLE {SCHEMA}.migrations (
                number integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
            )"""
        )
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_the_owner(error) from error


def _not_the_owner(error: psycopg.Error) -> InputError:
    return InputError(
        "this user may not make the tables", where="PostgreSQL", got=str(error).strip(),
        remedy="Run it as the owner of the database, who may also create roles (CREATEROLE).",
    )  # fmt: skip


def _applied(connection: Connection) -> list[tuple[int, str, str]]:
    return connection.execute(f"SELECT number, name, sha256 FROM {SCHEMA}.migrations ORDER BY number").fetchall()  # type: ignore[return-value]


def _compare(applied: list[tuple[int, str, str]], wanted: list[Migration]) -> None:
    if len(applied) > len(wanted):
        raise InputError(
            "this database is newer than this Holonode", where=f"schema {SCHEMA}", expected=f"step {len(wanted)} or older",
            got=f"step {applied[-1][0]}", remedy="Update holonode-fleet; nothing was changed.",
        )  # fmt: skip
    for (number, name, sha256), step in zip(applied, wanted, strict=False):
        if (number, sha256) != (step.number, step.sha256):
            raise CheckError(
                "a step that was applied is not the one of this version", where=f"{name} in schema {SCHEMA}",
                expected=f"{step.name}, sha256 {step.sha256[:12]}", got=f"sha256 {sha256[:12]}",
                remedy="Was the file edited? Nothing was changed; put the released file back.",
            )  # fmt: skip


def _apply(connection: Connection, step: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(step.sql.encode())
            connection.execute(
                f"INSERT INTO {SCHEMA}.migrations (number, name, sha256) VALUES (%s, %s, %s)",
                (step.number, step.name, step.sha256),
            )
    except psycopg.errors.InsufficientPrivilege as error:
        raise _not_the_owner(error) from error
    except psycopg.DatabaseError as error:
        raise CheckError(
            "a step failed and was undone", where=step.name, got=str(error).strip(), remedy="The steps before it stand."
        ) from error
