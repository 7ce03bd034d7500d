"""`reconstruct --factor`: detail between the pixels, from frames shifted by parts of one; refused where the lamp carries none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from device.cli import main
from device.optics.propagation import propagate

SIDE_PX = 256
FLAGS = ["--wavelength-um", "0.53", "--pitch-um", "1.12", "--distance-um", "250", "--method", "backpropagate"]


def scene() -> NDArray[np.complex64]:
    """A textured disc on a grid four times as fine as the pixels."""
    side = 4 * SIDE_PX
    y, x = np.mgrid[:side, :side] - side / 2
    texture = np.kron(np.random.default_rng(3).standard_normal((side // 2, side // 2)), np.ones((2, 2)))
    return np.exp(0.6j * texture * (np.hypot(y, x) < side / 8)).astype(np.complex64)


def frames(field: NDArray[np.complex64], shifts: list[tuple[int, int]]) -> list[NDArray[np.uint16]]:
    """Recorded by area pixels, shifts in quarters of a pixel, with shot noise."""
    wave = propagate(field, pitch_um=0.28, wavelength_um=0.53, distance_um=250)
    intensity = np.abs(wave) ** 2
    rng = np.random.default_rng(4)
    moved = [np.roll(intensity, shift, (0, 1)).reshape(SIDE_PX, 4, SIDE_PX, 4).mean((1, 3)) for shift in shifts]
    return [rng.poisson(8000 * frame).astype(np.uint16) for frame in moved]


def correlation(found: NDArray[np.complex64], truth: NDArray[np.complex64]) -> float:
    """With the truth at rings from 0.55 to 0.8 cycles per pixel of the frames, on their grid twice as fine."""
    fy = np.fft.fftfreq(2 * SIDE_PX, 0.5)
    ring = np.abs(np.hypot(fy[:, None], fy[None, :]) - 0.675) < 0.125
    a, b = (np.fft.fft2(f)[ring] for f in (found, truth))
    return float(np.abs(np.vdot(a, b)) / np.sqrt(np.vdot(a, a).real * np.vdot(b, b).real))


def test_four_shifted_frames_show_what_one_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    field = scene()
    for number, frame in enumerate(frames(field, [(0, 0), (2, 1), (1, 2), (3, 3)])):
        np.save(tmp_path / f"frame{number}.npy", frame)
    out = tmp_path / "fine.npz"
    assert main(["reconstruct", str(tmp_path), *FLAGS, "--factor", "2", "--out", str(out)]) == 0
    assert "2 times as fine" in capsys.readouterr().err
    saved = np.load(out)
    assert saved["pitch_um"] == pytest.approx(0.56)
    truth = field.reshape(2 * SIDE_PX, 2, 2 * SIDE_PX, 2).mean((1, 3))
    one = tmp_path / "one.npz"
    assert main(["reconstruct", str(tmp_path / "frame0.npy"), *FLAGS, "--out", str(one)]) == 0
    spectrum = np.fft.fftshift(np.fft.fft2(np.load(one)["field"]))
    enlarged = np.fft.ifft2(np.fft.ifftshift(np.pad(spectrum, SIDE_PX // 2)))
    assert correlation(saved["field"], truth) > 0.3 > 0.1 > correlation(np.asarray(enlarged, np.complex64), truth)


def test_a_lamp_that_carries_nothing_finer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        np.save(tmp_path / f"frame{number}.npy", np.full((64, 64), 100, np.uint16))
    told = ["--instrument", "flow-imx477-530nm", "--factor", "2", "--out", str(tmp_path / "x.npz")]
    assert main(["reconstruct", str(tmp_path), *told]) == 2
    assert "nothing finer" in capsys.readouterr().err
