"""Wall time in the service: stamps of an interval, and what becomes of them when somebody sets the clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from device.clock import BoxClock
from device.errors import TransientError
from device.frames import Clock, Hologram
from device.sampling.findings import Findings
from device.storage.outbox import Outbox

__all__ = ["Beginning", "Span", "Timekeeper"]

_POLL_EVERY_S = 5.0
_STEP_TOLD_S = 1.0
"""Less is a daemon at work."""
_SLACK = timedelta(seconds=1)

ClockEventCallback = Callable[[str, str, float, str], None]
"""Hears of an event: code, message, value, unit."""


@dataclass(frozen=True)
class Beginning:
    """The moment an interval begins, by the clock that nobody sets."""

    elapsed_ns: int
    offset_ns: int
    """Of the wall clock, as it was set then."""

    @classmethod
    def at(cls, clock: BoxClock) -> Beginning:
        """This moment."""
        return cls(clock.elapsed_ns(), clock.offset_ns)


@dataclass(frozen=True)
class Span:
    """An interval in wall time, all of it by the clock as it is set at its end."""

    started: datetime
    ended: datetime
    quality: Clock
    set_by: timedelta
    """What the clock was set forward meanwhile."""

    @classmethod
    def since(cls, began: Beginning, clock: BoxClock) -> Span:
        """Up to this moment."""
        ended_ns, offset_ns = clock.elapsed_ns(), clock.offset_ns
        set_by = timedelta(microseconds=(offset_ns - began.offset_ns) // 1000)
        return cls(clock.when(began.elapsed_ns), clock.when(ended_ns), clock.quality(), set_by)

    def stamped(self, found: Findings) -> Findings:
        """The same with its frames' stamps by this clock; recorded frames keep those of their files."""
        frames = (replace(f, hologram=self._restamped(f.hologram)) for f in found.frames)
        return replace(found, frames=tuple(frames))

    def _restamped(self, hologram: Hologram) -> Hologram:
        if hologram.clock.source != "system":
            return hologram
        captured = hologram.captured_at
        if not self.started - _SLACK <= captured <= self.ended + _SLACK:
            # Taken before the clock was set, and set more than once: somewhere within the interval.
            captured = min(max(captured + self.set_by, self.started), self.ended)
        return replace(hologram, captured_at=captured, clock=self.quality)


class Timekeeper:
    """Watches the wall clock: tells when it is set, and back-dates what waits once somebody vouches for it."""

    def __init__(self, outbox: Outbox, on_event: ClockEventCallback) -> None:
        self._outbox, self._on_event = outbox, on_event
        self._offset_ns = outbox.clock.offset_ns
        self._corrected = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="timekeeper", daemon=True)

    def start(self) -> None:
        """Look now and then, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Safe to call twice, and without a start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_POLL_EVERY_S)

    def poll(self) -> None:
        """Once."""
        clock = self._outbox.clock
        before_ns, self._offset_ns = self._offset_ns, clock.offset_ns
        step_s = (self._offset_ns - before_ns) / 1e9
        if abs(step_s) > _STEP_TOLD_S:
            self._on_event("clock_set", f"The wall clock was set by {step_s:+.0f} s; records are in order by seq.", step_s, "s")
            self._corrected = False
        if clock.loose_offset_ns() is not None:
            self._corrected = False
        elif not self._corrected:
            self._correct()

    def _correct(self) -> None:
        rows, seq = self._outbox.counters.backdated, 0
        try:
            while not self._stop.is_set():
                seq = self._outbox.backdate(seq)
                if not seq:
                    self._corrected = True
                    break
        except TransientError:
            return  # looked at again: the disk may have room then
        if rows := self._outbox.counters.backdated - rows:
            message = f"The clock is synchronised; stamps of {rows} records that waited were corrected."
            self._on_event("clock_synchronised", message, float(rows), "records")

    def _work(self) -> None:
        while not self._stop.wait(_POLL_EVERY_S):
            self.poll()
