"""A copy of the tree, a mutant in it, and what the tests say. The checkout is never touched."""

from __future__ import annotations

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.catalogue import ROOT, Mutant

__all__ = ["Copy", "Verdict"]

_PARTS = (
    "device",
    "models",
    "calibration",
    "deploy",
    "tests",
    "docs",
    "requirements",
    "pyproject.toml",
    "README.md",
    "Makefile",
)
_FAILED, _PASSED = 1, 0
"""What pytest ends with; anything else is no verdict of a test."""
_LONGEST_S = 600.0
"""For the tests of one mutant, on a machine that has much else to do."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    outcome: Literal["killed", "survived", "not tried"]
    told: str
    """The test that failed, or why there is no verdict."""


class Copy:
    """A tree of one's own in a folder; one mutant at a time."""

    def __init__(self, folder: Path, root: Path = ROOT) -> None:
        self.root = folder
        for part in _PARTS:
            if (root / part).is_dir():
                shutil.copytree(
                    root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "build", "node_modules")
                )
            elif (root / part).exists():
                shutil.copy2(root / part, folder / part)
        # Found by content: a mutant of the same length within the same second must not run as the original.
        compileall.compile_dir(folder, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)

    def unchanged(self, tests: Iterable[str]) -> str | None:
        """What the tests say of the tree as it is; None where they pass."""
        code, output = self._pytest(sorted(set(tests)))
        return None if code == _PASSED else output

    def tried(self, mutant: Mutant) -> Verdict:
        """The verdict of its tests; afterwards the tree is as it was."""
        if (fault := mutant.fault(self.root)) is not None:
            return Verdict("not tried", fault)
        path = self.root / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.applied(source), encoding="utf-8")
        try:
            code, output = self._pytest(mutant.tests)
        except subprocess.TimeoutExpired:
            return Verdict("not tried", f"its tests took longer than {_LONGEST_S:g} s")
        finally:
            path.write_text(source, encoding="utf-8")
        if code == _FAILED:
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
            return Verdict("killed", failed[1] if failed else "")
        if code == _PASSED:
            return Verdict("survived", mutant.breaks)
        return Verdict("not tried", f"pytest ended with {code}:\n{output[-2000:]}")

    def _pytest(self, tests: Iterable[str]) -> tuple[int, str]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
        return done.returncode, done.stdout + done.stderr
