"""The list of mutants keeps up with the sources; whether each is killed is `make test-mutants`'s to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.catalogue import Mutant, faults, listed

FORGIVING = """def volume_ml(asked_ml: float, metered_ml: float) -> float:
    return metered_ml
"""
TEST = """from device.pump import volume_ml

def test_the_volume_is_the_metered_one():
    assert volume_ml(5.0, 4.0) == 4.0

def test_of_nothing():
    assert volume_ml(0.0, 0.0) == 0.0
"""


def mutant(**changes: object) -> Mutant:
    plain = {
        "name": "as asked", "file": "device/pump.py", "text": "return metered_ml", "becomes": "return asked_ml",
        "breaks": "the volume is the one that was asked for", "tests": ("tests/test_pump.py",),
    }  # fmt: skip
    return Mutant(**(plain | changes))  # type: ignore[arg-type]


def test_every_mutant_can_be_tried_on_the_sources_as_they_are() -> None:
    assert list(faults(listed())) == []


def test_there_are_a_hundred_mutants_and_more_and_each_says_what_it_breaks() -> None:
    mutants = listed()
    assert len(mutants) >= 100
    assert all(len(mutant.breaks) > 20 for mutant in mutants)
    assert len({mutant.file for mutant in mutants}) >= 30


def written_tree(root: Path) -> Path:
    """A small project with one test module."""
    for path, content in (("device/__init__.py", ""), ("device/pump.py", FORGIVING), ("tests/test_pump.py", TEST)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return written_tree(tmp_path / "tree")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"file": "device/valve.py"}, "no device/valve.py"),
        ({"text": "return nothing"}, "0 times"),
        ({"text": "metered_ml", "becomes": "asked_ml"}, "2 times"),
        ({"becomes": "return metered_ml"}, "changes nothing"),
        ({"becomes": "return ("}, "no Python"),
        ({"tests": ()}, "no tests"),
        ({"tests": ("tests/test_pump.py::test_gone",)}, "no test_gone"),
    ],
)
def test_a_mutant_that_fell_behind_the_sources_says_how(tree: Path, changes: dict[str, object], reason: str) -> None:
    assert reason in (mutant(**changes).fault(tree) or "")
