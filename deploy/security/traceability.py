"""requirements.toml as values, and as the page that people read."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from device.text import say
from device.tomlfile import load_toml

__all__ = ["PAGE", "Provision", "Standard", "main", "page", "standards"]

_FOLDER = Path(__file__).parent
_TABLE = _FOLDER / "requirements.toml"
PAGE = _FOLDER / "requirements.md"

_HEAD = """# What standards ask, and the test that shows it

Made by `python -m deploy.security` of requirements.toml. Titles are in our words: the standards themselves are their publishers'. No certification is claimed, and nobody but us has judged these lines. A line without a test says why there is none.
"""


class Provision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line."""

    id: str
    """As the standard numbers it."""
    asks: str
    """What is asked, in our words."""
    how: str = ""
    """How it is met; empty where it is left out."""
    tests: tuple[str, ...] = ()
    """`path::name` of tests that show it."""
    left_out: str = ""
    """Why no test shows it; empty where tests do."""

    def __post_init__(self) -> None:
        if bool(self.left_out) == bool(self.tests) or bool(self.how) != bool(self.tests):
            raise ValueError(f"provision {self.id}: either how and tests, or left_out")


class Standard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One document."""

    name: str
    edition: str
    about: str
    """How it is read here."""
    provision: tuple[Provision, ...]


class _Requirements(Struct, frozen=True, forbid_unknown_fields=True):
    standard: tuple[Standard, ...]


def standards() -> tuple[Standard, ...]:
    """Of the table; InputError where a line is wrong."""
    return load_toml(_TABLE, _Requirements).standard


def page(all_of_them: tuple[Standard, ...]) -> str:
    """The page, Markdown."""
    met = sum(bool(one.tests) for standard in all_of_them for one in standard.provision)
    total = sum(len(standard.provision) for standard in all_of_them)
    lines = [_HEAD, f"{met} of {total} lines are shown by tests; {total - met} are left out, each for its reason.", ""]
    for standard in all_of_them:
        lines += [f"## {standard.name}, {standard.edition}", "", standard.about, "", "| | asks | |", "|---|---|---|"]
        lines += [f"| {one.id} | {one.asks} | {_cell(one)} |" for one in standard.provision]
        lines.append("")
    return "\n".join(lines)


def _cell(one: Provision) -> str:
    if one.left_out:
        return f"*left out:* {one.left_out}"
    tests = ", ".join(
        f"[{name.removeprefix('test_').replace('_', ' ')}](../../{path})"
        for path, _, name in (test.partition("::") for test in one.tests)
    )
    return f"{one.how}: {tests}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(standards()), encoding="utf-8")
    say(f"{PAGE} written")
