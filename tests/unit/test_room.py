"""A short disk: what can be done without goes in order, what was not sent stays, what is refused is counted and told."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from device.errors import TransientError
from device.records import Event, from_json
from device.storage.outbox import Outbox
from tests.unit.test_outbox import events

Usage = namedtuple("Usage", "total used free")


class Disk:
    """A disk whose free bytes the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.free = free
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: Usage(2**40, 2**40 - self.free, self.free))


class Frames:
    """A giver with so many bytes to give."""

    def __init__(self, disk: Disk, held: int, asked: list[str], name: str) -> None:
        self._disk, self.held, self._asked, self._name = disk, held, asked, name

    def reclaim(self, wanted_bytes: int) -> int:
        self._asked.append(self._name)
        given = min(self.held, wanted_bytes)
        self.held -= given
        self._disk.free += given
        return given


def test_givers_are_asked_in_order_and_only_for_what_is_wanting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, asked = Disk(monkeypatch, 300), list[str]()
    frames, media = Frames(disk, 500, asked, "frames"), Frames(disk, 500, asked, "media")
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000, reclaimables=[frames, media])
    outbox.commit(events(1))
    assert (asked, frames.held, media.held, disk.free) == (["frames", "media"], 0, 300, 1000)
    outbox.commit(events(1))
    assert asked == ["frames", "media"]
    outbox.close()


def test_sent_rows_go_after_the_givers_and_unsent_ones_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, asked = Disk(monkeypatch, 10**9), list[str]()
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000, reclaimables=[Frames(disk, 0, asked, "frames")])
    outbox.commit(events(3000))
    outbox.delivered(range(1, 2501))
    disk.free = 0
    refusals = 0
    while refusals < 3:
        try:
            outbox.commit(events(100))
        except TransientError:
            refusals += 1
    assert asked
    stored = {row[0] for row in outbox._database.execute("SELECT seq FROM records")}
    assert min(stored) == 2501
    assert outbox.evicted == 2500
    assert outbox.depth() == len(stored) == outbox.next_seq - 2501
    outbox.close()


def test_a_gap_is_told_with_the_first_commit_that_finds_room_even_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, 0)
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000)
    for count in (2, 3):
        with pytest.raises(TransientError):
            outbox.commit(events(count))
    outbox.close()
    disk.free = 2000
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000)
    assert [record.seq for record in outbox.commit(events(1))] == [1]
    told = from_json(outbox.pending(2)[1].body, Event)
    assert (told.code, told.severity, told.value, told.unit, told.seq) == ("records_refused", "alarm", 5.0, "records", 2)
    assert told.since in told.message
    assert "0 detections, 0 intervals, 5 events" in told.message
    # Once is enough, whatever the gap's file still says.
    outbox.close()
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000)
    outbox.commit(events(1))
    assert outbox.depth() == 3
    disk.free = 0
    with pytest.raises(TransientError):
        outbox.commit(events(7))
    disk.free = 2000
    outbox.commit(events(1))
    assert from_json(outbox.pending(9)[-1].body, Event).value == 7.0
    outbox.close()


def test_state_that_is_refused_is_no_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 0)
    outbox = Outbox(tmp_path, "box", min_free_bytes=1000)
    with pytest.raises(TransientError):
        outbox.keep({"window": "3"})
    disk.free = 2000
    outbox.commit(events(1))
    assert outbox.depth() == 1
    outbox.close()
