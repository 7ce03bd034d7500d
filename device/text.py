"""Texts from outside (labels, manifests, device ids, events, what a broker says), made harmless for where they are shown.

A terminal obeys escape sequences, a reader's eye obeys marks that turn the direction of writing, a spreadsheet computes cells that
begin like a formula: none of it belongs into a name. What is stored stays as it came; it is cleaned where it leaves.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape
from typing import TextIO

__all__ = ["cell", "markup", "plain", "say"]

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor, erasing (ECMA-48, section 5.4)
    r"|(?:\x1b[PX^_\]]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # strings: titles, clipboard, links
    r"|\x1b[ -/]*[0-~]?"
)
_BREAKS = frozenset("\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn"})
"""Categories of control and format characters (direction marks, zero widths), lone surrogates, what is no character."""
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")


def plain(text: object, *, lines: bool = False) -> str:
    """A text without what a terminal would obey or nobody can see; breaks become spaces, or stay (`lines`) as line breaks."""
    given = text if isinstance(text, str) else str(text)
    if given.isascii() and given.isprintable():
        return given
    shown: list[str] = []
    for character in _SEQUENCES.sub("", given.replace("\r\n", "\n")):
        if character in _BREAKS:
            shown.append("\n" if lines and character == "\n" else " ")
        elif unicodedata.category(character) not in _HIDDEN:
            shown.append(character)
    return "".join(shown)


def cell(text: object) -> str:
    """A text as a CSV cell: plain, and one that a spreadsheet would take for a formula begins with an apostrophe.

    The way of OWASP ('CSV Injection'): = + - @ (also full-width), tab and line break at the beginning.
    """
    found = plain(text, lines=True)
    return f"'{found}" if _FORMULA.match(found) else found


def markup(text: object) -> str:
    """A text within XML or HTML, in elements and in quoted attributes."""
    return escape(plain(text))


def say(text: object, file: TextIO | None = None) -> None:
    """Print for a person, at once: to stdout, or another stream."""
    print(plain(text, lines=True), file=file, flush=True)
