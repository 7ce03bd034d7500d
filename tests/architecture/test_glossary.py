"""The glossary: its words are the code's, and what they replaced stays away."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import msgspec

from device.messaging.contract import asyncapi
from tests.architecture.tree import ROOT, modules

_PAGE = (ROOT / "device/glossary.md").read_text(encoding="utf-8")
_WORDS, _RETIRED = _PAGE.split("## Retired words")


def _rows(text: str) -> list[list[str]]:
    """The cells of every row below a table's head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return [row for k, row in enumerate(rows) if "---" not in row and (k + 1 == len(rows) or "---" not in rows[k + 1])]


def _quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@cache
def _identifiers() -> frozenset[str]:
    """Names in the code, and those of its modules and packages."""
    return frozenset(
        name for path in modules() for name in (*path.relative_to(ROOT).with_suffix("").parts, *_names(path.read_text("utf-8")))
    )


def _names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "asname"):
            if isinstance(name := getattr(node, field, None), str):
                yield name


@cache
def _wire_words() -> frozenset[str]:
    """Strings of the code that are one word, and every key and word of the MQTT contract."""
    strings = (
        node.value
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
    )
    contract = re.findall(r'"(\w+)"', msgspec.json.encode(asyncapi()).decode())
    return frozenset(word for word in strings if isinstance(word, str) and word.isidentifier()) | frozenset(contract)


def test_every_term_is_in_the_code_or_on_the_wire() -> None:
    known = _identifiers() | _wire_words()
    assert not [(term, name) for term, names, *_ in _rows(_WORDS) for name in _quoted(names) if name not in known]
    assert not [term for term, names, *_ in _rows(_WORDS) if not _quoted(names)]


def test_every_term_stands_once_in_its_place_with_one_sentence() -> None:
    for part in _WORDS.split("\n## ")[1:]:
        terms = [row[0] for row in _rows(part)]
        assert terms == sorted(set(terms))
    terms = [row[0] for row in _rows(_WORDS)]
    assert len(terms) == len(set(terms)) > 50
    assert not [row for row in _rows(_WORDS) if len(row) != 4 or not re.fullmatch(r"[A-Z][^.]*(\.\d[^.]*)*\.", row[2])]


def test_no_retired_word_is_an_identifier() -> None:
    identifiers = {name.lstrip("_") for name in _identifiers()}
    retired = {word: _quoted(instead) for not_, instead in _rows(_RETIRED) for word in _quoted(not_)}
    assert len(retired) > 20
    assert not sorted(retired.keys() & identifiers)
    assert not [(word, name) for word, names in retired.items() for name in names if name not in identifiers]
