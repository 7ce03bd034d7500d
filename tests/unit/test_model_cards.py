"""Cards are figures or nothing, and never take the place of a shipped one unasked."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.errors import CheckError
from models.cli import main

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "cards"


@pytest.mark.parametrize(
    "arguments",
    [
        ["card", "hidef", "--fields", "0"],
        ["card", "hidef", "--fields", "-3"],
        ["evaluate", "hidef-small", "--fields", "nan"],
        ["train", "bioaerosol", "--epochs", "0"],
        ["train", "hidef", "--seconds", "nan"],
        ["train", "hidef", "--threads", "0"],
        ["finetune", "hidef", "--version", "9.9.9", "--out", "x", "--cpu-minutes", "inf"],
    ],
)
def test_numbers_that_score_nothing_are_bad_input_and_no_card_changes(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in SHIPPED.iterdir()}
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "expected a" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in SHIPPED.iterdir()} == before


@pytest.mark.parametrize("recipe", ["hidef", "hidef-small", "bioaerosol", "water", "beads"])
def test_a_card_lies_where_it_is_asked_for_and_replaces_none_unasked(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in SHIPPED.iterdir()}
    monkeypatch.setattr("models.cli._lines", lambda _: ["| a | 1.0 |"])
    assert main(["card", recipe, "--out", str(tmp_path)]) == 0
    (card,) = tmp_path.iterdir()
    assert "| a | 1.0 |" in card.read_text()
    assert main(["card", recipe, "--out", str(tmp_path)]) == 2
    assert "--replace" in capsys.readouterr().err
    assert main(["card", recipe, "--out", str(tmp_path), "--replace"]) == 0
    assert {path: path.read_bytes() for path in SHIPPED.iterdir()} == before


def test_a_table_without_figures_becomes_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.cli._lines", lambda _: ["| a | nan (nan to nan) |"])
    assert main(["card", "hidef", "--out", str(tmp_path)]) == CheckError.exit_status
    assert list(tmp_path.iterdir()) == []
