"""What the service commits of an interval is what was found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from device.analysis.overlap import Overlap
from device.analysis.report import Losses, RecordProvenance, SampledVolume
from device.records import QARTOD_PASS, QARTOD_SUSPECT, Detection, FrameCounts, Interval, from_json
from device.sampling.findings import Findings, LookedAt
from device.service.recorder import Recorder
from device.service.timekeeper import Beginning
from device.storage.outbox import Outbox
from tests.analyses import analysis, hologram, particle

FOUND = Findings(
    (
        LookedAt(hologram(0), analysis([particle(1, 1), particle(2, 2)], ["birch", "grass"]), ()),
        LookedAt(hologram(1), analysis([particle(3, 3)], ["birch"]), ()),
    ),
    FrameCounts(captured=2, analysed=2),
    SampledVolume(0.5, 0.1, "mL^-1"),
    Losses(overlap=Overlap(1.2, 0.05)),
    "500 uL",
    dead_time_s=12.5,
)


def committed(folder: Path, found: Findings) -> tuple[list[Detection], Interval]:
    outbox = Outbox(folder, "box")
    origin = RecordProvenance("box", outbox.spool_id, "config", "pipeline", {}, "flow", labels=("birch",))
    Recorder(outbox, None, lambda _: None).interval(origin, found, Beginning.at(outbox.clock), {})
    rows = outbox.pending(100)
    outbox.close()
    assert [msgspec.json.decode(row.body)["seq"] for row in rows] == [row.seq for row in rows]
    return [from_json(row.body, Detection) for row in rows[:-1]], from_json(rows[-1].body, Interval)


def test_an_interval_holds_its_detections_volume_losses_and_dead_time(tmp_path: Path) -> None:
    detections, interval = committed(tmp_path, FOUND)
    assert [(d.seq, d.frame, d.label, d.x_um) for d in detections] == [
        (1, 0, "birch", 1),
        (2, 0, "grass", 2),
        (3, 1, "birch", 3),
    ]
    assert len({d.id for d in detections}) == 3
    assert {d.interval_id for d in detections} == {interval.id}
    assert {name: count.n for name, count in interval.counts.items()} == {"birch": 2, "grass": 1, "total": 3}
    assert (interval.volume_ml, interval.dead_time_s, interval.qc) == (0.5, 12.5, QARTOD_PASS)
    assert interval.concentration["total"].value == pytest.approx(3 * 1.2 / 0.5)


@pytest.mark.parametrize("against", [{"suspect": True}, {"unexplained": 6}])
def test_what_speaks_against_the_counts_is_in_the_record(tmp_path: Path, against: dict[str, int]) -> None:
    assert committed(tmp_path, replace(FOUND, **against))[1].qc == QARTOD_SUSPECT
