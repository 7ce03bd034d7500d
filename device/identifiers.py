"""ULIDs that can be made again: the time of the record and a hash of what it is.

Layout and alphabet: the ULID specification (48 bits of milliseconds, 80 bits, Crockford's base 32). The 80 bits are not
random but the SHA-256 of (device, spool, sequence), so that the same record always has the same id.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime

__all__ = ["random_ulid", "record_ulid"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _encode(milliseconds: int, tail: int) -> str:
    number = ((milliseconds & (2**48 - 1)) << 80) | tail
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5))


def record_ulid(moment: datetime, device_id: str, spool_id: str, seq: int, part: str = "") -> str:
    """The id of one record."""
    digest = hashlib.sha256(f"{device_id}/{spool_id}/{seq}/{part}".encode()).digest()
    return _encode(max(round(moment.timestamp() * 1000), 0), int.from_bytes(digest[:10], "big"))


def random_ulid() -> str:
    """An id for what is made once: a store, a boot."""
    return _encode(round(datetime.now(UTC).timestamp() * 1000), int.from_bytes(secrets.token_bytes(10), "big"))
