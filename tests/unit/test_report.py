"""What records say of themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from device.analysis.efficiency import DetectionEfficiency
from device.analysis.overlap import Overlap
from device.analysis.report import Losses, RecordProvenance, SampledVolume, detection_records, interval_record
from device.analysis.scene import FieldScene, Verdict
from device.frames import Clock
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT, Detection, FrameCounts, Interval, iso_time
from tests.analyses import analysis, hologram, particle

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORIGIN = RecordProvenance("box", "spool", "config", "pipeline", {}, "flow")
SEARCHED = FrameCounts(captured=1, analysed=1)


def interval(origin: RecordProvenance = ORIGIN, frames: FrameCounts = SEARCHED, **found: Any) -> Interval:
    told: dict[str, Any] = {"labels": (), **found}
    return interval_record(origin, seq=1, interval_id="i", span=(NOON, NOON), clock=Clock(), frames=frames, **told)


def detections(
    origin: RecordProvenance = ORIGIN, label: str = "birch", flag: int = QARTOD_PASS, **drawn: Any
) -> list[Detection]:
    frame = analysis([particle(10.0, 20.0, **drawn)], [label], [flag])
    return detection_records(origin, hologram(), frame, 7, "i")


@pytest.mark.parametrize(
    ("seen", "unexplained", "dropped", "qc"),
    [
        (0, 0, 0, QARTOD_PASS),
        (0, 1, 0, QARTOD_SUSPECT),
        (13, 1, 0, QARTOD_PASS),
        (40, 15, 0, QARTOD_PASS),
        (40, 16, 0, QARTOD_SUSPECT),
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


def test_regions_of_all_frames_are_held_against_the_particles_of_all_frames() -> None:
    assert interval(labels=["dust"] * 10, unexplained=9).qc == QARTOD_SUSPECT
    assert interval(labels=["dust"] * 10, unexplained=9, seen=80).qc == QARTOD_PASS


@pytest.mark.parametrize(
    ("failed", "doubted", "fine", "qc"),
    [
        (0, 2, 6, QARTOD_PASS),
        (7, 0, 18, QARTOD_PASS),
        (1, 0, 0, QARTOD_PASS),
        (82, 0, 4, QARTOD_SUSPECT),
        (40, 0, 60, QARTOD_SUSPECT),
        (0, 40, 60, QARTOD_PASS),
        (0, 40, 20, QARTOD_SUSPECT),
    ],
)
def test_no_single_flag_but_a_share_of_them_speaks_against_an_interval(failed: int, doubted: int, fine: int, qc: int) -> None:
    flags = [QARTOD_FAIL] * failed + [QARTOD_SUSPECT] * doubted + [QARTOD_PASS] * fine
    assert interval(labels=["dust"] * len(flags), flags=flags).qc == qc


def _scene(*verdicts: Verdict, explained: float | None = 0.9) -> FieldScene:
    return FieldScene(np.ones((2, 2), np.uint8), np.full((2, 2), 0.8, np.float32), explained, "network", (128, 128), verdicts)


def test_a_field_that_is_no_particle_field_fails_with_its_reason() -> None:
    failed = _scene(Verdict("fail", "not a particle field: so"), explained=0.2)
    record = interval(labels=["dust"] * 3, scenes=[failed])
    assert (record.qc, record.reasons) == (QARTOD_FAIL, ("not a particle field: so",))
    assert record.scene is not None
    assert (record.scene.explained, record.scene.tiles["sparse"]) == (0.2, 1.0)
    empty_handed = interval(scenes=[failed])
    assert (empty_handed.counts["total"].n, empty_handed.qc) == (0, QARTOD_FAIL)


def test_one_doubtful_frame_of_twelve_says_nothing_of_the_interval_but_two_do() -> None:
    doubtful, fine = _scene(Verdict("suspect", "in pieces")), _scene()
    frames = FrameCounts(captured=12, analysed=12)
    assert interval(frames=frames, scenes=[doubtful] + [fine] * 11).qc == QARTOD_PASS
    record = interval(frames=frames, scenes=[doubtful] * 2 + [fine] * 10)
    assert (record.qc, record.reasons) == (QARTOD_SUSPECT, ("2 of 12 frames: in pieces",))
    failed = _scene(Verdict("fail", "not a particle field: so"))
    assert interval(frames=frames, scenes=[failed] * 7 + [fine] * 5).qc == QARTOD_FAIL


def test_whatever_keeps_an_interval_from_passing_is_said() -> None:
    kept = [
        interval(suspect=True),
        interval(frames=FrameCounts()),
        interval(frames=FrameCounts(captured=2, analysed=1, dropped=1)),
        interval(losses=Losses(overlap=Overlap(2.0, 0.2, crowded=True))),
        interval(replace(ORIGIN, simulated=("pump",), mixed=True)),
        interval(unexplained=1),
        interval(names_owed=True),
        interval(frames=FrameCounts(captured=1, analysed=1, unchecked=1)),
    ]
    assert all(record.qc != QARTOD_PASS and len(record.reasons) == 1 for record in kept)
    assert interval().reasons == ()


def test_a_detection_tells_how_well_the_hologram_is_predicted_where_it_lies() -> None:
    frame = analysis([particle(10.0, 20.0)], ["dust"], [QARTOD_PASS])
    assert detection_records(ORIGIN, hologram(), frame, 1, "i")[0].confidence is None
    seen = replace(frame, scene=_scene())
    assert detection_records(ORIGIN, hologram(), seen, 1, "i")[0].confidence == pytest.approx(0.8)
    failed = replace(frame, scene=_scene(Verdict("fail", "not a particle field: so")))
    assert detection_records(ORIGIN, hologram(), failed, 1, "i")[0].qc == QARTOD_FAIL


def test_an_interval_names_the_parts_that_were_simulated() -> None:
    assert interval(replace(ORIGIN, simulated=("pump",))).simulated == ("pump",)
    assert detections(replace(ORIGIN, simulated=("pump",)))[0].simulated == ("pump",)


def test_air_is_told_in_cubic_metres_and_water_in_millilitres_each_with_its_uncertainty() -> None:
    air = interval(labels=["birch"] * 4, volume=SampledVolume(0.02, 0.05, "m^-3"), dead_time_s=1.25)
    assert (air.volume_m3, air.volume_ml, air.dead_time_s) == (0.02, None, 1.25)
    assert air.volume_uncertainty == pytest.approx(0.001)
    assert (air.concentration["birch"].value, air.concentration["birch"].unit) == (pytest.approx(200), "m^-3")
    water = interval(labels=["giardia"] * 4, volume=SampledVolume(0.5, 0.1, "mL^-1"))
    assert (water.volume_m3, water.volume_ml, water.volume_uncertainty) == (None, 0.5, pytest.approx(0.05))
    assert water.concentration["giardia"].value == pytest.approx(8)


def test_frames_that_could_not_be_searched_give_no_concentration() -> None:
    blind = interval(frames=FrameCounts(captured=1, analysed=0, dropped=1), volume=SampledVolume(0.02, 0.05, "m^-3"))
    assert blind.concentration == {}
    assert blind.qc == QARTOD_SUSPECT


def test_a_record_states_the_efficiency_that_is_in_its_concentration_and_no_bubble_is_in_the_total() -> None:
    losses = Losses(DetectionEfficiency.of({"detection_efficiency": (0.5, 0.05)}))
    found = interval(
        labels=["giardia"] * 4 + ["bubble"] * 6,
        sizes_um=[10.0] * 4 + [40.0] * 6,
        volume=SampledVolume(1.0, 0.0, "mL^-1"),
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
