"""The tables of a store, step by step: a step and the number it leads to are one transaction, so an interrupted one begins again.

No copy is made first: what SQLite commits is whole or not there, a copy would need twice the room on a disk that may be
short, and a store that is damaged is refused before anything is touched.
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
)

SCHEMA_VERSION = len(STEPS)


def migrate(database: sqlite3.Connection, path: Path) -> None:
    """Bring a store, or an empty file, to SCHEMA_VERSION; InputError where it is newer or damaged, and nothing changed."""
    schema = _schema(database)
    if schema > SCHEMA_VERSION:
        raise InputError(
            "this store was written by a newer Holonode", where=path.parent, expected=f"schema {SCHEMA_VERSION} or older",
            got=schema, remedy="Update Holonode; nothing was changed.",
        )  # fmt: skip
    if 0 < schema < SCHEMA_VERSION:
        _need_whole(database, path)
    for number, statements in enumerate(STEPS[schema:], start=schema + 1):
        with database:
            database.execute("BEGIN IMMEDIATE")
            for statement in statements:
                database.execute(statement)
            database.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (str(number),))


def _schema(database: sqlite3.Connection) -> int:
    """The step this store stands at; 0: nothing there."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return 0
    row = database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
    return 0 if row is None else int(row[0])


def _need_whole(database: sqlite3.Connection, path: Path) -> None:
    found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    if found != "ok":
        raise InputError(
            "the store is damaged and was not brought up to date", where=path, got=found,
            remedy="Keep a copy of the folder; move it away to start afresh.",
        )  # fmt: skip
