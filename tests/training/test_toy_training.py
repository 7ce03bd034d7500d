"""simulate -> train -> int8 -> bundle -> evaluate, on a toy budget (`make test-training`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


def test_a_toy_training_gives_a_bundle_that_passes_its_own_checks(tmp_path: Path) -> None:
    from device.inference.networks import HidefNetwork
    from device.inference.store import ModelStore
    from models.recipes import hidef
    from models.recipes.hidef_evaluation import METRICS
    from models.training.loop import Schedule

    toy = Schedule(steps=30, batch=4, warmup=5, round_steps=10, precision="float32")
    hidef.run_training(tmp_path / "work", toy, seed=11)
    summary = hidef.training_summary(tmp_path / "work")
    assert summary["steps"] == 30
    path = hidef.export(tmp_path / "work", tmp_path / "artefacts", "0.0.1")
    assert path.name == "hidef-0.0.1.tflite"
    bundle, interpreter = ModelStore(tmp_path / "artefacts").open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    field = network.run(np.ones((network.tile_px, network.tile_px), np.complex64))
    assert field.shape == (network.tile_px, network.tile_px)
    assert np.isfinite(field).all()
    table = hidef.bins({"toy": hidef.field_method(network.run, network.tile_px, network.margin_px)}, fields_per_bin=1, seed=5)
    assert {"toy", "backpropagation, true depth"} == set(table[0.0])
    assert set(METRICS) == set(table[0.0]["toy"][0].values)


def test_training_resumes_where_it_stood(tmp_path: Path) -> None:
    from models.recipes import hidef
    from models.training.loop import Schedule

    toy = Schedule(steps=10, batch=4, warmup=5, round_steps=10, precision="float32")
    hidef.run_training(tmp_path, toy, seed=11)
    hidef.run_training(tmp_path, Schedule(steps=20, batch=4, warmup=5, round_steps=10, precision="float32"), seed=11)
    assert hidef.training_summary(tmp_path)["steps"] == 20
