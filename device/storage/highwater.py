"""How far a store had got, written beside it without waiting for the disk: a log that lost its end is seen by it.

It is written after the commit, so that it never says too much; after a power cut it may say too little.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from device.storage.sums import checksum

__all__ = ["HighWater", "HighWaterMark", "reached"]

_FILE = "highest"
_BYTES = 64


@dataclass(frozen=True)
class HighWaterMark:
    """Positions of a store."""

    following: int = 0
    """To be used next; 0: nothing tells."""
    settled_to: int = 0
    """Up to here everything was delivered."""


def reached(folder: Path) -> HighWaterMark:
    """What the file says."""
    try:
        words = (folder / _FILE).read_bytes()[:_BYTES].split()
        following, settled_to, known = map(int, words)
    except (OSError, ValueError):
        return HighWaterMark()
    return HighWaterMark(following, settled_to) if known == checksum(following, settled_to) else HighWaterMark()


class HighWater:
    """The file, held open; a disk that refuses it is no reason to stop."""

    def __init__(self, folder: Path) -> None:
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._descriptor = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, following: int, settled_to: int) -> None:
        """The store got here."""
        if self._descriptor >= 0:
            line = f"{following} {settled_to} {checksum(following, settled_to)}"
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, line.encode().ljust(_BYTES), 0)

    def close(self) -> None:
        """Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
