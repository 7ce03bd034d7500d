"""The tables of a store, step by step: a step and the number it leads to are one transaction, so an interrupted one begins again.

No copy is made first: what SQLite commits is whole or not there, a copy would need twice the room on a disk that may be
short, and a store that is damaged is salvaged before.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from device.errors import InputError

__all__ = ["SCHEMA_VERSION", "STEPS", "migrate"]

STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE IF NOT EXISTS records (
            seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, body BLOB NOT NULL, boot TEXT NOT NULL,
            delivered INTEGER NOT NULL DEFAULT 0
        )""",
        "CREATE INDEX IF NOT EXISTS waiting ON records (seq) WHERE delivered = 0",
    ),
    (
        # What waits is a table of its own: a row that is delivered costs the flash a few bytes there, not the page that holds
        # its body. `records.delivered` stays, unread: dropping a column rewrites every row.
        "DROP INDEX IF EXISTS waiting",
        # made_ns: clock since the machine started; offset_ns: wall clock less that, where nobody vouched for the wall clock.
        "CREATE TABLE waiting (seq INTEGER PRIMARY KEY, made_ns INTEGER NOT NULL, offset_ns INTEGER)",
        "INSERT INTO waiting SELECT seq, 0, NULL FROM records WHERE delivered = 0",
    ),
    (
        # Rows from before have no sum, and get none: to rewrite them needs room. `seq` is a row's position in the store, and
        # the record's number where the store has one spool.
        "ALTER TABLE records ADD COLUMN sum INTEGER",
        "ALTER TABLE waiting ADD COLUMN sum INTEGER",
        "ALTER TABLE meta ADD COLUMN sum INTEGER",
        "CREATE TABLE rotten (seq INTEGER PRIMARY KEY, kind TEXT, body BLOB, boot TEXT, found_at TEXT NOT NULL)",
        "INSERT OR REPLACE INTO meta (key, value) SELECT 'summed_from', value FROM meta WHERE key = 'next_seq'",
    ),
)

SCHEMA_VERSION = len(STEPS)


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring a store, or an empty file, to SCHEMA_VERSION; InputError where it is newer, sqlite3.DatabaseError where it is damaged."""
    schema = _schema(database)
    if schema > SCHEMA_VERSION:
        raise InputError(
            "this store was written by a newer Holonode", where=path.parent, expected=f"schema {SCHEMA_VERSION} or older",
            got=schema, remedy="Update Holonode; nothing was changed.",
        )  # fmt: skip
    if 0 < schema < SCHEMA_VERSION:
        _need_whole(database)
    for number, statements in enumerate(STEPS[schema:], start=schema + 1):
        with database:
            database.execute("BEGIN IMMEDIATE")
            for statement in statements:
                database.execute(statement)
            database.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('schema', ?)", (str(number),))
            database.execute(f"PRAGMA user_version = {number}")


def _schema(database: sqlite3.Connection) -> int:
    """The step this store stands at; 0: nothing there. It is kept twice, from the third step on."""
    kept = int(database.execute("PRAGMA user_version").fetchone()[0])
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        if kept:
            raise sqlite3.DatabaseError("the table `meta` is missing")
        return 0
    row = database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    said = "" if row is None else str(row[0])
    if said == str(kept) or (not kept and said.isdecimal()):
        return int(said)
    # Of a flipped bit, or of a program that keeps it once.
    if said.isdecimal() and len(said) > len(str(kept)) and int(said) > SCHEMA_VERSION:
        return int(said)
    if not kept and row is None:
        return 0
    raise sqlite3.DatabaseError(f"the store's schema is {said!r} and {kept}")


def _need_whole(database: sqlite3.Connection) -> None:
    found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise sqlite3.DatabaseError(found)
