"""What could not be kept for want of room, counted through restarts in a file that needs no room of its own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["Gap", "GapFile"]

_FILE_BYTES = 512
"""One sector: a power cut leaves the old content or the new one."""


class Gap(Struct, frozen=True, kw_only=True):
    """Records that were made and refused."""

    number: int = 0
    """Counts the gaps of a store, from 1; 0: none."""
    commits: int = 0
    detections: int = 0
    intervals: int = 0
    events: int = 0
    first_at: str = ""
    """Wall time of the first refusal."""
    last_at: str = ""
    """Wall time of the last refusal."""

    @property
    def records(self) -> int:
        """All of them."""
        return self.detections + self.intervals + self.events

    @property
    def message(self) -> str:
        """For a person."""
        return (
            f"{self.records} records were refused for want of disk or a failing disk between {self.first_at} and {self.last_at}: "
            f"{self.detections} detections, {self.intervals} intervals, {self.events} events."
        )


class GapFile:
    """Keeps the gap that is open; written in place, so that it can be kept on a full disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        self.gap = Gap()
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.gap = _gap_of(os.pread(self._descriptor, _FILE_BYTES, 0))
            if os.fstat(self._descriptor).st_size < _FILE_BYTES:
                self._write()

    def keep(self, gap: Gap) -> None:
        """Note the gap; where even that fails it is kept in memory."""
        self.gap = gap
        with contextlib.suppress(OSError):
            self._write()

    def close(self) -> None:
        """Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self) -> None:
        if self._descriptor >= 0:
            os.pwrite(self._descriptor, msgspec.json.encode(self.gap).ljust(_FILE_BYTES), 0)
            os.fdatasync(self._descriptor)


def _gap_of(content: bytes) -> Gap:
    try:
        return msgspec.json.decode(content.strip(b" \0"), type=Gap)
    except msgspec.MsgspecError:
        return Gap()
