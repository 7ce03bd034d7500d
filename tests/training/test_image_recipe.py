"""A folder that declares an image recipe is all it takes: simulate -> train -> int8 -> evaluate -> card (`make test-training`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import ROOT

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

RECIPE = '''"""Blurred squares made sharp."""

from models.training.images import ImageRecipe
from models.training.losses import weighted_image_loss
from models.training.unet import UNet

RECIPES = (
    ImageRecipe(
        name="sharper", summary="blurred squares made sharp", package="sharper", task="image",
        inputs=("intensity", "noise"), outputs=("intensity",),
        optics={"wavelength_um": (0.3, 1.0), "pitch_um": (1.0, 2.0), "distance_um": (1.0, 2.0), "defocus_um": 1.0, "defocus_number": (0.1, 9.0)},
        network=UNet((8, 16), inputs=2, outputs=1), tile_px=64, capacity=64, steps=6, batch=4, precision="float32",
        text={"task": "Sharpens.", "data": "Squares.", "scored": "Discs.", "limits": "A toy."},
        baselines=("as it came",), loss=weighted_image_loss,
    ),
)
'''

SCENES = '''"""Squares."""

import cv2
import numpy as np


def samples(seed):
    rng = np.random.default_rng(seed)
    while True:
        out = np.ones((4, 64, 64, 4), np.float32)
        for sample in out:
            y, x = rng.integers(8, 40, 2)
            truth = np.zeros((64, 64), np.float32)
            truth[y : y + 12, x : x + 12] = 1
            sample[..., 0], sample[..., 1], sample[..., 2] = cv2.GaussianBlur(truth, (0, 0), 2.0), 0.1, truth
        yield out
'''

SCORING = '''"""Discs."""

import cv2
import numpy as np

from device.analysis.image_tiles import run_image
from models.training.hallucination import Insertion, feature_lines, strange_shape
from models.training.tables import Bar, bar_lines, score_lines


def report(network, count):
    rng = np.random.default_rng(99)
    y, x = np.mgrid[:100, :90]
    scores, insertions = {"network": [], "as it came": []}, []

    def seen(truth):
        blurred = cv2.GaussianBlur(truth, (0, 0), 2.0)
        return blurred, run_image(np.stack([blurred, np.full_like(blurred, 0.1)], axis=-1), network)[..., 0]

    for _ in range(count):
        truth = (np.hypot(y - rng.uniform(20, 80), x - rng.uniform(20, 70)) < 9).astype(np.float32)
        strange = truth.copy()
        strange[70:90, 60:80] = np.maximum(strange[70:90, 60:80], strange_shape(rng, 20))
        (blurred, found), (_, found_with) = seen(truth), seen(strange)
        for name, image in (("network", found), ("as it came", blurred)):
            scores[name].append({"error": float(np.abs(image - truth).mean())})
        insertions.append(Insertion(found_with, found, strange, truth, [(slice(0, 20), slice(0, 20))]))
    bars = [Bar("network", "error", most=0.0, against="as it came")]
    return [*score_lines(scores, ["error"]), "", *bar_lines(bars, scores), "", *feature_lines({"network": insertions})]
'''

START = """
import sys
import models.recipes
models.recipes.__path__.append({recipes!r})
from models.cli import main
sys.exit(main(sys.argv[1:]))
"""


def holonode_models(folder: Path, *arguments: str) -> str:
    environment = dict(os.environ, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}", TF_CPP_MIN_LOG_LEVEL="2")
    command = [
        sys.executable,
        str(folder / "start.py"),
        arguments[0],
        "sharper",
        "--work",
        str(folder / "runs"),
        *arguments[1:],
    ]
    command += ["--artefacts", str(folder / "artefacts")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_folder_is_a_recipe(tmp_path: Path) -> None:
    package = tmp_path / "recipes" / "sharper"
    package.mkdir(parents=True)
    for name, text in (("__init__", '"""A toy."""\n'), ("recipe", RECIPE), ("scenes", SCENES), ("scoring", SCORING)):
        (package / f"{name}.py").write_text(text)
    (tmp_path / "sitecustomize.py").write_text(
        f"import models.recipes\nmodels.recipes.__path__.append({str(tmp_path / 'recipes')!r})\n"
    )
    (tmp_path / "start.py").write_text(START.format(recipes=str(tmp_path / "recipes")))
    (tmp_path / "artefacts").mkdir()
    assert "64 tiles" in holonode_models(tmp_path, "simulate", "--samples", "64")
    holonode_models(tmp_path, "train", "--only-simulated", "--threads", "1")
    assert "sharper-0.0.1.tflite" in holonode_models(tmp_path, "export", "--version", "0.0.1")
    table = holonode_models(tmp_path, "evaluate", "--fields", "3")
    assert "| network | 3 |" in table
    assert "| network: error, over as it came <= 0 |" in table
    assert "invented" in table
    card = Path(holonode_models(tmp_path, "card", "--fields", "3").strip())
    assert "Loss against training compute" in (tmp_path / card).read_text()
