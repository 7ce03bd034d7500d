"""A store of an older schema is brought up to date; an interrupted step begins again; what is newer or damaged is left alone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from device.errors import InputError
from device.records import to_json
from device.storage.migrations import SCHEMA_VERSION, STEPS, migrate
from device.storage.outbox import Outbox
from tests.unit.test_outbox import events


class Interrupted(BaseException):
    """The process is killed."""


class Killed(sqlite3.Connection):
    """A connection whose process is killed at a statement."""

    left = 10**9

    def execute(self, *arguments: Any) -> sqlite3.Cursor:
        if not str(arguments[0]).startswith(("PRAGMA", "SELECT")):
            Killed.left -= 1
            if Killed.left < 0:
                raise Interrupted
        return super().execute(*arguments)


def store_of_schema_1(folder: Path, rows: int = 300) -> dict[int, bytes]:
    """Every third row delivered; returns those that wait."""
    bodies = {record.seq: to_json(record) for record in events(rows)(1)}
    with closing(sqlite3.connect(folder / "outbox.sqlite")) as database, database:
        for statement in STEPS[0]:
            database.execute(statement)
        meta = {"schema": "1", "device_id": "box", "spool_id": "old-spool", "next_seq": str(rows + 1), "window": "4"}
        database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        stored = [(seq, "events", body, "boot", int(seq % 3 == 0)) for seq, body in bodies.items()]
        database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", stored)
    return {seq: body for seq, body in bodies.items() if seq % 3}


def test_a_store_of_schema_1_keeps_what_waits_its_numbers_and_its_state(tmp_path: Path) -> None:
    waiting = store_of_schema_1(tmp_path)
    outbox = Outbox(tmp_path, "box")
    assert {row.seq: row.body for row in outbox.pending(1000)} == waiting
    assert all(row.historical for row in outbox.pending(1000))
    assert (outbox.spool_id, outbox.next_seq, outbox.get_state("window")) == ("old-spool", 301, "4")
    assert outbox.get_state("schema") == str(SCHEMA_VERSION)
    assert outbox.depth() == len(waiting)
    outbox.prune(keep=0)
    assert outbox._database.execute("SELECT count(*) FROM records").fetchone()[0] == len(waiting)
    outbox.close()


@pytest.mark.parametrize("statement", range(5))
def test_a_migration_that_is_interrupted_begins_again(tmp_path: Path, statement: int) -> None:
    waiting = store_of_schema_1(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None, factory=Killed)) as database:
        Killed.left = statement
        with pytest.raises(Interrupted):
            migrate(database, tmp_path / "outbox.sqlite")
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as database:
        assert database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone() == ("1",)
    outbox = Outbox(tmp_path, "box")
    assert {row.seq: row.body for row in outbox.pending(1000)} == waiting
    outbox.close()


def test_a_newer_store_is_refused_unchanged(tmp_path: Path) -> None:
    Outbox(tmp_path, "box").close()
    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as database, database:
        database.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    before = (tmp_path / "outbox.sqlite").read_bytes()
    with pytest.raises(InputError, match=r"newer Holonode .*got 99.*nothing was changed"):
        Outbox(tmp_path, "box")
    assert (tmp_path / "outbox.sqlite").read_bytes() == before


def test_a_damaged_store_of_schema_1_is_salvaged_and_kept(tmp_path: Path) -> None:
    waiting = store_of_schema_1(tmp_path, rows=2000)
    path = tmp_path / "outbox.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(20, 40):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    outbox = Outbox(tmp_path, "box")
    found = {row.seq: row.body for row in outbox.pending(3000)}
    # Which of them wait was told by what is damaged: those that may have been delivered are sent again, too.
    assert waiting.items() <= found.items()
    assert outbox.spool_id != "old-spool"
    assert (tmp_path / "damaged-1.sqlite").read_bytes()[100:] == content[100:]
    outbox.close()
