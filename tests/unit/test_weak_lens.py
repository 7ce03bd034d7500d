"""What first depths get wrong of one instrument's particles: fitted to its own frames, without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.analysis.depth import DepthSettings, estimate_depth
from device.analysis.segment import segment
from device.errors import CheckError
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from device.rig.models import ARTEFACTS
from device.transfer import TransferFile, write_transfer
from models.recipes.hidef.transfer import TrainingBudget, finetune

GEOMETRY = Geometry(0.85, 1.12, 500.0)
UNIT_UM = GEOMETRY.pitch_um**2 / GEOMETRY.wavelength_um
SIDE_PX, DIAMETER_PX = 192, 14


def frames_of_beads(distances_um: tuple[float, ...], beyond_um: float) -> TransferFile:
    """Nine beads a frame in its focal plane, said to lie farther than they do."""
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    truth = np.ones((SIDE_PX, SIDE_PX), np.complex64)
    labels = np.zeros((len(distances_um), SIDE_PX, SIDE_PX), np.uint16)
    for k in range(9):
        row, column = (40 + 55 * n for n in divmod(k, 3))
        disc = np.hypot(y - row, x - column) < DIAMETER_PX / 2
        truth[disc] = 0.8 * np.exp(1.2j)
        for frame in range(len(distances_um)):
            labels[frame][disc] = 9 * frame + k + 1
    seen = [
        np.abs(propagate(truth, pitch_um=GEOMETRY.pitch_um, wavelength_um=GEOMETRY.wavelength_um, distance_um=z)) ** 2
        for z in distances_um
    ]
    return TransferFile(
        instrument_id="0123456789abcdef", instrument_name="some", geometry=GEOMETRY.at(distances_um[0]), depth_um=40.0,
        noise=0.01, aberration_uncertainty_rad=0.0, intensities=np.stack(seen).astype(np.float32),
        distances_um=np.array(distances_um), truth=np.stack([truth] * len(seen)),
        weight=np.where(labels > 0, np.float32(6), np.float32(1)), labels=labels,
        depths_um=np.repeat(distances_um, 9) + beyond_um,
    )  # fmt: skip


def test_a_weaker_lens_lies_farther_by_its_diameter_and_its_scatter_is_stated() -> None:
    file = frames_of_beads((500.0,), 0.0)
    start = backpropagate(file.intensities[0], GEOMETRY)
    part = segment(file.truth[0])[4]
    diameter_px = 2 * np.sqrt(part.mask.sum() / np.pi)
    none, lens, spread = (
        estimate_depth(start, file.truth[0], part, GEOMETRY, DepthSettings(weak_lens=w, weak_lens_deviation=d))
        for w, d in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5))
    )
    assert lens.z_um - none.z_um == pytest.approx(0.5 * diameter_px * UNIT_UM, rel=1e-3)
    assert spread.z_um == none.z_um
    assert spread.uncertainty_um == pytest.approx(np.hypot(none.uncertainty_um, 0.5 * diameter_px * UNIT_UM), rel=1e-3)


def test_first_depths_are_fitted_to_an_instrument_s_own_frames_and_the_network_stays(tmp_path: Path) -> None:
    file = frames_of_beads((490.0, 500.0, 510.0, 520.0), 12.0)
    write_transfer(tmp_path / "own.npz", file)
    old = ModelStore(ARTEFACTS).find("hidef-small")
    found = finetune(tmp_path / "own.npz", old.model, tmp_path / "out", "9.0.0", tmp_path, budget=TrainingBudget(minutes=0.0))
    bundle = ModelStore(tmp_path / "out").find("hidef-small-9.0.0")
    assert bundle.manifest.sha256 == old.manifest.sha256
    assert bundle.manifest.second_look == old.manifest.second_look
    assert [bundle.manifest.refusal(GEOMETRY.at(z)) is None for z in (400.0, 490.0, 520.0, 620.0)] == [False, True, True, False]
    (depths,) = [check for check in found.checks if "depths" in check.name]
    assert depths.after < 0.3 * depths.before
    # On a frame that none of this saw.
    fresh = frames_of_beads((505.0,), 12.0)
    network = HidefNetwork(Interpreter(bundle.model), bundle.manifest)
    start = backpropagate(fresh.intensities[0], fresh.geometry)
    field = np.asarray(fresh.truth[0])
    off_um = [
        estimate_depth(start, field, part, fresh.geometry, network.depth_settings).z_um - 517.0 for part in segment(field)
    ]
    assert abs(np.median(off_um)) < 6


def test_depths_that_contradict_the_frames_kept_aside_are_not_written(tmp_path: Path) -> None:
    near, far = frames_of_beads((490.0, 500.0, 510.0), 25.0), frames_of_beads((520.0,), -25.0)
    labels = np.concatenate([near.labels, np.where(far.labels > 0, far.labels + 27, 0)]).astype(np.uint16)
    both = replace(
        near, labels=labels, depths_um=np.concatenate([near.depths_um, far.depths_um]),
        **{
            name: np.concatenate([getattr(near, name), getattr(far, name)])
            for name in ("intensities", "distances_um", "truth", "weight")
        },
    )  # fmt: skip
    write_transfer(tmp_path / "own.npz", both)
    old = ModelStore(ARTEFACTS).find("hidef-small").model
    with pytest.raises(CheckError, match="first depths"):
        finetune(tmp_path / "own.npz", old, tmp_path / "out", "9.0.0", tmp_path, budget=TrainingBudget(minutes=0.0))
    assert not (tmp_path / "out").exists()
