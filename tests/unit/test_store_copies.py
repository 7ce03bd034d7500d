"""A store that was copied, restored, cloned or rolled back never numbers on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from device.storage import identity, opening
from device.storage.outbox import Outbox
from tests.faults.store_copies import as_an_image
from tests.unit.test_outbox import events


def codes(outbox: Outbox, after: int = 0) -> list[str]:
    return [str(msgspec.json.decode(row.body)["code"]) for row in outbox.pending(1000, after_seq=after)]


def keys(outbox: Outbox) -> list[tuple[str, int]]:
    records = [msgspec.json.decode(row.body) for row in outbox.pending(1000)]
    return [(str(record["spool_id"]), int(record["seq"])) for record in records]


def keyed(outbox: Outbox, count: int) -> None:
    """Records under their own keys, as a service makes them."""
    outbox.commit(lambda first: [msgspec.structs.replace(event, spool_id=outbox.spool_id) for event in events(count)(first)])


def worked(folder: Path, commits: int = 2) -> str:
    outbox = Outbox(folder, "box")
    for _ in range(commits):
        keyed(outbox, 3)
    spool = outbox.spool_id
    outbox.close()
    return spool


def test_a_store_that_is_put_back_goes_on_under_a_new_spool_and_keeps_the_keys_of_what_waits(tmp_path: Path) -> None:
    store, backup = tmp_path / "store", tmp_path / "backup"
    spool = worked(store)
    shutil.copytree(store, backup)
    worked(store)
    shutil.rmtree(store)
    shutil.copytree(backup, store)
    outbox = Outbox(store, "box")
    assert outbox.spool_id != spool
    keyed(outbox, 1)
    assert keys(outbox) == [(spool, seq) for seq in range(1, 7)] + [(outbox.spool_id, 1), (outbox.spool_id, 2)]
    assert codes(outbox)[6] == "store_copied"
    assert [notice.code for notice in outbox.notices] == ["store_copied"]
    # What waits is confirmed under the key that it carries.
    outbox.published([row.seq for row in outbox.pending(1000)])
    assert outbox.confirmed_to(spool, 6) == 6
    assert outbox.confirmed_to(outbox.spool_id, 2) == 2
    assert outbox.depth() == 0
    outbox.close()


@pytest.mark.parametrize("way", ["clone", "database alone", "in place", "moved"])
def test_any_way_of_copying_is_seen(tmp_path: Path, way: str) -> None:
    store, backup = tmp_path / "store", tmp_path / "backup"
    spool = worked(store)
    shutil.copytree(store, backup)
    worked(store)
    place = store
    if way == "clone":
        place = backup
    elif way == "database alone":
        shutil.copyfile(backup / "outbox.sqlite", store / "outbox.sqlite")
    elif way == "in place":
        for file in backup.iterdir():
            shutil.copy2(file, store / file.name)
    else:
        shutil.rmtree(store)
        backup.rename(store)
    outbox = Outbox(place, "box")
    assert outbox.spool_id != spool
    assert "store_copied" in codes(outbox)
    outbox.close()
    # Once, and not at every start from then on.
    again = Outbox(place, "box")
    assert again.spool_id == outbox.spool_id
    assert again.notices == []
    again.close()


def test_a_store_that_stays_where_it_is_or_is_renamed_keeps_its_spool(tmp_path: Path) -> None:
    spool = worked(tmp_path / "store")
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    assert worked(tmp_path / "elsewhere") == spool


def test_a_crash_between_the_witness_and_the_database_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = worked(tmp_path)
    write, calls = opening._write, []

    def killed_at(number: int):
        def step(*arguments: object) -> None:
            calls.append(1)
            if len(calls) == number:
                os._exit(0)
            write(*arguments)  # type: ignore[arg-type]

        return step

    for number in (1, 2, 3, 4):
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(opening, "_write", killed_at(number))
            worked(tmp_path, 0)
            os._exit(1)
        os.waitpid(child, 0)
        outbox = Outbox(tmp_path, "box")
        assert outbox.spool_id == spool
        outbox.close()


def test_an_image_on_another_card_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "hardware", lambda _folder: {"medium": "card 1", "board": "b"})
    spool = worked(tmp_path)
    assert worked(tmp_path) == spool
    monkeypatch.setattr(opening, "hardware", lambda _folder: {"board": "b"})  # what doesn't answer is no evidence
    assert worked(tmp_path) == spool
    monkeypatch.setattr(opening, "hardware", lambda _folder: {"medium": "card 2", "board": "c"})
    assert worked(tmp_path) != spool


def test_where_no_witness_can_be_written_the_spool_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "write_witness", lambda *_: None)
    spool = worked(tmp_path)
    assert worked(tmp_path) == spool
    assert not (tmp_path / identity.FILE).exists()


def rolled_back(folder: Path) -> Outbox:
    """Six records, of which the far end has nine: an image of the whole card was put back."""
    store, backup = folder / "store", folder / "backup"
    worked(store)
    shutil.copytree(store, backup)
    shutil.rmtree(store)
    shutil.copytree(backup, store)
    as_an_image(store)
    outbox = Outbox(store, "box")
    assert outbox.notices == []
    return outbox


def test_an_image_that_was_rolled_back_is_found_by_what_the_far_end_confirms(tmp_path: Path) -> None:
    outbox = rolled_back(tmp_path)
    spool = outbox.spool_id
    keyed(outbox, 4)
    outbox.published([1, 7])
    assert outbox.confirmed_to(spool, 9) == 0
    assert outbox.spool_id != spool
    keyed(outbox, 1)
    # What was never sent gets keys of the other spool; what was sent keeps its own.
    mine = outbox.spool_id
    outbox.unpublished()
    assert keys(outbox) == [(spool, seq) for seq in range(1, 8)] + [(mine, seq) for seq in range(1, 6)]
    assert codes(outbox)[-1] == "store_overtaken"
    outbox.close()
    again = Outbox(tmp_path / "store", "box")
    assert (again.spool_id, again.next_seq) == (mine, 6)
    again.close()


def test_forged_acknowledgements_open_one_spool_a_start_and_lose_nothing(tmp_path: Path) -> None:
    outbox = rolled_back(tmp_path)
    first = outbox.spool_id
    keyed(outbox, 2)
    outbox.confirmed_to(first, 10**6)
    second = outbox.spool_id
    for seq in (10, 100, 10**9):
        assert outbox.confirmed_to(second, seq) == 0
    assert outbox.spool_id == second != first
    assert outbox.counters.acks_refused == 4
    assert outbox.depth() == 8 + 0
    outbox.close()


def test_records_that_were_begun_under_the_spool_before_get_the_key_of_the_current_one(tmp_path: Path) -> None:
    outbox = rolled_back(tmp_path)
    origin = outbox.spool_id
    keyed(outbox, 1)
    outbox.confirmed_to(origin, 50)
    made = outbox.commit(lambda first: [msgspec.structs.replace(event, spool_id=origin) for event in events(2)(first)])
    assert [(record.spool_id, record.seq) for record in made] == [(outbox.spool_id, 2), (outbox.spool_id, 3)]
    outbox.close()
