"""`holonode-calibrate transfer` on a simulated instrument with aberrations that nobody told it of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.cli import main
from device.calibration import ABERRATION_VALUES, load_calibrations
from device.instrument import load_instrument
from device.optics import fft
from device.optics.propagation import propagate
from device.optics.pupil import Pupil
from device.transfer import read_transfer
from device.twin.forward import scattered_wave
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle

SIDE_PX, PITCH_UM = 256, 1.12
PUPIL = Pupil((1.2, -0.8, 0.0, 0.0, 0.0, 0.0, 0.0), 0.4)


def write_frame(path: Path, seed: int, pupil: Pupil | None) -> None:
    rng = np.random.default_rng(seed)
    shape = (SIDE_PX, SIDE_PX)
    particles = []
    for k in range(16):
        particle = draw_particle(
            rng, "ragweed", field_um=(1, 1), depth_um=(490, 510), voxel_um=PITCH_UM, diameter_um=float(rng.uniform(12, 18))
        )
        y_px, x_px = (40 + 58 * n + rng.uniform(-9, 9) for n in divmod(k, 4))
        particles.append(replace(particle, x_um=x_px * PITCH_UM, y_um=y_px * PITCH_UM, sub_px=(0.0, 0.0)))
    wave = scattered_wave(shape, PITCH_UM, particles, Illumination(0.85))
    if pupil is not None:
        wave = fft.ifft2(fft.fft2(wave) * pupil.transfer(shape, PITCH_UM))
    counts = 0.2 * rng.poisson(np.abs(1 + wave) ** 2 * 2800) + 64
    np.save(path, np.round(counts).astype(np.uint16))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(f'[calibration]\nfolder = "{tmp_path / "records"}"\n[storage]\nfolder = "{tmp_path / "store"}"\n')
    return path


def test_plain_frames_give_aberrations_and_a_file_to_learn_from(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(4):
        write_frame(tmp_path / f"frame{k}.npy", k, PUPIL)
    frames = [str(tmp_path / f"frame{k}.npy") for k in range(4)]
    assert (
        main(["transfer", *frames, "--config", str(config), "--rounds", "4", "--json", "--file", str(tmp_path / "own.npz")])
        == 0
    )
    record = json.loads(capsys.readouterr().out)
    assert record["verdict"] == "pass"
    found = np.array([record["values"][name]["value"] for name in ABERRATION_VALUES[:-1]])
    radius_per_um = record["values"]["pupil_radius_per_um"]["value"]
    # Both over the disc that is stated in the record: astigmatism grows with the square of the frequency.
    true = np.array(PUPIL.coefficients_rad) * (radius_per_um / PUPIL.radius_per_um) ** 2
    assert np.linalg.norm(found - true) < 0.6 * np.linalg.norm(true)
    assert found @ true > 0.9 * np.linalg.norm(found) * np.linalg.norm(true)
    nominal = load_instrument("bioaerosol-imx219-850nm")
    calibrated = load_calibrations(tmp_path / "records", nominal).instrument
    assert calibrated.geometry.pupil == Pupil(tuple(found.tolist()), radius_per_um)
    file = read_transfer(tmp_path / "own.npz")
    assert file.instrument_id == nominal.id
    assert file.intensities.shape == (4, SIDE_PX, SIDE_PX)
    assert len(file.depths_um) >= 20
    assert file.geometry.pupil is not None
    assert set(np.unique(file.weight)) <= {0.0, 1.0, 6.0}


def test_frames_with_next_to_nothing_on_them_fail_and_leave_no_file(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for k in range(2):
        np.save(tmp_path / f"frame{k}.npy", rng.poisson(600, (256, 256)).astype(np.uint16))
    frames = [str(tmp_path / f"frame{k}.npy") for k in range(2)]
    target = tmp_path / "own.npz"
    assert main(["transfer", *frames, "--config", str(config), "--rounds", "1", "--file", str(target)]) == 4
    assert "take more frames" in capsys.readouterr().out
    assert not target.exists()


def test_one_frame_is_bad_input(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frame(tmp_path / "frame.npy", 1, None)
    assert main(["transfer", str(tmp_path / "frame.npy"), "--config", str(config)]) == 2
    assert "2 or more" in capsys.readouterr().err


def write_discs(path: Path, seed: int, distance_um: float, count: int = 25) -> np.ndarray:
    """A frame of discs that darken and delay; returns their field."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    field = np.ones((SIDE_PX, SIDE_PX), np.complex64)
    for k in range(count):
        row, column = (36 + 45 * n + rng.uniform(-6, 6) for n in divmod(k, 5))
        field[np.hypot(y - row, x - column) < rng.uniform(4, 8)] = 0.7 * np.exp(0.8j)
    wave = propagate(field, pitch_um=PITCH_UM, wavelength_um=0.85, distance_um=distance_um)
    counts = 0.2 * np.random.default_rng(round(distance_um)).poisson(np.abs(wave) ** 2 * 2800) + 64
    np.save(path, np.round(counts).astype(np.uint16))
    return field


def test_several_heights_of_one_object_give_its_field(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heights_um = [500.0, 580.0, 660.0]
    frames = [str(tmp_path / f"frame{height_um:.0f}.npy") for height_um in heights_um]
    field, *_ = (write_discs(Path(path), 5, height_um) for path, height_um in zip(frames, heights_um, strict=True))
    options = ["--config", str(config), "--no-aberrations", "--file", str(tmp_path / "own.npz")]
    assert main(["transfer", *frames, *options, "--heights-um", *map(str, heights_um)]) == 0
    assert "distance_um" in capsys.readouterr().out
    file = read_transfer(tmp_path / "own.npz")
    assert file.intensities.shape == (1, SIDE_PX, SIDE_PX)
    off, true = file.truth[0] - 1, field - 1
    correlation = abs(np.vdot(true, off)) / np.linalg.norm(true) / np.linalg.norm(off)
    assert correlation > 0.9
    assert main(["transfer", *frames, *options, "--heights-um", "500"]) == 2


def test_a_distance_for_each_frame_is_kept_and_must_fit(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, distance_um in enumerate((490.0, 510.0)):
        write_discs(tmp_path / f"frame{k}.npy", k, distance_um, 15)
    frames = [str(tmp_path / f"frame{k}.npy") for k in range(2)]
    options = ["--config", str(config), "--no-aberrations", "--file", str(tmp_path / "own.npz")]
    assert main(["transfer", *frames, *options, "--distances-um", "490", "510"]) == 0
    assert np.diff(read_transfer(tmp_path / "own.npz").distances_um) == pytest.approx(20)
    capsys.readouterr()
    assert main(["transfer", *frames, *options, "--distances-um", "500"]) == 2
    assert "--distances-um" in capsys.readouterr().err
    assert main(["transfer", *frames, *options, "--distances-um", "490", "510", "--heights-um", "490", "510"]) == 2
    assert "one object or many" in capsys.readouterr().err
