"""As much of DER (ITU-T X.690) as it takes to read a name and two dates out of a certificate."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["children", "text", "time_of"]

_UTC_TIME = 0x17


def children(content: bytes) -> list[tuple[int, bytes]]:
    """(tag, content) of what lies in a sequence or a set; ValueError where a length is wrong."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(content):
        start, end = _span(content, at)
        found.append((content[at], content[start:end]))
        at = end
    return found


def _span(content: bytes, at: int) -> tuple[int, int]:
    """Start and end of the content of the element that begins here."""
    if at + 2 > len(content):
        raise ValueError("it ends in the middle")
    length, start = content[at + 1], at + 2
    if length >= 0x80:  # the length of the length
        size = length & 0x7F
        length, start = int.from_bytes(content[start : start + size], "big"), start + size
    if start + length > len(content):
        raise ValueError("it ends in the middle")
    return start, start + length


def text(content: bytes) -> str:
    """Of any of the string types that names come in, as far as they are UTF-8."""
    return content.decode("utf-8", errors="replace")


def time_of(tag: int, content: bytes) -> datetime:
    """UTCTime (its two-digit years reach from 1950 to 2049, RFC 5280) or GeneralizedTime."""
    digits = content.decode("ascii")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
