"""Time on the box: what the wall clock says, how far to trust it, and the clock that never jumps."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["BoxClock"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class BoxClock:
    """The clock of this machine; `elapsed_ns` and `wall_ns` are there for tests."""

    def __init__(
        self,
        *,
        machine_boot: str | None = None,
        elapsed_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.machine_boot = _machine_boot() if machine_boot is None else machine_boot
        """Names the start of the machine that `elapsed_ns` counts from."""
        self.elapsed_ns = elapsed_ns
        """Nanoseconds since the machine started, sleep included; never set, never back."""
        self._wall_ns = wall_ns

    @property
    def offset_ns(self) -> int:
        """The wall clock less the time since the machine started: constant until somebody sets the wall clock."""
        return self._wall_ns() - self.elapsed_ns()


def _machine_boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
