"""Mutants as they are written down.

A table of a list:

name     for `--only`; no other has it
file     of the sources, from the root of the repository
text     as it stands there, once
becomes  what stands there instead
breaks   in a sentence: the figure or the promise that is then wrong
tests    what must fail then: test files, or tests of them
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["FOLDER", "ROOT", "Mutant", "faults", "listed"]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent


class Mutant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One small wrong."""

    name: str
    file: str
    text: str
    becomes: str
    breaks: str
    tests: tuple[str, ...]

    def applied(self, source: str) -> str:
        """The source with the wrong in it."""
        return source.replace(self.text, self.becomes)

    def fault(self, root: Path) -> str | None:
        """Why it can't be tried on this tree; None where it can."""
        path = root / self.file
        if not path.is_file():
            return f"there is no {self.file}"
        source = path.read_text(encoding="utf-8")
        if (found := source.count(self.text)) != 1:
            return f"its text stands {found} times in {self.file}, expected once"
        if self.text == self.becomes:
            return "it changes nothing"
        try:
            compile(self.applied(source), self.file, "exec")
        except SyntaxError as error:
            return f"{self.file} is no Python with it: {error}"
        return next((told for test in self.tests if (told := _absent(root, test))), None if self.tests else "it names no tests")


def _absent(root: Path, test: str) -> str | None:
    file, _, place = test.partition("::")
    path = root / file
    if not path.is_file():
        return f"there is no {file}"
    function = place.partition("[")[0]
    return None if f"def {function}(" in path.read_text(encoding="utf-8") or not place else f"{file} has no {function}"


def listed(folder: Path = FOLDER) -> list[Mutant]:
    """Every mutant of a folder's lists."""
    return [mutant for path in sorted(folder.glob("*.toml")) for mutant in _read(path)]


def _read(path: Path) -> list[Mutant]:
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    return msgspec.convert(tree["mutant"], list[Mutant])


def faults(mutants: Sequence[Mutant], root: Path = ROOT) -> Iterator[str]:
    """What is wrong with a list, a line each."""
    for name, number in Counter(mutant.name for mutant in mutants).items():
        if number > 1:
            yield f"{name}: {number} mutants have this name"
    for mutant in mutants:
        if (fault := mutant.fault(root)) is not None:
            yield f"{mutant.name}: {fault}"
