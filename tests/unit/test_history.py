"""The history is what the records say, whatever becomes of its file, of the clock and of the disk."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.analysis.count import mean_interval
from device.errors import InputError, TransientError
from device.records import Detection, Interval, iso_time
from device.storage.history import HistoryKeeper, HistoryReader
from device.storage.history.estimates import mean_intervals
from device.storage.history.tables import database_in
from device.storage.outbox import Outbox
from tests.recounts import wrong_sums
from tests.stores import CLASSES, START, add_event, add_interval

ALL = ("2000-01-01T00:00:00Z", "2040-01-01T00:00:00Z")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    opened = Outbox(tmp_path, "box-1")
    yield opened
    opened.close()


class Told(list[str]):
    """Codes of the events that were reported."""

    def __call__(self, code: str, severity: str, message: str, value: float | None = None, unit: str | None = None) -> None:
        self.append(code)


def kept_up(outbox: Outbox, told: Told | None = None, **more: int) -> HistoryReader:
    """The history after everything was taken in."""
    keeper = HistoryKeeper(outbox, told if told is not None else Told(), **more)
    keeper.step()
    assert (keeper.behind, keeper.progress().trouble) == (0, "")
    keeper.stop()
    keeper._close()
    return keeper.reader


def intervals_of(outbox: Outbox) -> list[Interval]:
    return [record for _, record in outbox.records(range(1, outbox.following), 10**6) if isinstance(record, Interval)]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_a_point_of_one_interval_says_what_its_record_says(outbox: Outbox) -> None:
    for k, labels in enumerate([["birch"] * 7 + ["dust"], [], ["dust"] * 2]):
        add_interval(outbox, at(60 * k), labels)
    points = kept_up(outbox).series(*ALL, 10).points
    for record, point in zip(intervals_of(outbox), points, strict=True):
        assert (point.start, point.end, point.volume, point.qc) == (
            record.started_at,
            record.ended_at,
            record.volume_m3,
            record.qc,
        )
        assert point.counts == {label: count.n for label, count in record.counts.items()}
        for label, said in record.concentration.items():
            got = point.concentration[label]
            assert (got.value, got.unit) == (pytest.approx(said.value), said.unit)
            assert got.high == pytest.approx(said.high, rel=0.05)
            assert got.low == pytest.approx(said.low, rel=0.05, abs=0.01 / record.volume_m3)  # type: ignore[operator]


def test_many_intervals_of_means_at_once_are_those_of_one(outbox: Outbox) -> None:
    counts = np.array([0.0, 0.4, 1.0, 2.6, 7.0, 40.0, 333.0, 4000.0, 1e6])
    for uncertainty in (0.0, 0.06, 0.3):
        low, high = mean_intervals(counts, np.full(len(counts), uncertainty))
        for n, one, other in zip(counts, low, high, strict=True):
            exact = mean_interval(float(n), uncertainty)
            assert one == pytest.approx(exact[0], rel=0.003, abs=0.002)
            assert other == pytest.approx(exact[1], rel=0.002)


def test_concentrations_of_a_span_come_from_its_sums(outbox: Outbox) -> None:
    for k in range(40):
        add_interval(outbox, at(60 * k), ["birch"] * (k % 3))
    series = kept_up(outbox).series(*ALL, 1, ["birch"])
    (point,) = series.points
    n = sum(k % 3 for k in range(40))
    assert (point.intervals, point.counts) == (40, {"birch": n})
    assert point.volume == pytest.approx(40 * 0.013)
    low, high = mean_interval(float(n), 0.06)  # 5 % of the volume, up to the next step
    got = point.concentration["birch"]
    assert (got.value, got.low, got.high) == (
        pytest.approx(n / point.volume), pytest.approx(low / point.volume, rel=0.02), pytest.approx(high / point.volume, rel=0.02),
    )  # fmt: skip


def test_looked_and_saw_none_is_no_gap_and_not_looked_is_no_zero(outbox: Outbox) -> None:
    add_interval(outbox, at(0), [])
    add_interval(outbox, at(7200), [], looked=False)
    points = kept_up(outbox).series(*ALL, 100).points
    assert [(p.intervals, p.looked, p.counts.get("total"), "total" in p.concentration) for p in points] == [
        (1, 1, 0, True), (1, 0, None, False),
    ]  # fmt: skip
    assert points[1].volume is None


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_what_the_intervals_come_to_whatever_the_clock_does(outbox: Outbox, seed: int) -> None:
    rng = random.Random(seed)
    seconds = 0.0
    keeper = HistoryKeeper(outbox, Told())
    for k in range(150):
        seconds += rng.choice((60.0, 60.0, 700.0, 0.0, -3000.0, 90_000.0, -200_000.0) if k % 5 == 0 else (60.0,))
        unit = "mL^-1" if 50 <= k < 70 else "m^-3"
        add_interval(outbox, at(seconds), rng.choices(CLASSES, k=rng.randrange(6)), looked=rng.random() > 0.1, unit=unit)
        if rng.random() < 0.3:
            keeper.step()
    keeper.step()
    assert not wrong_sums(outbox.folder)
    reader, records = keeper.reader, intervals_of(outbox)
    for points in (2000, 100, 20, 3, 1):
        series = reader.series(*ALL, points)
        assert len(series.points) <= points
        assert sum(point.intervals for point in series.points) == 150
        seen = sum(r.counts["total"].n for r in records if r.frames.analysed and r.volume_m3 and r.qc != 4)
        assert sum(point.counts.get("total", 0) for point in series.points) == seen
        assert (series.unit, series.other_units) == ("m^3", ("mL",))
    keeper._close()


def test_after_a_crash_it_is_caught_up_and_nothing_is_in_twice(outbox: Outbox) -> None:
    add_interval(outbox, at(0), ["birch"])
    kept_up(outbox)
    add_interval(outbox, at(60), ["dust"])
    add_event(outbox, at(61), "something")
    # The mark of another outbox: everything is looked through again.
    with closing(sqlite3.connect(database_in(outbox.folder))) as database, database:
        database.execute("UPDATE meta SET value = '[1, \"another\", 1]' WHERE key = 'mark'")
    reader = kept_up(outbox)
    assert [point.counts["total"] for point in reader.series(*ALL, 10).points] == [1, 1]
    assert len(reader.events(*ALL)) == 1
    assert len(reader.particles(None, *ALL).particles) == 2
    assert sum(reader.sizes(*ALL).n) == 2


def test_what_is_offered_is_taken_and_what_was_not_is_read(outbox: Outbox) -> None:
    keeper = HistoryKeeper(outbox, Told())
    keeper.step()
    for k in range(3):
        add_interval(outbox, at(60 * k), ["birch"])
    records = [record for _, record in outbox.records(range(1, outbox.following), 100) if record is not None]
    keeper.take(records[:2])
    keeper.take(records[4:])  # those between were lost on the way
    keeper.step()
    assert keeper.behind == 0
    assert keeper.reader.status().intervals == 3
    keeper._close()


def test_records_of_version_1_are_taken_in(outbox: Outbox) -> None:
    add_interval(outbox, at(0), ["birch"])
    database = outbox._database
    for seq, body, kind in database.execute("SELECT seq, body, kind FROM records").fetchall():
        record = msgspec.json.decode(body)
        record["schema"] = record["schema"].replace("/2", "/1")
        if kind == "detections":
            record["model"] = {"reconstruction": None, "classifier": record.pop("models")["classifier"]}
        database.execute("UPDATE records SET body = ?, sum = NULL WHERE seq = ?", (msgspec.json.encode(record), seq))
    outbox._store.summed_from = 100
    reader = kept_up(outbox)
    assert reader.series(*ALL, 10).points[0].counts["birch"] == 1
    assert reader.particles("birch", *ALL).particles[0].seq == 1


def test_stamps_that_were_dated_back_move_in_the_history_too(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(20):
        add_interval(outbox, at(60 * k), ["birch"])
    reader = kept_up(outbox)
    days_ns = 3 * 86_400 * 10**9
    database = outbox._database
    database.execute("UPDATE waiting SET offset_ns = 0, sum = NULL")
    monkeypatch.setattr(type(outbox.clock), "offset_ns", days_ns)
    assert outbox.backdate() == 40
    add_interval(outbox, at(3 * 86_400 + 1200), ["birch"])
    reader = kept_up(outbox)
    (first, *_), last = reader.series(*ALL, 100).points, reader.span()
    assert first.start >= iso_time(at(3 * 86_400 - 600))
    assert last is not None
    assert not wrong_sums(outbox.folder)
    assert reader.sizes(iso_time(START), iso_time(at(86_400))).n == ()
    assert sum(reader.sizes(*ALL).n) == 21


@pytest.mark.parametrize("harm", ["deleted", "garbled", "cut", "empty", "another's", "newer", "no database"])
def test_a_file_that_is_lost_or_damaged_is_set_aside_said_and_built_anew(outbox: Outbox, harm: str) -> None:
    for k in range(30):
        add_interval(outbox, at(600 * k), ["birch"])
    kept_up(outbox)
    path = database_in(outbox.folder)
    if harm == "deleted":
        path.unlink()
    elif harm == "garbled":
        content = bytearray(path.read_bytes())
        content[4096:] = random.Random(1).randbytes(len(content) - 4096)
        path.write_bytes(content)
    elif harm == "no database":
        path.write_text("dear diary, " * 1000)
    elif harm in ("cut", "empty"):
        path.write_bytes(path.read_bytes()[: 20_000 if harm == "cut" else 0])
    else:
        with closing(sqlite3.connect(path)) as database, database:
            statements = {
                "another's": "UPDATE meta SET value = 'box-2' WHERE key = 'device_id'",
                "newer": "PRAGMA user_version = 99",
            }
            database.execute(statements[harm])
    told = Told()
    keeper = HistoryKeeper(outbox, told)
    keeper.step()
    keeper.step()
    status = keeper.reader.status()
    assert (status.intervals, status.behind, status.trouble) == (30, 0, "")
    assert told == ["history_rebuilt"]
    assert status.rebuilt_at
    assert bool(status.set_aside) == (harm not in ("deleted", "empty"))
    assert not wrong_sums(outbox.folder)
    keeper._close()


def test_a_file_that_is_deleted_under_its_readers_comes_back(outbox: Outbox) -> None:
    add_interval(outbox, at(0), ["birch"])
    told = Told()
    keeper = HistoryKeeper(outbox, told)
    keeper.step()
    assert keeper.reader.span()
    for path in database_in(outbox.folder).parent.iterdir():
        path.unlink()
    with pytest.raises(TransientError, match="history can't be read"):
        keeper.reader.span()
    keeper.step()
    keeper.step()
    assert keeper.reader.span()
    assert told == ["history_rebuilt"]
    keeper._close()


def test_a_reader_that_meets_damage_has_it_mended(outbox: Outbox) -> None:
    for k in range(300):
        add_interval(outbox, at(600 * k), ["birch", "dust"])
    told = Told()
    keeper = HistoryKeeper(outbox, told)
    keeper.step()
    keeper._close()
    path = database_in(outbox.folder)
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(TransientError):
        keeper.reader.series(*ALL, 100)
    keeper.step()
    keeper.step()
    assert keeper.reader.status().intervals == 300
    assert told == ["history_rebuilt"]
    keeper._close()


def test_on_a_short_disk_it_falls_behind_says_so_once_and_catches_up(outbox: Outbox) -> None:
    told = Told()
    keeper = HistoryKeeper(outbox, told)
    keeper.step()
    keeper._min_free_bytes = 2**62
    for k in range(3):
        add_interval(outbox, at(600 * k), ["birch"])
        keeper.step()
    assert told == ["history_behind"]
    assert (keeper.behind, keeper.reader.status().behind) == (6, 6)
    assert "MB wanted" in keeper.reader.status().trouble
    keeper._min_free_bytes = 0
    keeper.step()
    assert (keeper.behind, keeper.progress().trouble, keeper.reader.status().intervals) == (0, "", 3)
    keeper._close()


@pytest.mark.parametrize("sort", ["score", "-score", "time", "-time"])
def test_pages_of_particles_hold_each_once_and_in_order(outbox: Outbox, sort: str) -> None:
    for k in range(40):
        add_interval(outbox, at(7000 * k), ["birch", "dust", "birch"][: k % 4])
    reader = kept_up(outbox)
    found: list[int] = []
    after = None
    while True:
        page = reader.particles(None, *ALL, sort=sort, limit=7, after=after)  # type: ignore[arg-type]
        found += [particle.seq for particle in page.particles]
        if (after := page.after) is None:
            break
    made = [r.seq for _, r in outbox.records(range(1, outbox.following), 10**4) if isinstance(r, Detection)]
    assert sorted(found) == made
    if sort.endswith("time"):
        assert found == sorted(made, reverse=sort == "-time")
    (one,) = reader.particles("dust", iso_time(at(7000 * 2)), iso_time(at(7000 * 3))).particles
    assert (one.label, one.score, one.esd_um, one.at) == ("dust", 0.8, 20.5, iso_time(at(14_000)))


def test_particles_keep_to_their_budget_and_the_oldest_days_go(outbox: Outbox) -> None:
    for k in range(10):
        add_interval(outbox, at(86_400 * k), ["birch"] * 20)
    reader = kept_up(outbox, particles_bytes=36 * 75)
    assert len(reader.particles("birch", *ALL).particles) == 60
    assert reader.particles("birch", *ALL).held_since == "2026-05-11T00:00:00.000000Z"
    assert sum(reader.sizes(*ALL).n) == 200


def test_gaps_are_the_times_between_intervals(outbox: Outbox) -> None:
    for seconds in (0, 60, 4000, 4000, 4060, 90_000):  # two begin at once
        add_interval(outbox, at(seconds), [])
    reader = kept_up(outbox)
    long = [(iso_time(at(80)), iso_time(at(4000))), (iso_time(at(4080)), iso_time(at(90_000)))]
    assert [(gap.start, gap.end) for gap in reader.gaps(*ALL, 1300)] == long
    assert [(gap.start, gap.end) for gap in reader.gaps(*ALL, 60)] == long
    assert len(reader.gaps(*ALL, 30)) == 4
    assert len(reader.gaps(iso_time(at(50_000)), iso_time(at(50_001)), 1300)) == 1


def test_what_makes_no_sense_is_refused_and_what_was_never_seen_is_empty(outbox: Outbox) -> None:
    reader = kept_up(outbox)
    assert reader.span() is None
    assert reader.series(*ALL, 10).points == ()
    add_interval(outbox, at(0), ["birch"])
    reader = kept_up(outbox)
    assert reader.series(*ALL, 10, ["dodo"]).points[0].counts == {}
    assert reader.sizes(*ALL, "dodo").n == ()
    assert reader.particles("dodo", *ALL).particles == ()
    for asked in (lambda: reader.series(ALL[1], ALL[0], 10), lambda: reader.series(*ALL, 0), lambda: reader.series("today", ALL[1], 10),
                  lambda: reader.particles(None, *ALL, after="x"), lambda: reader.gaps(*ALL, 0)):  # fmt: skip
        with pytest.raises(InputError):
            asked()


def test_intervals_that_are_too_many_go_and_their_sums_stay(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.storage.history.writer._KEEP_INTERVALS", 10)
    for k in range(60):
        add_interval(outbox, at(7200 * k), ["birch"])
    reader = kept_up(outbox)
    assert reader.status().intervals < 30
    assert reader.span() == (f"{iso_time(START)[:11]}00:00:00.000000Z", iso_time(at(7200 * 59)))
    for points in (2000, 30, 3):
        series = reader.series(*ALL, points, ["birch"])
        assert sum(point.counts["birch"] for point in series.points) == 60
        assert series.step_s > 0
    assert reader.series(iso_time(at(7200 * 55)), ALL[1], 30).step_s == 0
    assert len(reader.gaps(*ALL, 3600)) == 59
