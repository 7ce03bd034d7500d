"""frames -> crops -> network -> int8 bundle -> figures -> learning on from labels, on a toy budget (`make test-training`)."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


def test_a_toy_classifier_is_trained_exported_scored_and_learns_on_from_labels(tmp_path: Path) -> None:
    from device.errors import CheckError
    from device.inference.store import ModelStore
    from device.rig.models import ARTEFACTS
    from models.recipes.bioaerosol import classes as bioaerosol
    from models.training.classifier_finetune import finetune_classifier
    from models.training.classify import Fit, export, run_training
    from models.training.scoring import evaluate, table_lines

    bench = replace(bioaerosol.RECIPE.bench, field_px=320, per_field=12, planes=2, margin_px=8)
    frames = {"train": 6, "calibration": 4, "test": 4, "look_alikes": 1}
    recipe = replace(bioaerosol.RECIPE, bench=bench, frames=frames)
    store = ModelStore(tmp_path / "artefacts")
    (tmp_path / "artefacts").mkdir()
    for path in ModelStore(ARTEFACTS).find("hidef").model.parent.glob("hidef-*"):
        shutil.copy(path, tmp_path / "artefacts")
    how = Fit(epochs=3, batch=8, precision="float32")

    work = tmp_path / "work"
    run_training(recipe, work, store, how)
    path = export(recipe, work, store, tmp_path / "artefacts", "0.0.1")
    assert path.stat().st_size <= 200_000
    bundle = store.find("bioaerosol")
    assert len(bundle.manifest.conformal_quantiles) == len(recipe.labels) == bundle.manifest.output.shape[1] - 1

    figures = evaluate(recipe, work, store)
    assert figures.confusion.sum() == figures.crops > 10
    assert 0 <= figures.balanced[1] <= figures.balanced[0] <= figures.balanced[2] <= 1
    assert any("olive" in line for line in table_lines(figures, recipe.labels))

    crops = recipe.crops(work, "train", store)
    file = tmp_path / "labelled.npz"
    labels = np.where(np.isin(crops.names, recipe.labels), crops.names, "something-else")
    np.savez(file, images=crops.images.astype(np.float32), labels=labels, esd_um=crops.esd_um)
    try:
        found = finetune_classifier(recipe, work, bundle, file, tmp_path / "out", "0.0.2", store=store, how=how)
    except CheckError as error:
        assert "nothing was written" in str(error)  # noqa: PT017  a toy may get worse; then it must not be kept
        assert not (tmp_path / "out" / "bioaerosol-0.0.2.tflite").exists()
    else:
        assert found.after >= found.before
        assert ModelStore(tmp_path / "out").find("bioaerosol").manifest.version == "0.0.2"
