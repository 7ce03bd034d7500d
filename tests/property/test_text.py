"""Whatever stands in a text from outside: a terminal shows it, a spreadsheet doesn't compute it, a page doesn't run it."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from device.text import cell, markup, plain

HOSTILE = {
    "red": ("\x1b[31mbirch\x1b[0m", "birch"),
    "screen cleared": ("\x1b[2J\x1b[Hbirch", "birch"),
    "window's title": ("\x1b]0;pwned\x07birch", "birch"),
    "clipboard": ("\x1b]52;c;cm0gLXJm\x1b\\birch", "birch"),
    "one-byte sequences": ("\x9b31mbirch\x9d0;x\x9c", "birch"),
    "a sequence without end": ("birch\x1b", "birch"),
    "writing turned round": ("birch\u202etxt.exe\u2066\u2069", "birchtxt.exe"),
    "nothing to see": ("bi\u200brch\ufeff", "birch"),
    "line overwritten": ("birch\roak", "birch oak"),
    "backspace": ("birch\x08\x08oak", "birchoak"),
    "lone surrogate": ("birch\ud800", "birch"),
    "two lines": ("birch\noak", "birch oak"),
    "other scripts": ("Übergröße 樺 береза", "Übergröße 樺 береза"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_terminal_is_shown_the_text_alone(case: str) -> None:
    given_, shown = HOSTILE[case]
    assert plain(given_) == shown


@given(st.text(st.characters(), max_size=60))
def test_nothing_that_a_terminal_obeys_or_nobody_sees_is_left(text: str) -> None:
    for lines in (False, True):
        shown = plain(text, lines=lines)
        assert all(c == "\n" or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") for c in shown)
        assert plain(shown, lines=lines) == shown
        shown.encode("utf-8")
    assert "\n" not in plain(text)


@example(" ", "\n")
@given(st.sampled_from("=+-@\t\r\n＝＋－＠ \x1b\u200b"), st.text(max_size=20))
def test_no_text_cell_begins_like_a_formula(first: str, rest: str) -> None:
    assert not cell(first + rest).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


def test_an_ordinary_cell_stays_as_it_is() -> None:
    for text in ("birch", "Alternaria sp.", "1 of 3", "", "a-b", "50 %"):
        assert cell(text) == text
    assert cell("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0"


@given(st.text(max_size=60))
def test_a_text_stays_a_text_in_a_page_and_in_xml(text: str) -> None:
    inside = f'<p title="{markup(text)}">{markup(text)}</p>'
    element = ET.fromstring(inside)
    assert (element.text or "", element.get("title")) == (plain(text), plain(text))
    seen: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: seen.append(tag)  # type: ignore[method-assign]
    parser.feed(inside)
    assert seen == ["p"]
