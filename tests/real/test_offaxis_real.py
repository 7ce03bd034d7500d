"""Recorded off-axis holograms against published phases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device.cli import main
from tests.benchmarks.real_offaxis import correlation, usaf


def test_the_phase_of_the_resolution_target_is_the_published_one(real_data: Path) -> None:
    assert correlation(*usaf(real_data)) > 0.99


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
    assert correlation(saved["phase_rad"], published) > 0.99
    assert out.with_suffix(".png").is_file()


def test_an_inline_frame_is_refused_with_what_to_do(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = str(real_data / "colloid_holopy" / "image01.jpg")
    figures = ["--wavelength-um", "0.66", "--pitch-um", "0.0851"]
    status = main(["reconstruct", frame, "--method", "offaxis", *figures, "--out", str(tmp_path / "x.npz")])
    assert (status, "no carrier" in capsys.readouterr().err) == (2, True)
