"""Checksums of what a store holds: a bit that flips on the flash is seen before its record is taken for true."""

from __future__ import annotations

import hashlib
import sqlite3

__all__ = ["checksum", "is_damage", "record_sum", "state_sum", "tolerant_text", "waiting_sum"]

_SUM_BYTES = 6
"""SQLite keeps an integer of six bytes in six bytes; one garbled record in 2.8e14 passes."""

_PASSING = frozenset((
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_MISUSE,
))  # fmt: skip
"""What an answer of SQLite can be that says nothing of the file's content."""


def tolerant_text(content: bytes) -> str:
    """For a connection's `text_factory`: a flipped bit in a text is found by its checksum, not by an exception."""
    return content.decode(errors="replace")


def checksum(*parts: str | bytes | int | None) -> int:
    """Of values in their order and with their kinds."""
    digest = hashlib.blake2b(digest_size=_SUM_BYTES)
    for part in parts:
        content = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
        digest.update(b"%d:" % len(content))
        digest.update(content)
    return int.from_bytes(digest.digest(), signed=True)


def record_sum(position: int, kind: str, body: bytes, boot: str) -> int:
    """Of a row of `records`."""
    return checksum(position, kind, body, boot)


def waiting_sum(position: int, made_ns: int, offset_ns: int | None) -> int:
    """Of a row of `waiting`."""
    return checksum(position, made_ns, offset_ns)


def state_sum(key: str, value: str) -> int:
    """Of a row of `meta`."""
    return checksum(key, value)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether it is the file that is wrong, not the disk, the moment or the program."""
    if not isinstance(error, sqlite3.DatabaseError) or isinstance(error, (sqlite3.ProgrammingError, sqlite3.NotSupportedError)):
        return False
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _PASSING
