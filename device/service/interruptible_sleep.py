"""How the loop sleeps: by the drivers' time, cut short where the service is to stop or something is asked from afar."""

from __future__ import annotations

import time
from collections.abc import Callable

from device.rig.rig import Rig
from device.service.heartbeat import Steps
from device.stopping import Stopping

__all__ = ["SLICE_S", "InterruptibleSleep", "SleepInterruptedError", "StopError"]

SLICE_S = 0.25
"""Of a sleep between samples: what is asked from afar waits no longer."""
_LONG_SLEEP_S = 5.0
"""Before such a sleep there is time to say how things are; waiting for a wake is slept in slices."""
_GRACE_S = 5.0


class StopError(Exception):
    """Somebody asked the service to stop while it slept."""


class SleepInterruptedError(Exception):
    """Something was asked from afar while the loop slept between samples."""


class InterruptibleSleep:
    """Sleep within a sample, and between two."""

    def __init__(
        self,
        drivers: Rig,
        stopping: Stopping,
        steps: Steps,
        *,
        pulse: Callable[[], None],
        interrupted: Callable[[], bool],
        idle: Callable[[float | None], None] = lambda _seconds: None,
    ) -> None:
        """`pulse` says how things are; `interrupted`: whether something was asked from afar; `idle` hears how long the loop sleeps
        between two samples, None: not any more.
        """
        self.simulated = drivers.time.simulated
        self._drivers, self._stopping, self._steps = drivers, stopping, steps
        self._pulse, self._interrupted, self._idle = pulse, interrupted, idle

    def sleep(self, seconds: float) -> None:
        """Within a sample."""
        if seconds >= _LONG_SLEEP_S:
            self._pulse()
        with self._steps.step("waiting", seconds + _GRACE_S):
            if self.simulated:
                self._drivers.time.sleep(seconds)
            else:
                self._stopping.wait(seconds)
        if self._stopping.asked:
            raise StopError

    def idle(self, seconds: float) -> None:
        """Between samples: cut short by what is asked from afar, too."""
        self._idle(None if self.simulated else seconds)
        try:
            self._slept(seconds)
        finally:
            self._idle(None)

    def _slept(self, seconds: float) -> None:
        if seconds >= _LONG_SLEEP_S:
            self._pulse()
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            if self._interrupted():
                raise SleepInterruptedError
            if self.simulated:
                return self.sleep(seconds)
            self.sleep(min(left_s, SLICE_S))
        return None
