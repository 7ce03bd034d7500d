from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from device.errors import InputError
from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.pupil import Pupil
from device.transfer import TransferFile, read_transfer, write_transfer


def transfer_file(side: int = 32, frames: int = 2) -> TransferFile:
    shape = (frames, side, side)
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint16)
    labels[:, 8:12, 8:12] = np.arange(1, frames + 1)[:, None, None]
    return TransferFile(
        instrument_id="0123456789abcdef",
        instrument_name="some",
        geometry=Geometry(0.5, 1.0, 300.0, source_distance_um=9000.0, pupil=Pupil((0.1,) * 7, 0.3)),
        depth_um=20.0,
        noise=0.02,
        aberration_uncertainty_rad=0.1,
        intensities=rng.random(shape).astype(np.float32),
        distances_um=np.linspace(300, 310, frames),
        truth=np.exp(1j * rng.random(shape)).astype(np.complex64),
        weight=np.ones(shape, np.float32),
        labels=labels,
        depths_um=np.linspace(300, 310, frames),
    )


@pytest.mark.parametrize("source_distance_um", [None, 9000.0])
@pytest.mark.parametrize("pupil", [None, Pupil((0.1, 0, 0, 0, 0, 0, -0.2), 0.3)])
@pytest.mark.parametrize("coherence", [None, Coherence(0.01, 100.0), Coherence(0.01, 100.0, 40_000.0)])
def test_a_transfer_file_comes_back_as_it_was(
    tmp_path: Path, coherence: Coherence | None, pupil: Pupil | None, source_distance_um: float | None
) -> None:
    file = transfer_file()
    geometry = replace(file.geometry, pupil=pupil, source_distance_um=source_distance_um, coherence=coherence)
    file = replace(file, geometry=geometry)
    write_transfer(tmp_path / "own.npz", file)
    back = read_transfer(tmp_path / "own.npz")
    assert back.geometry == file.geometry
    for field in fields(TransferFile):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(file, field.name))


def test_another_archive_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(InputError, match="no transfer file"):
        read_transfer(tmp_path / "other.npz")


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    write_transfer(path, transfer_file())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="no transfer file"):
        read_transfer(path)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    file = transfer_file()
    write_transfer(tmp_path / "own.npz", replace(file, weight=file.weight[:, :-1]))
    with pytest.raises(InputError, match="shapes"):
        read_transfer(tmp_path / "own.npz")
    write_transfer(tmp_path / "own.npz", replace(file, depths_um=file.depths_um[:1]))
    with pytest.raises(InputError, match="2 particles, 1 depths"):
        read_transfer(tmp_path / "own.npz")
