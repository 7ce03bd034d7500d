"""`reconstruct --denoise`: a laser diode's speckle goes, the phase stays; what is no speckle is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from device.cli import main
from tests.unit.test_speckle import noise

SIDE_PX = 256
FLAGS = ["--wavelength-um", "0.63", "--pitch-um", "0.3"]


def cell_phase_rad() -> NDArray[np.float64]:
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    return 1.8 * np.sqrt(np.maximum(1 - ((x - 120) ** 2 + (y - 140) ** 2) / 45**2, 0))


def off_axis_frame() -> NDArray[np.uint16]:
    """A cell, and speckle whose grains are as large as an off-axis order makes them."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    wave = np.exp(1j * cell_phase_rad()) * (1 + 0.25 * noise(1, (SIDE_PX, SIDE_PX), 0.09))
    intensity = np.abs(wave + np.exp(-2j * np.pi * (0.21 * y + 0.23 * x))) ** 2
    return np.random.default_rng(2).poisson(4000 * intensity).astype(np.uint16)


def phase_off_axis(folder: Path, *more: str) -> NDArray[np.float32]:
    out = folder / f"found{len(more)}.npz"
    assert main(["reconstruct", str(folder / "frame.npy"), *FLAGS, "--method", "offaxis", "--out", str(out), *more]) == 0
    with np.load(out) as found:
        return found["phase_rad"]


def test_speckle_goes_from_an_off_axis_phase_and_its_sum_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "frame.npy", off_axis_frame())
    truth = cell_phase_rad()
    inside, outside = truth > 0.3, truth == 0
    outside[:8], outside[-8:], outside[:, :8], outside[:, -8:] = False, False, False, False
    plain, clean = phase_off_axis(tmp_path), phase_off_axis(tmp_path, "--denoise")
    assert "taken off by denoise" in capsys.readouterr().err
    spreads = [float(np.std(phase[outside])) for phase in (plain, clean)]
    assert spreads[1] < spreads[0] / 2
    sums = [float((phase - np.median(phase[outside]))[inside].sum()) for phase in (plain, clean)]
    # Against what was measured: a few grains' luck moves both alike.
    assert sums[1] == pytest.approx(sums[0], rel=0.03)
    assert sums[1] == pytest.approx(truth[inside].sum(), rel=0.06)


def test_a_sensor_s_own_noise_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "frame.npy", np.random.default_rng(3).poisson(400, (128, 128)).astype(np.uint16))
    np.save(tmp_path / "flat.npy", np.random.default_rng(4).poisson(400, (128, 128)).astype(np.uint16))
    told = ["--wavelength-um", "0.63", "--pitch-um", "1.12", "--distance-um", "500", "--method", "backpropagate", "--denoise"]
    files = [str(tmp_path / "frame.npy"), "--background", str(tmp_path / "flat.npy"), "--out", str(tmp_path / "x.npz")]
    assert main(["reconstruct", *files, *told]) == 2
    assert "this is the sensor's noise" in capsys.readouterr().err


def test_an_index_is_not_denoised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["reconstruct", "a.npz", "--method", "tomography", "--denoise", "--out", str(tmp_path / "x.npz")]
    assert main(arguments) == 2
    assert "taken off a field, not off an index" in capsys.readouterr().err
