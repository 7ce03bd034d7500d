"""A rotten record holds nobody back, a damaged store is salvaged, and neither is kept quiet."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from device.health.stored import store_check
from device.storage.damaged import DamagedCopies
from device.storage.outbox import Outbox
from tests.unit.test_outbox import events, opened
from tests.unit.test_store_copies import keyed

DATABASE = "outbox.sqlite"


def stored(folder: Path, count: int = 40) -> tuple[str, dict[int, bytes]]:
    outbox = Outbox(folder, "box")
    for _ in range(count):
        keyed(outbox, 1)
    spool, bodies = outbox.spool_id, {row.seq: row.body for row in outbox.pending(10**6)}
    outbox.close()
    return spool, bodies


def flip(path: Path, wanted: bytes, offset: int = 0) -> None:
    """One bit, in what is found."""
    content = bytearray(path.read_bytes())
    at = content.find(wanted)
    assert at >= 0
    content[at + offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("what", [b"message", b'"seq":5', b"events"])
def test_a_rotten_record_holds_nobody_back_and_is_told_under_its_own_key(tmp_path: Path, what: bytes) -> None:
    spool, bodies = stored(tmp_path)
    content = (tmp_path / DATABASE).read_bytes()
    row = content.find(bodies[5]) - len(b"events")
    at = content.find(what, row)
    changed = bytearray(content)
    changed[at + len(what) - 1] ^= 1
    (tmp_path / DATABASE).write_bytes(changed)
    outbox = Outbox(tmp_path, "box")
    found = {row.seq: row.body for row in outbox.pending(100)}
    assert {seq: body for seq, body in found.items() if seq != 5} == {seq: body for seq, body in bodies.items() if seq != 5}
    told = msgspec.json.decode(found[5])
    assert (told["code"], told["severity"], told["spool_id"], told["seq"]) == ("record_lost", "alarm", spool, 5)
    assert outbox.counters.rotten == 1
    assert outbox.spool_id == spool
    assert outbox._database.execute("SELECT seq FROM rotten").fetchall() == [(5,)]
    check = store_check(outbox)
    assert check.status == "warning"
    assert "records 5 of" in check.message
    outbox.close()
    assert opened_quietly(tmp_path)[5] == found[5]


def opened_quietly(folder: Path) -> dict[int, bytes]:
    outbox = Outbox(folder, "box")
    assert outbox.notices == []
    found = {row.seq: row.body for row in outbox.pending(10**6)}
    outbox.close()
    return found


def test_a_rotten_page_of_the_file_is_salvaged_around_and_sampling_goes_on(tmp_path: Path) -> None:
    spool, bodies = stored(tmp_path, 300)
    path = tmp_path / DATABASE
    content = bytearray(path.read_bytes())
    page = content.find(bodies[150]) // 4096
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    path.write_bytes(content)
    outbox = Outbox(tmp_path, "box")
    found = {row.seq: row.body for row in outbox.pending(10**6)}
    lost = {seq for seq, body in found.items() if msgspec.json.decode(body)["code"] == "record_lost"}
    assert 150 in lost
    assert len(lost) < 25
    assert all(found[seq] == body for seq, body in bodies.items() if seq not in lost)
    assert outbox.spool_id != spool
    assert [notice.code for notice in outbox.notices] == ["store_salvaged"]
    assert f"{min(lost)}-{max(lost)} of {spool}" in outbox.notices[0].message
    assert DamagedCopies(tmp_path).names == ["damaged-1.sqlite"]
    keyed(outbox, 1)
    outbox.close()
    opened_quietly(tmp_path)


def test_damage_while_the_outbox_works_is_salvaged_on_the_way(tmp_path: Path) -> None:
    outbox = opened(tmp_path)
    for _ in range(200):
        outbox.commit(events(3))
    outbox._database.execute("PRAGMA wal_checkpoint(RESTART)")
    outbox._database.execute("PRAGMA cache_size = 1")
    with (tmp_path / "store" / DATABASE).open("rb+") as file:
        file.truncate(20 * 4096)
    made = outbox.commit(events(1))
    assert made[0].seq >= 1
    assert outbox.counters.salvages == 1
    waiting = outbox.pending(10**6)
    assert len(waiting) == outbox.depth()
    assert {row.seq for row in waiting} >= set(range(1, 601))
    outbox.close()


def test_rotten_state_is_given_up_and_told_and_the_rest_stays(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path, "box")
    outbox.keep({"settings": '{"sampling.pause_s": 17}', "armed": "yes"})
    spool = outbox.spool_id
    outbox.close()
    flip(tmp_path / DATABASE, b"pause_s", 3)
    again = Outbox(tmp_path, "box")
    assert (again.get_state("settings"), again.get_state("armed"), again.spool_id) == (None, "yes", spool)
    assert [notice.code for notice in again.notices] == ["state_lost"]
    assert "settings" in str(msgspec.json.decode(again.pending(1)[0].body)["message"])
    again.close()


def test_a_number_that_rots_in_the_state_never_makes_keys_come_twice(tmp_path: Path) -> None:
    spool, bodies = stored(tmp_path)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
        database.execute("UPDATE meta SET value = '9' WHERE key = 'next_seq'")
    outbox = Outbox(tmp_path, "box")
    assert outbox.spool_id != spool
    assert bodies.items() <= {row.seq: row.body for row in outbox.pending(100)}.items()
    outbox.close()


def test_of_damaged_files_a_few_are_kept_and_a_short_disk_takes_them(tmp_path: Path) -> None:
    for _ in range(5):
        stored(tmp_path, 3)
        with (tmp_path / DATABASE).open("rb+") as file:
            file.write(b"\xff" * 64)
        Outbox(tmp_path, "box").close()
    copies = DamagedCopies(tmp_path)
    assert copies.names == ["damaged-3.sqlite", "damaged-4.sqlite", "damaged-5.sqlite"]
    assert copies.reclaim(1) > 0
    assert copies.names == ["damaged-4.sqlite", "damaged-5.sqlite"]


def test_somebody_elses_file_is_still_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database, database:
        database.execute("CREATE TABLE notes (a)")
    content = bytearray((tmp_path / DATABASE).read_bytes())
    content[100] = 0xFF
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(Exception, match="no store of Holonode"):
        Outbox(tmp_path, "box")
    assert (tmp_path / DATABASE).read_bytes() == content
