"""What every sampler's state machine needs: allowed moves only, and nothing left on."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeVar

from device.drivers.ports import Lamp, Pump
from device.errors import HardwareError

__all__ = ["all_off", "moved", "pumped_ml"]

Phase = TypeVar("Phase", bound=Enum)


def moved(moves: Mapping[Phase, set[Phase]], phase: Phase, to: Phase) -> Phase:
    """The phase moved to; HardwareError where the table doesn't allow it."""
    if to not in moves[phase]:
        raise HardwareError("the sampler is out of step", expected=sorted(p.value for p in moves[phase]), got=to.value)
    return to


def pumped_ml(pump: Pump, flow_ml_min: float, volume_ml: float, sleep: Callable[[float], None]) -> float:
    """Millilitres that moved while the pump ran for a volume, acknowledged from beginning to end; HardwareError where it wasn't."""
    at_start_ml = pump.volume_ml()
    running = pump.set_flow(flow_ml_min)
    if not running.acknowledged:
        raise HardwareError("the pump didn't confirm that it runs", remedy="Check the controller's cable and supply.")
    sleep(volume_ml / flow_ml_min * 60)
    held = pump.state
    if not (held.acknowledged and held.flow_ml_min == running.flow_ml_min):
        raise HardwareError(
            "the pump didn't run through the sample", expected=f"{running.flow_ml_min:g} mL/min, acknowledged",
            got=f"{held.flow_ml_min:g} mL/min, {'acknowledged' if held.acknowledged else 'not acknowledged'}",
            remedy="The sample was not used. Check the controller's cable and supply.",
        )  # fmt: skip
    pump.set_flow(0.0)
    return pump.volume_ml() - at_start_ml


def all_off(pump: Pump, lamp: Lamp) -> None:
    """Pump and lamp off after a failure, which is already on its way up: theirs are not told."""
    try:
        with contextlib.suppress(HardwareError):
            pump.set_flow(0.0)
    finally:
        with contextlib.suppress(HardwareError):
            lamp.off()
