"""The list of mutants keeps up with the sources; whether each is killed is `make test-mutants`'s to say."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.catalogue import Mutant, faults, listed
from tests.mutants.trial import Copy

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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for path, content in (("device/__init__.py", ""), ("device/pump.py", FORGIVING), ("tests/test_pump.py", TEST)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return root


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


def test_a_mutant_is_killed_by_a_test_that_fails_and_the_tree_is_as_it_was(tree: Path, tmp_path: Path) -> None:
    with contextlib.closing(Copy(tmp_path / "copy", tree)) as copy:
        assert copy.unchanged(["tests/test_pump.py"]) is None
        verdict = copy.tried(mutant())
        assert (verdict.outcome, verdict.told) == ("killed", "tests/test_pump.py::test_the_volume_is_the_metered_one")
        survived = copy.tried(mutant(tests=("tests/test_pump.py::test_of_nothing",)))
        assert survived.outcome == "survived"
        # A mutant of which no test can even begin proves nothing.
        assert copy.tried(mutant(text="def volume_ml", becomes="def volume_l")).outcome == "not tried"
        assert copy.unchanged(["tests/test_pump.py"]) is None
    assert (tree / "device/pump.py").read_text() == FORGIVING


def test_the_lane_ends_with_4_where_nothing_was_tried() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "--only", "no such mutant"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.strip()) == (4, "no mutant is called, or of a file, like 'no such mutant'")
