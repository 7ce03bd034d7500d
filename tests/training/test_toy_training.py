"""simulate -> train -> int8 -> bundle -> evaluate, on a toy budget (`make test-training`)."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


def test_a_toy_training_gives_a_bundle_that_passes_its_own_checks(tmp_path: Path) -> None:
    from device.inference.networks import HidefNetwork
    from device.inference.store import ModelStore
    from models.recipes.hidef import one_pass as hidef
    from models.recipes.hidef.evaluation import METRICS
    from models.recipes.hidef.recipe import RECIPES
    from models.training.loop import TrainingSchedule

    toy = TrainingSchedule(steps=30, batch=4, warmup=5, round_steps=10, precision="float32")
    recipe, work = RECIPES[0], tmp_path / "work"
    recipe.learn(work, toy, seed=11)
    assert json.loads((work / "hidef" / "state.json").read_text())["step"] == 30
    path = recipe.export(argparse.Namespace(work=work, artefacts=tmp_path / "artefacts", version="0.0.1"))
    assert path.name == "hidef-0.0.1.tflite"
    bundle, interpreter = ModelStore(tmp_path / "artefacts").open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    field = network.run(np.ones((network.tile_px, network.tile_px), np.complex64))
    assert field.shape == (network.tile_px, network.tile_px)
    assert np.isfinite(field).all()
    # Seams: larger tiles of the same file, and a frame that is no multiple of anything.
    from device.analysis.reconstruct import run_tiles

    rng = np.random.default_rng(3)
    start = (1 + rng.normal(0, 0.1, (400, 600)) + 1j * rng.normal(0, 0.1, (400, 600))).astype(np.complex64)
    whole, tiled = network.run(start[:, :592]), run_tiles(start, replace(network, manifest=_fixed(bundle.manifest))).field
    inner = np.abs(whole - tiled[:, :592])[40:-40, 40:-40]
    assert inner.max() <= 4 * bundle.manifest.output.scale
    table = hidef.bins({"toy": hidef.field_method(network)}, fields_per_bin=1, seed=5)
    assert {"toy", "backpropagation, true depth"} == set(table[0.0])
    assert set(METRICS) == set(table[0.0]["toy"][0].values)


def _fixed(manifest):
    """As if the file took nothing but its own tile."""
    import msgspec

    return msgspec.structs.replace(manifest, input=msgspec.structs.replace(manifest.input, multiple_px=0))


def test_weights_come_back_out_of_a_file(tmp_path: Path) -> None:
    from models.recipes.hidef.network import SIZES
    from models.training.export import to_tflite
    from models.training.restore import restore_weights

    small = SIZES["hidef-small"]
    model = small.build()
    for layer in model.layers:
        for weight in layer.weights:
            weight.assign(weight + np.random.default_rng(weight.shape[0]).normal(0, 0.02, weight.shape))
    shipped = small.for_export(model, tile_px=64)
    tile = np.random.default_rng(1).normal(0, 0.3, (1, 64, 64, 2)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(shipped(tile)), np.asarray(model(tile)), atol=2e-5)
    for name, samples, tolerance in (("plain", None, 1e-6), ("int8", [tile] * 8, 0.02)):
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(to_tflite(shipped, samples))
        again = small.build()
        restore_weights(again, file)
        for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(one, other, atol=max(tolerance * np.abs(other).max(), 1e-6))


def test_a_wider_network_starts_from_a_narrower_ones_weights(tmp_path: Path) -> None:
    from models.training.export import to_tflite
    from models.training.restore import restore_weights
    from models.training.unet import UNet

    narrow, wide = UNet((8, 16), inputs=2), UNet((8, 16), inputs=3)
    model, wider = narrow.build(), wide.build()
    file = tmp_path / "narrow.tflite"
    file.write_bytes(to_tflite(narrow.for_export(model, 32), None))
    restore_weights(wider, file)
    tile = np.random.default_rng(1).normal(0, 0.3, (1, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(wider(tile)), np.asarray(model(tile[..., :2])), atol=1e-5)


def test_training_resumes_where_it_stood(tmp_path: Path) -> None:
    from models.recipes.hidef.recipe import RECIPES
    from models.training.loop import TrainingSchedule

    toy = TrainingSchedule(steps=10, batch=4, warmup=5, round_steps=10, precision="float32")
    RECIPES[0].learn(tmp_path, toy, seed=11)
    RECIPES[0].learn(tmp_path, replace(toy, steps=20), seed=11)
    assert json.loads((tmp_path / "hidef" / "state.json").read_text())["step"] == 20
