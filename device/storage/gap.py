"""What could not be kept for want of room, counted through restarts in a file that needs no room of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from device.identifiers import record_ulid
from device.records import Event, iso_time
from device.storage.sums import checksum

__all__ = ["Gap", "Gaps"]

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

    def widened(self, kinds: Sequence[str], now: str) -> Gap:
        """With one more commit of records of these kinds."""
        fresh = not self.records
        return Gap(
            number=self.number + fresh,
            commits=self.commits + 1,
            detections=self.detections + kinds.count("detections"),
            intervals=self.intervals + kinds.count("intervals"),
            events=self.events + kinds.count("events"),
            first_at=now if fresh else self.first_at,
            last_at=now,
        )

    def event(self, device_id: str, spool_id: str, seq: int, now: datetime) -> Event:
        """What tells of it."""
        return Event(
            device_id=device_id,
            spool_id=spool_id,
            seq=seq,
            id=record_ulid(now, device_id, spool_id, seq),
            code="records_refused",
            severity="alarm",
            message=f"{self.records} records could not be kept between {self.first_at} and {self.last_at}, the disk was full or failed: "
            f"{self.detections} detections, {self.intervals} intervals, {self.events} events.",
            value=float(self.records),
            unit="records",
            since=self.first_at,
        )


class Gaps:
    """The gap that is open, if any; its file is written in place, so that a full disk takes it."""

    def __init__(self, path: Path, told: int) -> None:
        """`told` is the number of the last gap that an event in the store tells of."""
        self._descriptor = -1
        self.gap = Gap(number=told)
        with contextlib.suppress(OSError):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stored = _gap_of(os.pread(self._descriptor, _FILE_BYTES, 0))
            if stored.number > told:
                self.gap = stored
            if os.fstat(self._descriptor).st_size < _FILE_BYTES:
                self._write()

    def note(self, kinds: Sequence[str], now: datetime) -> None:
        """A commit of records of these kinds was refused; where even the file can't be written it is kept in memory."""
        if kinds:
            self.gap = self.gap.widened(kinds, iso_time(now))
            with contextlib.suppress(OSError):
                self._write()

    def told(self) -> None:
        """The store tells of the gap; a file that still does is passed over by its number."""
        self.gap = Gap(number=self.gap.number)

    def close(self) -> None:
        """Safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self) -> None:
        if self._descriptor >= 0:
            os.pwrite(self._descriptor, _content_of(self.gap).ljust(_FILE_BYTES), 0)
            os.fdatasync(self._descriptor)


def _content_of(gap: Gap) -> bytes:
    body = msgspec.json.encode(gap)
    return b"%b %d" % (body, checksum(body))


def _gap_of(content: bytes) -> Gap:
    """What was written; nothing where a bit of it has changed since."""
    body, _, known = content.strip(b" \0").rpartition(b" ")
    if not body:  # from before there was a checksum
        body, known = known, b""
    try:
        if known and int(known) != checksum(body):
            return Gap()
        return msgspec.json.decode(body, type=Gap)
    except (ValueError, UnicodeDecodeError):
        return Gap()
