"""What the pipeline says of recordings outside its own world, and of those within it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from device.cli import main
from device.records import QARTOD_FAIL, QARTOD_NOT_EVALUATED, QARTOD_SUSPECT

OPTICS = ("--wavelength-um", "0.532", "--pitch-um", "6.5", "--distance-um")


def _interval(tmp_path: Path, hologram: Path, distance_um: float) -> dict[str, Any]:
    assert main(["replay", str(hologram), "--out", str(tmp_path), *OPTICS, str(distance_um)]) == 0
    return json.loads((tmp_path / "intervals.jsonl").read_text())


@pytest.mark.parametrize("distance_um", [26_200.0, 20_000.0])
def test_tissue_is_no_zero_but_a_field_without_particles(real_data: Path, tmp_path: Path, distance_um: float) -> None:
    record = _interval(tmp_path, real_data / "tissue_gt" / "colon" / "holo_26mm.mat", distance_um)
    assert record["counts"]["total"]["n"] == 0
    assert record["qc"] == QARTOD_FAIL
    assert any("nothing was found" in reason for reason in record["reasons"])
    assert record["scene"]["tiles"]["empty"] < 0.1


def test_nothing_speaks_against_beads_at_their_own_distance_and_each_has_a_confidence(real_data: Path, tmp_path: Path) -> None:
    record = _interval(tmp_path, real_data / "beads_multiheight_gt" / "fov1" / "holo_09mm.mat", 9000.0)
    # Beads have no names here: that alone is said.
    assert record["qc"] == QARTOD_NOT_EVALUATED
    assert record["reasons"] == ["a classifier was configured and did not speak"]
    assert record["scene"]["explained"] > 0.7
    detections = [json.loads(line) for line in (tmp_path / "detections.jsonl").read_text().splitlines()]
    assert all(0 <= d["confidence"] <= 1 for d in detections)


@pytest.mark.parametrize("distance_um", [6800.0, 14_000.0])
def test_beads_do_not_pass_at_another_distance(real_data: Path, tmp_path: Path, distance_um: float) -> None:
    record = _interval(tmp_path, real_data / "beads_multiheight_gt" / "fov1" / "holo_09mm.mat", distance_um)
    assert record["qc"] in (QARTOD_SUSPECT, QARTOD_FAIL)
    assert any("not the" in reason or "predicts" in reason for reason in record["reasons"])
