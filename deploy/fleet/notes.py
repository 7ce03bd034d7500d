"""What a batch held that a person should hear of, and how it is told without a flood of lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from device.text import plain

__all__ = ["Note", "Notes"]

Cause = Literal["rejected", "conflict", "unknown schema"]

_PAUSE_S = 60.0
"""Between two lines of one device and cause."""
_MOST_TOLD_APART = 1000
"""Devices and causes; on an open broker there is no end of names."""
_OTHERS = "other devices"
_LONGEST = 500
"""Characters of a line."""


@dataclass(frozen=True)
class Note:
    """Of one message."""

    device_id: str
    cause: Cause
    text: str


@dataclass
class _LastReport:
    at: float
    since: int = 0
    """Notes that were not told."""


class Notes:
    """The first of a device and cause at once, then one line a minute that says how many there were."""

    def __init__(self, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._reported: dict[tuple[str, Cause], _LastReport] = {}

    def add(self, notes: Iterable[Note]) -> None:
        """Tell them, or count them until it is their turn."""
        for note in notes:
            known = (note.device_id, note.cause) in self._reported or len(self._reported) < _MOST_TOLD_APART
            key = (note.device_id if known else _OTHERS, note.cause)
            now, told = self._clock(), self._reported.get(key)
            if told is not None and now - told.at < _PAUSE_S:
                told.since += 1
                continue
            more = f" ({told.since} more since the line before)" if told is not None and told.since else ""
            self._reported[key] = _LastReport(now)
            self._report(f"{plain(key[0])[:_LONGEST]}: {plain(note.text)[:_LONGEST]}{more}")
