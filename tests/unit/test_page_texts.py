"""What the dashboard's pages are made of, without a browser: texts in every language, libraries as they were looked at."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from deploy.vendor import FOLDER, LIBRARIES

PAGES = FOLDER.parent
OWN = sorted(PAGES.glob("*.js"))


def catalogue(tag: str) -> dict[str, str]:
    return json.loads((PAGES / "texts" / f"{tag}.json").read_text(encoding="utf-8"))


def test_every_language_says_the_same_things_with_the_same_values() -> None:
    english = catalogue("en")
    for path in (PAGES / "texts").glob("*.json"):
        other = catalogue(path.stem)
        assert set(other) == set(english), path.name
        different = {
            key for key in english if set(re.findall(r"\{\w+\}", english[key])) != set(re.findall(r"\{\w+\}", other[key]))
        }
        assert not different, path.name


def test_every_text_that_a_page_names_is_there() -> None:
    there = set(catalogue("en"))
    stems = {key.rpartition(".")[0] for key in there if key.endswith((".one", ".other"))}
    named = {key for path in OWN for key in re.findall(r"""\bt\(["']([^"'$]+)["']""", path.read_text(encoding="utf-8"))}
    assert len(named) > 200
    assert not named - there - stems


def test_no_page_makes_markup_of_text_or_asks_anybody_else() -> None:
    for path in OWN:
        said = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|insertAdjacentHTML|document\.write|dangerouslySet|\beval\(|new Function|https?://", said
        ), path.name
    index = (PAGES / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=|<style|https?://", index)


def test_the_libraries_are_those_that_were_looked_at_and_their_licences_lie_beside_them() -> None:
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert [(one["name"], one["version"], one["sha256"]) for one in manifest] == [
        (one.name, one.version, one.sha256) for one in LIBRARIES
    ]
    told = {name: digest for one in manifest for name, digest in one["sha256_as_served"].items()}
    assert {path.name: _digest(path) for path in FOLDER.iterdir() if path.name != "manifest.json"} == told
    assert all(any(name.endswith(".LICENSE") for name in one["files"]) for one in manifest)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
