"""Multi-height retrieval of the recorded beads against the independently measured field."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device.cli import main
from tests.benchmarks.real_focus import BEADS_MM, complex_correlation, measured_field
from tests.benchmarks.real_multi_height import load, tilt_free_correlation


@pytest.mark.parametrize("heights", [(8, 12, 16), tuple(BEADS_MM)])
def test_registered_frames_give_the_measured_field(real_data: Path, heights: tuple[int, ...]) -> None:
    truth = measured_field(real_data / "beads_multiheight_gt" / "fov1")
    found = load(real_data, heights)
    assert complex_correlation(found.field, truth) > 0.78
    assert tilt_free_correlation(found.field, truth) > 0.88


def test_registration_finds_the_millimetre_steps_of_the_stage(real_data: Path) -> None:
    found = load(real_data, tuple(BEADS_MM))
    apart_um = [p.distance_um - 1000 * n for p, n in zip(found.placements, BEADS_MM, strict=True)]
    assert np.std(apart_um) < 40  # the stated distances scatter by 100 around the steps


def test_the_command_makes_one_field_of_three_frames(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = real_data / "beads_multiheight_gt" / "fov1"
    files = [str(folder / f"holo_{n:02d}mm.mat") for n in (8, 12, 16)]
    out = tmp_path / "field.npz"
    figures = ["--wavelength-um", "0.532", "--pitch-um", "6.5", "--distances-um", "8050", "12000", "16100"]
    assert main(["reconstruct", *files, "--method", "multiheight", *figures, "--out", str(out), "--png", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["placements"]) == 3
    saved = np.load(out)
    assert saved["field"].dtype == np.complex64
    assert complex_correlation(saved["field"], measured_field(folder)) > 0.78
    assert out.with_suffix(".png").is_file()


def test_a_distance_too_few_is_refused(real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = real_data / "beads_multiheight_gt" / "fov1"
    files = [str(folder / f"holo_{n:02d}mm.mat") for n in (8, 12)]
    figures = ["--wavelength-um", "0.532", "--pitch-um", "6.5", "--distances-um", "8050"]
    assert main(["reconstruct", *files, "--method", "multiheight", *figures, "--out", str(tmp_path / "f.npz")]) == 2
    assert "one per frame" in capsys.readouterr().err
