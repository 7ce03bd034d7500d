"""A bit that flips in what SQLite keeps of a page's order loses no record whose own bytes are whole."""

from __future__ import annotations

import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from device.records import Event
from device.storage.outbox import Outbox
from tests.unit.test_store_rot import DATABASE, flip

PAGE = 4096
LAST, MIDDLE, LONG = b'"seq":40,', b'"seq":20,', b'"seq":10,'


def committed(outbox: Outbox, length: int, count: int = 1) -> None:
    def build(first: int) -> list[Event]:
        return [
            Event(
                device_id="box", spool_id=outbox.spool_id, seq=seq, id=f"{seq:032x}", code="test", severity="info",
                message=f"{seq:06d}" * (length // 6), since="2026-05-04T00:00:00.000000Z",
            )
            for seq in range(first, first + count)
        ]  # fmt: skip

    outbox.commit(build)


def stored(folder: Path) -> dict[int, bytes]:
    """Forty records; the tenth one reaches over three more pages."""
    outbox = Outbox(folder, "box")
    for seq in range(1, 41):
        committed(outbox, 15000 if seq == 10 else 900)
    bodies = {row.seq: row.body for row in outbox.pending(1000)}
    outbox.close()
    return bodies


class Pages:
    """A store's file, to be bent."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content = bytearray(path.read_bytes())

    def root(self, table: str) -> int:
        with closing(sqlite3.connect(self._path)) as database:
            found = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        return (found - 1) * PAGE

    def page_of(self, wanted: bytes) -> int:
        return self.content.index(wanted) // PAGE * PAGE

    def cell_of(self, wanted: bytes) -> int:
        at, page = self.content.index(wanted), self.page_of(wanted)
        return max(cell for cell in self._cells(page) if cell <= at)

    def _cells(self, page: int) -> list[int]:
        count = int.from_bytes(self.content[page + 3 : page + 5])
        return [page + at for at in struct.unpack_from(f">{count}H", self.content, page + 8)]

    def bend(self, at: int, bit: int) -> None:
        self.content[at] ^= 1 << bit
        self._path.write_bytes(self.content)


def came_out(folder: Path) -> dict[int, bytes]:
    """After records were added, which SQLite would write over whole ones on a bent page."""
    outbox = Outbox(folder, "box")
    for _ in range(3):
        committed(outbox, 900)
    rows = outbox.pending(1000)
    assert len(rows) == len({row.seq for row in rows}) == outbox.depth()
    outbox.delivered([row.seq for row in rows])
    assert outbox.depth() == 0
    outbox.close()
    return {row.seq: row.body for row in rows}


BENDS: dict[str, Callable[[Pages], None]] = {
    "a pointer to a cell": lambda pages: pages.bend(pages.page_of(LAST) + 9, 4),
    "a pointer, into the cell's own head": lambda pages: pages.bend(pages.page_of(LAST) + 9, 0),
    "fewer cells": lambda pages: pages.bend(pages.page_of(LAST) + 4, 0),
    "where the cells begin": lambda pages: pages.bend(pages.page_of(LAST) + 5, 3),
    "the first free block": lambda pages: pages.bend(pages.page_of(LAST) + 1, 2),
    "a page's kind": lambda pages: pages.bend(pages.page_of(LAST), 3),
    "a cell's size": lambda pages: pages.bend(pages.cell_of(LAST), 0),
    "a cell's size, beyond its page": lambda pages: pages.bend(pages.cell_of(LAST), 6),
    "a cell's number": lambda pages: pages.bend(pages.cell_of(LAST) + 2, 5),
    "the size of a cell in the middle": lambda pages: pages.bend(pages.cell_of(MIDDLE), 6),
    "the number of a cell in the middle": lambda pages: pages.bend(pages.cell_of(MIDDLE) + 2, 1),
    "where a long record goes on": lambda pages: pages.bend(pages.page_of(LONG) + PAGE - 1, 1),
    "where its chain goes on": lambda pages: pages.bend(pages.page_of(b"000010" * 600) + PAGE + 3, 2),
    "the last child of a node": lambda pages: pages.bend(pages.root("records") + 11, 2),
    "the state's free space": lambda pages: pages.bend(pages.root("meta") + 1, 1),
    "a pointer of what waits": lambda pages: pages.bend(pages.root("waiting") + 8 + 2 * 20, 1),
}


@pytest.mark.parametrize("bend", BENDS.values(), ids=BENDS)
def test_a_bent_page_loses_nothing_that_is_whole(tmp_path: Path, bend: Callable[[Pages], None]) -> None:
    bodies = stored(tmp_path)
    bend(Pages(tmp_path / DATABASE))
    assert bodies.items() <= came_out(tmp_path).items()


def test_a_page_in_use_that_is_listed_as_free_is_not_given_out(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "box")
    for _ in range(40):
        committed(outbox, 900)
    outbox.delivered(range(1, 31))
    outbox.keep({})
    outbox.prune(keep=1)
    bodies = {row.seq: row.body for row in outbox.pending(1000)}
    outbox.close()
    pages = Pages(tmp_path / DATABASE)
    trunk = (int.from_bytes(pages.content[32:36]) - 1) * PAGE
    listed = trunk + 8  # what is taken first
    taken = pages.page_of(LAST) // PAGE + 1
    for bit in range(8):
        if (pages.content[listed + 3] ^ taken) >> bit & 1:
            pages.bend(listed + 3, bit)
    assert int.from_bytes(pages.content[listed : listed + 4]) == taken
    assert bodies.items() <= came_out(tmp_path).items()


def test_a_record_that_rots_is_put_back_from_the_log_where_it_stands_whole(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "box")
    for _ in range(40):
        committed(outbox, 900)
    bodies = {row.seq: row.body for row in outbox.pending(1000)}
    outbox._database.execute("PRAGMA wal_checkpoint(RESTART)")
    outbox._database.execute("PRAGMA shrink_memory")
    flip(tmp_path / DATABASE, MIDDLE, 40)
    spool = outbox.spool_id
    assert {row.seq: row.body for row in outbox.pending(1000)} == bodies
    assert (outbox.counters.rotten, outbox.counters.salvages, outbox.spool_id) == (0, 0, spool)
    outbox.close()


def test_a_record_whose_text_became_a_blob_goes_out_as_it_was(tmp_path: Path) -> None:
    bodies = stored(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
        database.execute("UPDATE records SET kind = CAST(kind AS BLOB), body = CAST(body AS TEXT) WHERE seq = 20")
    outbox = Outbox(tmp_path, "box")
    row = next(row for row in outbox.pending(1000) if row.seq == 20)
    assert (row.kind, row.body) == ("events", bodies[20])
    assert msgspec.json.decode(row.body)["seq"] == 20
    outbox.close()


def test_what_no_longer_waits_although_nobody_has_it_is_missed_when_rows_are_pruned(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "box")
    for _ in range(10):
        committed(outbox, 900)
    bodies = {row.seq: row.body for row in outbox.pending(1000)}
    outbox._database.execute("DELETE FROM waiting WHERE seq = 5")
    outbox.prune()
    assert outbox.counters.salvages == 1
    assert bodies.items() <= {row.seq: row.body for row in outbox.pending(1000)}.items()
    outbox.close()


def test_records_of_a_log_that_is_cut_through_a_transaction_come_out_as_far_as_they_reach(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        outbox = Outbox(tmp_path, "box")
        for _ in range(11):
            committed(outbox, 900)
        committed(outbox, 900, count=9)
        os._exit(0)  # killed
    os.waitpid(child, 0)
    log = tmp_path / f"{DATABASE}-wal"
    content = log.read_bytes()
    frame = PAGE + 24
    end = 32 + (content.rindex(b"000012" * 140) - 32) // frame * frame + frame
    log.write_bytes(content[:end])
    outbox = Outbox(tmp_path, "box")
    codes = [msgspec.json.decode(row.body)["code"] for row in outbox.pending(1000)]
    assert codes[:12] == ["test"] * 12
    assert codes[-2:] == ["record_lost", "store_salvaged"]
    outbox.close()
