"""Every system from image to image, simulated, trained, quantised, scored and described, on a toy budget (`make test-training`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.cli import main
from models.recipes.protocol import recipes
from models.training.images import ImageRecipe

pytestmark = [pytest.mark.training, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]

IMAGES = [name for name, recipe in recipes().items() if isinstance(recipe, ImageRecipe)]


@pytest.mark.parametrize("name", IMAGES)
def test_a_toy_of_it_is_trained_and_scored(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, artefacts = ["--work", str(tmp_path / "runs")], ["--artefacts", str(tmp_path / "artefacts")]
    (tmp_path / "artefacts").mkdir()

    def run(action: str, *options: str) -> str:
        status = main([action, name, *work, *artefacts, *options])
        said = capsys.readouterr()
        assert status == 0, said.out + said.err
        return said.out

    run("simulate", "--samples", "8")
    run("train", "--steps", "2", "--only-simulated", "--threads", "1")
    assert f"{name}-0.0.1.tflite" in run("export", "--version", "0.0.1")
    table = run("evaluate", "--fields", "1")
    assert all(baseline in table for baseline in recipes()[name].baselines)
    card = Path(run("card", "--fields", "1", "--out", str(tmp_path)).strip().splitlines()[-1]).read_text()
    assert "Loss against training compute" in card
