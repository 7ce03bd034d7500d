"""A mutant is tried in a copy of the tree; the lane says where nothing was tried."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from tests.architecture.test_mutants import FORGIVING, mutant, written_tree
from tests.mutants.trial import Copy
from tests.services import ROOT


def test_a_mutant_is_killed_by_a_test_that_fails_and_the_tree_is_as_it_was(tmp_path: Path) -> None:
    tree = written_tree(tmp_path / "tree")
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
        cwd=ROOT,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout.strip()) == (4, "no mutant is called, or of a file, like 'no such mutant'")
