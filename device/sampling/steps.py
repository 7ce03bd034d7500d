"""What every sampler's state machine needs: allowed moves only, and nothing left on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from device.drivers.ports import Lamp, Pump
from device.errors import HardwareError

__all__ = ["all_off", "moved"]

Phase = TypeVar("Phase", bound=Enum)


def moved(moves: Mapping[Phase, set[Phase]], phase: Phase, to: Phase) -> Phase:
    """The phase moved to; HardwareError where the table doesn't allow it."""
    if to not in moves[phase]:
        raise HardwareError("the sampler is out of step", expected=sorted(p.value for p in moves[phase]), got=to.value)
    return to


def all_off(pump: Pump, lamp: Lamp) -> None:
    """Pump and lamp off after a failure, which is already on its way up: theirs are not told."""
    try:
        with contextlib.suppress(HardwareError):
            pump.set_flow(0.0)
    finally:
        with contextlib.suppress(HardwareError):
            lamp.off()
