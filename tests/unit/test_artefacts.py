"""Released models: immutable, and signed off by a card that names the file by its content."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from device.errors import InputError
from device.inference.bounds import load_manifest
from device.rig.models import ARTEFACTS
from models.cli import main
from models.recipes.protocol import recipes
from models.training.export import check_free

CARDS = ARTEFACTS.parent / "cards"
MODELS = sorted(ARTEFACTS.glob("*.tflite"))


def test_there_are_models() -> None:
    assert MODELS


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_every_model_has_a_manifest_a_golden_sample_and_a_card_that_names_its_digest(model: Path) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert load_manifest(model.with_suffix(".toml")).sha256 == digest
    assert model.with_suffix(".npz").is_file()
    card = (CARDS / f"{model.stem}.md").read_text(encoding="utf-8")
    assert f"| SHA-256 | {digest} |" in card


@pytest.mark.parametrize("card", sorted(CARDS.glob("*.md")), ids=lambda path: path.stem)
def test_every_card_is_of_a_model_that_is_here(card: Path) -> None:
    # A system without anything trained has a card and no file.
    assert (ARTEFACTS / f"{card.stem}.tflite").is_file() or card.stem in recipes()


def test_a_released_version_is_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    name, _, version = MODELS[0].stem.rpartition("-")
    with pytest.raises(InputError, match="never written over"):
        check_free(ARTEFACTS, name, version)
    hidef = next(m for m in MODELS if m.stem.startswith("hidef-"))
    assert main(["export", "hidef", "--version", hidef.stem.removeprefix("hidef-")]) == 2
    assert "never written over" in capsys.readouterr().err


def test_what_is_left_of_a_bundle_takes_its_version_too(tmp_path: Path) -> None:
    (tmp_path / "some-1.0.0.toml").touch()
    with pytest.raises(InputError, match=r"some-1\.0\.0\.toml"):
        check_free(tmp_path, "some", "1.0.0")
    assert check_free(tmp_path, "some", "1.0.1") == tmp_path / "some-1.0.1.tflite"


@pytest.mark.parametrize("version", ["1.0", "1.0.0-rc1", "../1.0.0", ""])
def test_what_is_no_version_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(InputError, match="no version"):
        check_free(tmp_path, "some", version)
