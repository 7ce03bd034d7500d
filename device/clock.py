"""Time on the box: what the wall clock says, how far to trust it, and the clock that nobody sets.

Order comes from `seq` and lengths of time from the clock since the machine started. The wall clock only stamps; the kernel
tells whether a time daemon (timesyncd, chrony, ntpd, gpsd's pulse) holds it.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from device.frames import Clock

__all__ = ["BoxClock", "KernelTime", "kernel_time"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_FROM_RTC = Path("/sys/class/rtc/rtc0/hctosys")

_NOT_BEFORE, _NOT_AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)
"""This program is younger, and will be in a museum: a clock that says less, or more, has never been set rightly."""

_NEVER_SET_S = 1e9
_SET_ONCE_S = 86400.0
"""Somebody or the last shutdown's time set it; nobody knows how long ago that was."""
_BATTERY_S = 60.0
"""A crystal of 20 ppm over a month."""
_DRIFT = 1e-4
"""Of a board's oscillator that no daemon disciplines, at most."""

_MOST_US = 253_370_764_800_000_000
"""The year 9999; an eighth of it before 1970 there was a calendar, too."""

_UNSYNCHRONISED, _PULSE_TIME, _PULSE = 0x0040, 0x0004, 0x0100  # STA_UNSYNC, STA_PPSTIME, STA_PPSSIGNAL of <sys/timex.h>
_TIME_ERROR = 5


@dataclass(frozen=True)
class KernelTime:
    """What the kernel says of its own wall clock."""

    synchronised: bool
    uncertainty_s: float
    """One standard deviation, where it is synchronised."""
    pulse: bool = False
    """Whether a receiver's pulse per second disciplines it."""


class _Timex(ctypes.Structure):
    """The head of struct timex; the rest is room that the kernel fills."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("frequency", ctypes.c_long), ("most_error_us", ctypes.c_long),
        ("error_us", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_byte * 256),
    )  # fmt: skip


def kernel_time() -> KernelTime:
    """Ask the kernel; a system without adjtimex is not synchronised."""
    answer = _Timex()
    try:
        state = int(ctypes.CDLL(None).adjtimex(ctypes.byref(answer)))
    except (AttributeError, OSError):
        return KernelTime(synchronised=False, uncertainty_s=math.inf)
    held = state not in (-1, _TIME_ERROR) and not answer.status & _UNSYNCHRONISED
    # Daemons that estimate no error leave it at 0; the kernel's bound then grows until the next correction.
    error_us = answer.error_us or answer.most_error_us / math.sqrt(3)
    pulse = bool(answer.status & _PULSE_TIME and answer.status & _PULSE)
    return KernelTime(held, max(error_us * 1e-6, 1e-3), pulse)


class BoxClock:
    """The clock of this machine; its sources can be replaced in tests."""

    def __init__(
        self,
        *,
        machine_boot: str | None = None,
        elapsed_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        wall_ns: Callable[[], int] = time.time_ns,
        kernel: Callable[[], KernelTime] = kernel_time,
    ) -> None:
        self.machine_boot = _machine_boot() if machine_boot is None else machine_boot
        """Names the start of the machine that `elapsed_ns` counts from."""
        self.elapsed_ns = elapsed_ns
        """Nanoseconds since the machine started, sleep included; never set, never back."""
        self._wall_ns, self._kernel = wall_ns, kernel

    @property
    def offset_ns(self) -> int:
        """The wall clock less the time since the machine started: constant until somebody sets the wall clock."""
        return self._wall_ns() - self.elapsed_ns()

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        return _utc(self._wall_ns())

    def when(self, elapsed_ns: int) -> datetime:
        """What the wall clock, as it is set at this moment, says of a moment of this machine's run."""
        return _utc(elapsed_ns + self.offset_ns)

    def quality(self) -> Clock:
        """How far the wall clock can be trusted."""
        kernel = self._kernel()
        if kernel.synchronised:
            return Clock("gnss" if kernel.pulse else "ntp", synchronised=True, uncertainty_s=kernel.uncertainty_s)
        if not _NOT_BEFORE <= self.now() < _NOT_AFTER:
            return Clock("none", synchronised=False, uncertainty_s=_NEVER_SET_S)
        if _set_from_rtc():
            return Clock("rtc", synchronised=False, uncertainty_s=_BATTERY_S)
        return Clock("system", synchronised=False, uncertainty_s=_SET_ONCE_S)

    def loose_offset_ns(self) -> int | None:
        """`offset_ns` where nobody vouches for the wall clock; None where somebody does."""
        return None if self._kernel().synchronised else self.offset_ns

    def backdated(self, made_ns: int) -> Clock:
        """The quality of a stamp made at `made_ns` of this machine's run, corrected by the clock as it is now."""
        since_s = (self.elapsed_ns() - made_ns) / 1e9
        return Clock("backdated", synchronised=True, uncertainty_s=round(self.quality().uncertainty_s + _DRIFT * since_s, 3))


def _utc(wall_ns: int) -> datetime:
    # A clock can say what no calendar holds.
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(max(wall_ns // 1000, -_MOST_US // 8), _MOST_US))


def _machine_boot() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _set_from_rtc() -> bool:
    try:
        return _FROM_RTC.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
