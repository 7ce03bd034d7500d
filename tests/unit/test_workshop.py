"""The workshop's command line and curves; nothing here needs the training extra."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.inference.bounds import load_manifest
from device.rig.models import ARTEFACTS
from models.cli import main
from models.recipes.protocol import recipes
from models.training.curves import curve_picture, write_curve

ROOT = Path(__file__).resolve().parents[2]
CURVE = [[k * 250, k * 131.0, 0.1 / k**0.3] for k in range(1, 20)]


def test_a_curve_is_a_table_and_a_picture(tmp_path: Path) -> None:
    write_curve(CURVE, tmp_path)
    with (tmp_path / "curve.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["step", "megapixels", "loss"]
    assert [float(v) for v in rows[3]] == pytest.approx(CURVE[2])
    picture = cv2.imread(str(tmp_path / "curve.png"))
    assert picture is not None
    assert picture.shape[2] == 3


def test_the_curve_falls_from_left_to_right() -> None:
    picture = curve_picture(CURVE).astype(int)
    blue = (np.abs(picture - np.array([160, 90, 30])).sum(axis=2)) < 30
    rows = [np.flatnonzero(blue[:, x]).mean() for x in (120, 500, 850)]
    assert rows[0] < rows[1] < rows[2]


@pytest.mark.parametrize("curve", [[], [[10, 1.0, 0.5]], [[10, 1.0, 0.5], [20, 2.0, 0.5]]])
def test_short_and_flat_curves_are_curves(tmp_path: Path, curve: list[list[float]]) -> None:
    write_curve(curve, tmp_path)
    assert (tmp_path / "curve.csv").is_file()
    assert (tmp_path / "curve.png").is_file() == (len(curve) > 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune", "hidef", "--version", "9.0.0", "--out", "x"], "--frames FILE"),
        (["finetune", "hidef", "--version", "9.0.0", "--out", "x", "--frames", "a", "--labels", "b"], "--frames FILE"),
        (["finetune", "bioaerosol", "--version", "9.0.0", "--out", "x", "--frames", "a"], "--labels FILE"),
        (["finetune", "hidef", "--version", "9", "--out", "x", "--frames", "a"], "major.minor.patch"),
        (["finetune", "hidef", "--version", "9.0.0", "--out", "x", "--frames", "a", "--cpu-minutes", "-1"], "--cpu-minutes"),
        (["finetune", "hidef", "--version", "9.0.0", "--out", "x", "--frames", "a", "--start-from", "none"], "no such model"),
        (["train", "hidef", "--seconds", "-1"], "--seconds"),
        (["train", "bioaerosol", "--start-from", "hidef"], "it names other things"),
        (["train", "bioaerosol", "--steps", "9"], "hidef, hidef-low-photon, hidef-small"),
        (["train", "hidef", "--epochs", "9"], "an option of beads, bioaerosol, water"),
        (["evaluate", "water", "--sharpness=9"], "no such option"),
        (["train", "--seed", "-1", "hidef"], "--seed"),
        (["train", "pollen"], "'hidef-small'"),
    ],
)
def test_what_can_not_be_done_is_said_before_anything_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(arguments)
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_recipes_are_found_with_what_they_are_and_nothing_heavy_is_imported_for_it() -> None:
    said = "import sys; from models.cli import main; import contextlib\nwith contextlib.suppress(SystemExit): main(['train', '--help'])\n"
    heavy = "print([name for name in ('numpy', 'scipy', 'cv2', 'keras', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", said + heavy], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
    for recipe in recipes().values():
        assert " ".join(recipe.summary.split()[:2]) in done.stdout


def test_every_model_that_ships_has_a_recipe_of_its_name() -> None:
    for model in ARTEFACTS.glob("*.toml"):
        assert load_manifest(model).name in recipes()


def test_what_hidef_learns_from_is_simulated_without_training_and_not_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert main(["simulate", "--samples", "3", "--work", str(tmp_path), "hidef-small"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert int(first.split()[0]) >= 3
