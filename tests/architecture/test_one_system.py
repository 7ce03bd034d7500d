"""A learned system with several named tensors is one folder, task and recipe: added without touching another file, it is made,
scored and carded by `holonode-models`, installed, opened by its role and asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ROOT

FOLDER = Path(__file__).with_name("one_system")

ADDED = """
import device.inference.tasks, models.recipes
device.inference.tasks.__path__.append({folder!r})
models.recipes.__path__.append({folder!r})
"""
"""Every process of the test has the folder beside the others' from its start on, the self-test's child too."""

LIFE = """
import json, sys
from pathlib import Path
import msgspec, numpy as np
from device.cli import main as holonode
from device.config import AnalysisConfig, load_config
from device.errors import HolonodeError
from device.optics.geometry import Geometry
from device.rig.models import build_pipeline, model_store, open_models
from models.cli import main
box = Path(sys.argv[1])
made = ["--work", str(box / "runs"), "--artefacts", str(box / "made")]
told = {}
for action, *more in (["simulate", "--rows", "40"], ["train"], ["export", "--version", "1.0.0"], ["evaluate"], ["card"]):
    told[action] = main([action, "shading", *made, *more])
told["finetune"] = main(["finetune", "shading", *made, "--version", "1.0.1", "--out", str(box / "out")])
told["install"] = holonode(["models", "install", str(box / "made" / "shading-1.0.0.tflite"), "--config", str(box / "box.toml")])
told["activate"] = holonode(["models", "activate", "shading", "--config", str(box / "box.toml")])
config = load_config(str(box / "box.toml"))
opened = open_models(model_store(config), config.analysis, Geometry(0.85, 1.12, 500.0))
told["roles"] = {role: msgspec.to_builtins(one.bundle.use) for role, one in opened.items()}
rows = np.array([[0.5] * 8, [-0.5] * 8], np.float32), np.array([[1.0], [2.0]], np.float32)
told["edge"], told["size"] = (values.tolist() for values in opened["shading"].network.judge(*rows))
pipeline, _ = build_pipeline(model_store(config), config.analysis, Geometry(0.85, 1.12, 500.0))
told["records"], told["seats"] = msgspec.to_builtins(pipeline.models), list(pipeline.networks)
wrong = {
    "unknown": ({"shadng": "shading"}, 1.12), "own": ({"classification": "water"}, 1.12), "other": ({"shading": "hidef"}, 1.12),
    "far": ({"shading": "shading"}, 3.0),
}
for name, (models, pitch_um) in wrong.items():
    try:
        open_models(model_store(config), AnalysisConfig(models=models), Geometry(0.85, pitch_um, 500.0), strict=False)
    except HolonodeError as error:
        told[name] = str(error)
(box / "told.json").write_text(json.dumps(told))
"""

CONFIG = """
[analysis.models]
shading = "shading"
[storage]
folder = "{store}"
"""


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path, str]:
    """(what the folder's system said, where it was made, what was printed)."""
    box = tmp_path_factory.mktemp("box")
    (box / "sitecustomize.py").write_text(ADDED.format(folder=str(FOLDER)))
    (box / "box.toml").write_text(CONFIG.format(store=box / "store"))
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join((str(box), str(ROOT)))}
    done = subprocess.run(
        [sys.executable, "-c", LIFE, str(box)], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((box / "told.json").read_text()), box, done.stdout + done.stderr


def test_the_command_makes_scores_and_cards_it(life: tuple[dict, Path, str]) -> None:
    told, box, said = life
    assert {told[action] for action in ("simulate", "train", "export", "evaluate", "card")} == {0}
    assert "| learned | 0.000" in said
    card = (box / "runs" / "shading" / "shading-1.0.0.md").read_text()
    assert "| shadow | [1, 8]: pixel_0" in card
    assert "| level | [1, 1]: lamp |" in card
    assert told["finetune"] == 2
    assert "this recipe can't be fine-tuned" in said


def test_the_box_installs_it_and_opens_it_by_its_role(life: tuple[dict, Path, str]) -> None:
    told, _, _ = life
    assert (told["install"], told["activate"]) == (0, 0)
    assert list(told["roles"]) == ["reconstruction", "low_photon", "classifier", "shading"]
    assert told["roles"]["shading"]["version"] == "1.0.0"
    # What waits for a frame of few photons took no part yet.
    assert told["records"] == {role: use for role, use in told["roles"].items() if role != "low_photon"}
    assert told["seats"] == ["shading"]
    assert "the shading model doesn't cover this instrument" in told["far"]
    assert "pitch_um 3 is outside 1 to 2" in told["far"]
    assert "Its model is set by analysis.classifier_model" in told["own"]
    assert "analysis.models.shadng" in told["unknown"]
    assert "expected a bundle for shading" in told["other"]


def test_each_tensor_is_the_one_of_its_name(life: tuple[dict, Path, str]) -> None:
    told, _, _ = life
    weights = [-1 + 2 * k / 7 for k in range(8)]
    for row, sign in zip(told["edge"], (0.5, -0.5), strict=True):
        assert row == pytest.approx([sign * w for w in weights], abs=0.04)
    assert [value for row in told["size"] for value in row] == pytest.approx([0.5, -1.25, 1.0, -2.5], abs=0.01)
