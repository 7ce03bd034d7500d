"""A copy of the tree, a mutant in it, and what the tests say. The checkout is never touched."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import py_compile
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.mutants.catalogue import FOLDER, ROOT, Mutant

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
_LONGEST_S, _LONGEST_WHOLE_S = 600.0, 3600.0
"""For the tests of one mutant, and for all of them without any, on a machine that has much else to do."""
_ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads of libraries don't survive a fork."""


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
        self._runner = self._started()

    def unchanged(self, tests: Iterable[str]) -> str | None:
        """What the tests say of the tree as it is; None where they pass."""
        code, output = self._pytest(sorted(set(tests)), _LONGEST_WHOLE_S)
        return None if code == _PASSED else f"{output}\npytest ended with {code}."

    def tried(self, mutant: Mutant) -> Verdict:
        """The verdict of its tests; afterwards the tree is as it was."""
        if (fault := mutant.fault(self.root)) is not None:
            return Verdict("not tried", fault)
        path = self.root / mutant.file
        source = path.read_text(encoding="utf-8")
        path.write_text(mutant.applied(source), encoding="utf-8")
        try:
            code, output = self._pytest(mutant.tests, _LONGEST_S)
        except TimeoutError:
            return Verdict("not tried", f"its tests took longer than {_LONGEST_S:g} s")
        finally:
            path.write_text(source, encoding="utf-8")
        if code == _FAILED:
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
            return Verdict("killed", failed[1] if failed else "")
        if code == _PASSED:
            return Verdict("survived", mutant.breaks)
        return Verdict("not tried", f"pytest ended with {code}:\n{output[-2000:]}")

    def close(self) -> None:
        """End its process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._runner.pid, signal.SIGKILL)
        self._runner.communicate()

    def _started(self) -> subprocess.Popen[str]:
        environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": str(self.root)}
        return subprocess.Popen(
            [sys.executable, FOLDER / "warm.py"], cwd=self.root, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def _pytest(self, tests: Iterable[str], longest_s: float) -> tuple[int, str]:
        """What pytest ends with and says; TimeoutError where it doesn't end."""
        output = self.root / "pytest.txt"
        call = [["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests], str(output)]
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(json.dumps(call) + "\n")
        self._runner.stdin.flush()
        ended = self._runner.stdout.readline() if select.select([self._runner.stdout], [], [], longest_s)[0] else ""
        if not ended:
            self.close()
            self._runner = self._started()
            raise TimeoutError
        return int(ended), output.read_text(encoding="utf-8", errors="replace")
