"""Recorded off-axis holograms against published phases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device.cli import main
from device.optics.offaxis_reconstruction import reconstruct_offaxis
from tests.benchmarks.real_offaxis import correlation, far_dice, usaf


def test_the_phase_of_the_resolution_target_is_the_published_one(real_data: Path) -> None:
    assert correlation(*usaf(real_data)) > 0.98
    assert correlation(*usaf(real_data, order=1), order=1) > 0.99


def test_the_background_hologram_flattens_the_surroundings_of_a_cell(real_data: Path) -> None:
    cell = np.load(real_data / "offaxis_dhm" / "hl60" / "hologram_cell.npz")
    found = reconstruct_offaxis(cell["data"], cell["bg_data"])
    assert np.std(found.phase_rad[:, :20]) < 0.2
    assert 4.0 < abs(found.phase_rad[90:110, 95:115].mean()) < 8.0
    assert found.quality.residue_density == 0


def test_far_dice_come_into_focus_near_the_stated_metre(real_data: Path) -> None:
    distance_um, contrast = far_dice(real_data)
    assert distance_um == pytest.approx(1.0e6, rel=0.2)
    assert contrast > 10


def test_the_command_writes_field_phase_and_picture(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = str(real_data / "offaxis_dhm" / "usaf20x" / "hologram.bmp")
    out = tmp_path / "usaf.npz"
    figures = ["--wavelength-um", "0.633", "--pitch-um", "3.75", "--magnification", "20"]
    assert main(["reconstruct", frame, "--method", "offaxis", *figures, "--out", str(out), "--png", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert abs(answer["carrier_rows"]) == pytest.approx(234 / 960, abs=0.001)
    saved = np.load(out)
    _, published = usaf(real_data)
    assert correlation(saved["phase_rad"], published) > 0.98
    assert answer["delaying"] > 0.6
    assert out.with_suffix(".png").is_file()


def test_an_inline_frame_is_refused_with_what_to_do(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = str(real_data / "colloid_holopy" / "image01.jpg")
    figures = ["--wavelength-um", "0.66", "--pitch-um", "0.0851"]
    status = main(["reconstruct", frame, "--method", "offaxis", *figures, "--out", str(tmp_path / "x.npz")])
    assert (status, "no carrier" in capsys.readouterr().err) == (2, True)
