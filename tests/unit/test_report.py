"""What records say of themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from device.analysis.efficiency import DetectionEfficiency
from device.analysis.overlap import Overlap
from device.analysis.report import Losses, Origin, Volume, detection_records, interval_record
from device.frames import Clock
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT, Detection, FrameCounts, Interval, iso_time
from tests.analyses import analysis, hologram, particle

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORIGIN = Origin("box", "spool", "config", "pipeline", {}, "flow")
SEARCHED = FrameCounts(captured=1, analysed=1)


def interval(origin: Origin = ORIGIN, frames: FrameCounts = SEARCHED, **found: Any) -> Interval:
    told: dict[str, Any] = {"labels": (), **found}
    return interval_record(origin, seq=1, interval_id="i", span=(NOON, NOON), clock=Clock(), frames=frames, **told)


def detections(origin: Origin = ORIGIN, label: str = "birch", flag: int = QARTOD_PASS, **drawn: Any) -> list[Detection]:
    frame = analysis([particle(10.0, 20.0, **drawn)], [label], [flag])
    return detection_records(origin, hologram(), frame, 7, "i")


@pytest.mark.parametrize(
    ("seen", "unexplained", "dropped", "qc"),
    [
        (0, 0, 0, QARTOD_PASS),
        (0, 1, 0, QARTOD_SUSPECT),
        (40, 2, 0, QARTOD_PASS),
        (40, 3, 0, QARTOD_SUSPECT),
        (40, 0, 1, QARTOD_SUSPECT),
    ],
)
def test_counts_are_suspect_where_regions_stay_unexplained(seen: int, unexplained: int, dropped: int, qc: int) -> None:
    frames = FrameCounts(captured=1, analysed=1, dropped=dropped)
    assert interval(frames=frames, labels=["dust"] * seen, unexplained=unexplained).qc == qc


def test_what_speaks_against_the_counts_keeps_an_interval_from_passing() -> None:
    assert interval().qc == QARTOD_PASS
    assert interval(suspect=True).qc == QARTOD_SUSPECT
    assert interval(losses=Losses(overlap=Overlap(2.0, 0.2, crowded=True))).qc == QARTOD_SUSPECT
    assert interval(replace(ORIGIN, simulated=("pump",), mixed=True)).qc == QARTOD_SUSPECT


def test_an_interval_names_the_parts_that_were_simulated() -> None:
    assert interval(replace(ORIGIN, simulated=("pump",))).simulated == ("pump",)
    assert detections(replace(ORIGIN, simulated=("pump",)))[0].simulated == ("pump",)


def test_air_is_told_in_cubic_metres_and_water_in_millilitres_each_with_its_uncertainty() -> None:
    air = interval(labels=["birch"] * 4, volume=Volume(0.02, 0.05, "m^-3"), dead_time_s=1.25)
    assert (air.volume_m3, air.volume_ml, air.dead_time_s) == (0.02, None, 1.25)
    assert air.volume_uncertainty == pytest.approx(0.001)
    assert (air.concentration["birch"].value, air.concentration["birch"].unit) == (pytest.approx(200), "m^-3")
    water = interval(labels=["giardia"] * 4, volume=Volume(0.5, 0.1, "mL^-1"))
    assert (water.volume_m3, water.volume_ml, water.volume_uncertainty) == (None, 0.5, pytest.approx(0.05))
    assert water.concentration["giardia"].value == pytest.approx(8)


def test_frames_that_could_not_be_searched_give_no_concentration() -> None:
    blind = interval(frames=FrameCounts(captured=1, analysed=0, dropped=1), volume=Volume(0.02, 0.05, "m^-3"))
    assert blind.concentration == {}
    assert blind.qc == QARTOD_SUSPECT


def test_a_record_states_the_efficiency_that_is_in_its_concentration_and_no_bubble_is_in_the_total() -> None:
    losses = Losses(DetectionEfficiency.of({"detection_efficiency": (0.5, 0.05)}))
    found = interval(
        labels=["giardia"] * 4 + ["bubble"] * 6,
        sizes_um=[10.0] * 4 + [40.0] * 6,
        volume=Volume(1.0, 0.0, "mL^-1"),
        losses=losses,
    )
    assert found.counts["total"].n == 4
    assert found.concentration["total"].value == found.concentration["giardia"].value == pytest.approx(8)
    assert found.detection_efficiency["giardia"].value == pytest.approx(0.5)
    assert found.detection_efficiency["giardia"].uncertainty == pytest.approx(0.05)


def test_a_detection_is_where_its_particle_is() -> None:
    found = detections(z_um=512.34)[0]
    assert (found.x_um, found.y_um, found.z_um, found.seq, found.label) == (10.0, 20.0, 512.34, 7, "birch")


@pytest.mark.parametrize(
    ("drawn", "qc"),
    [
        ({}, QARTOD_PASS),
        ({"touches_edge": True}, QARTOD_SUSPECT),
        ({"flag": QARTOD_SUSPECT}, QARTOD_SUSPECT),
        ({"flag": QARTOD_FAIL}, QARTOD_SUSPECT),
        ({"label": "unknown"}, QARTOD_SUSPECT),
    ],
)
def test_what_is_cut_unexplained_or_unknown_does_not_pass(drawn: dict[str, Any], qc: int) -> None:
    assert detections(**drawn)[0].qc == qc


def test_times_of_any_zone_are_told_in_utc() -> None:
    assert iso_time(NOON.astimezone(timezone(timedelta(hours=9)))) == "2026-11-25T12:00:00.000000Z"
