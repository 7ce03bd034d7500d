"""An instrument's own frames -> fine-tuned int8 bundle that passes its self-test, on a toy budget (`make test-training`)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device.errors import CheckError, InputError
from device.optics.geometry import Geometry
from device.optics.propagation import propagate
from device.optics.pupil import Pupil
from device.transfer import TransferFile, write_transfer

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

SIDE_PX = 256


def own_frames(frames: int = 4) -> TransferFile:
    """Opaque discs, seen by an instrument with a little astigmatism; the truth is the truth."""
    geometry = Geometry(0.6, 1.4, 700.0, pupil=Pupil((0.6, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0), 0.3))
    shape = (frames, SIDE_PX, SIDE_PX)
    truth, labels, depths_um = np.ones(shape, np.complex64), np.zeros(shape, np.uint16), []
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    for k in range(frames):
        for _ in range(6):
            disc = np.hypot(y - rng.uniform(30, 226), x - rng.uniform(30, 226)) < rng.uniform(4, 9)
            depths_um.append(700.0)
            truth[k][disc], labels[k][disc] = 0.1, len(depths_um)
    optics = {"pitch_um": 1.4, "wavelength_um": 0.6, "distance_um": 700.0, "pupil": geometry.pupil}
    clean = np.stack([np.abs(propagate(field, **optics)) ** 2 for field in truth])
    return TransferFile(
        instrument_id="0123456789abcdef",
        instrument_name="some",
        geometry=geometry,
        depth_um=30.0,
        noise=0.02,
        aberration_uncertainty_rad=0.1,
        intensities=(rng.poisson(clean * 2500) / 2500).astype(np.float32),
        distances_um=np.full(frames, 700.0),
        truth=truth,
        weight=np.where(labels > 0, np.float32(6), np.float32(1)),
        labels=labels,
        depths_um=np.array(depths_um),
    )


def test_a_shipped_model_is_adapted_to_an_instrument_and_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from device.inference.store import ModelStore, verify_golden
    from device.rig.models import ARTEFACTS
    from models.recipes.hidef import transfer as hidef_transfer
    from models.recipes.hidef.transfer import TrainingBudget, finetune

    # A few steps needn't make anything better; that the real limit holds is the next test's matter.
    monkeypatch.setattr(hidef_transfer, "_SAME", 1.5)
    file = own_frames()
    write_transfer(tmp_path / "own.npz", file)
    old = ModelStore(ARTEFACTS).find("hidef")
    toy = TrainingBudget(minutes=0.6, checks=6, peak_rate=1e-4)
    found = finetune(
        tmp_path / "own.npz", old.model, tmp_path / "out", "9.0.0", tmp_path / "work", budget=toy, precision="float32"
    )
    assert {check.passed for check in found.checks} == {True}
    assert sum(check.decides for check in found.checks) == 2
    bundle = ModelStore(tmp_path / "out").find("hidef-9.0.0")
    assert verify_golden(bundle) <= bundle.manifest.golden.tolerance
    assert bundle.manifest.refusal(file.geometry) is None
    assert bundle.manifest.refusal(replace(file.geometry, wavelength_um=0.85)) is not None
    state = json.loads(next((tmp_path / "work").glob("*/state.json")).read_text())
    assert state["start_from"] == old.model.stem
    with pytest.raises(InputError, match="never written over"):
        finetune(tmp_path / "own.npz", old.model, tmp_path / "out", "9.0.0", tmp_path / "work", budget=toy)


def test_what_became_worse_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from device.inference.store import ModelStore
    from device.rig.models import ARTEFACTS
    from models.recipes.hidef import transfer as hidef_transfer

    write_transfer(tmp_path / "own.npz", own_frames(2))
    worse = (hidef_transfer.TransferComparison("own frames", 0.1, 0.2, True),)
    monkeypatch.setattr(hidef_transfer, "compare", lambda *_, **__: worse)
    toy = hidef_transfer.TrainingBudget(minutes=0.2, checks=1)
    old = ModelStore(ARTEFACTS).find("hidef").model
    with pytest.raises(CheckError, match=r"0\.1 before, 0\.2 after"):
        hidef_transfer.finetune(
            tmp_path / "own.npz", old, tmp_path / "out", "9.0.0", tmp_path / "work", budget=toy, precision="float32"
        )
    assert not (tmp_path / "out").exists()
