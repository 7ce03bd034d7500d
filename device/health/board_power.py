"""What the board says of its supply and its heat: a Raspberry Pi's firmware keeps bits for both, any board a temperature.

Bits of `get_throttled`, as Raspberry Pi's documentation of vcgencmd gives them: what holds now in 0 to 3, what held since the board
started in 16 to 19. A board that is throttled takes longer for a frame; one short of voltage damages its card.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from device.messaging.payloads import Check, CheckStatus

__all__ = ["BoardPower", "Throttled", "power_checks", "read_throttled"]

_THROTTLED = ("devices/platform/soc/soc:firmware/get_throttled", "devices/platform/soc/firmware/get_throttled")
"""Below /sys: where kernels since 5.0 show it."""
_TEMPERATURE = "class/thermal/thermal_zone0/temp"
_ASK_S = 2.0
_LOOK_EVERY_S = 10.0
_WARM_C, _HOT_C = 75.0, 85.0
"""A Raspberry Pi slows down from 80 degrees, and at 85 as far as it goes."""
_SINCE = 16


@dataclass(frozen=True)
class Throttled:
    """The firmware's bits."""

    bits: int

    def _told(self, bit: int) -> tuple[bool, bool]:
        return bool(self.bits >> bit & 1), bool(self.bits >> bit + _SINCE & 1)

    @property
    def under_voltage(self) -> tuple[bool, bool]:
        """(now, since the board started): less than 4.63 V came in."""
        return self._told(0)

    @property
    def slowed(self) -> tuple[bool, bool]:
        """(now, since the board started): its clock is capped, throttled, or held down by its soft temperature limit."""
        told = [self._told(bit) for bit in (1, 2, 3)]
        return any(now for now, _ in told), any(ever for _, ever in told)


def read_throttled(sys: Path = Path("/sys")) -> Throttled | None:
    """As the kernel shows it, or vcgencmd tells it; None where the board keeps no such bits."""
    for name in _THROTTLED:
        with contextlib.suppress(OSError, ValueError):
            return Throttled(int((sys / name).read_text().strip(), 16))
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        asked = subprocess.run([command, "get_throttled"], capture_output=True, text=True, check=True, timeout=_ASK_S)
        return Throttled(int(asked.stdout.strip().removeprefix("throttled="), 16))
    return None


def _temperature_c(sys: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        return int((sys / _TEMPERATURE).read_text()) / 1000
    return None


def power_checks(throttled: Throttled | None, temperature_c: float | None) -> list[Check]:
    """Supply and heat, as far as the board tells."""
    checks: list[Check] = []
    if throttled is not None:
        now, ever = throttled.under_voltage
        checks.append(
            Check(
                name="supply", status="failed" if now else "warning" if ever else "ok",
                message="too little voltage now" if now else "there was too little voltage since the start" if ever else "",
                remedy="Fit a stronger supply, or shorter and thicker wires: what is written meanwhile may be lost" if ever or now else "",
            )
        )  # fmt: skip
    slowed = throttled is not None and throttled.slowed[0]
    if throttled is None and temperature_c is None:
        return checks
    hot = temperature_c is not None and temperature_c >= _HOT_C
    warm = slowed or (temperature_c is not None and temperature_c >= _WARM_C)
    status: CheckStatus = "failed" if hot else "warning" if warm else "ok"
    checks.append(
        Check(
            name="heat", status=status, value=temperature_c, unit=None if temperature_c is None else "degrees Celsius",
            message="the board slows itself down" if slowed else "the processor is hot" if hot or warm else "",
            remedy="Shade it, air it, or sample less often" if hot or warm else "",
        )
    )  # fmt: skip
    return checks


class BoardPower:
    """Looks now and then; asking costs a moment of the firmware's time."""

    def __init__(self, sys: Path = Path("/sys"), monotonic: Callable[[], float] = time.monotonic) -> None:
        self._sys, self._monotonic = sys, monotonic
        self._checks: list[Check] = []
        self._due_s = 0.0

    def checks(self) -> list[Check]:
        """For `health`: a figure that wavers isn't told anew each time, its status is."""
        if self._monotonic() >= self._due_s:
            self._due_s = self._monotonic() + _LOOK_EVERY_S
            self._checks = power_checks(read_throttled(self._sys), _temperature_c(self._sys))
        return self._checks
