"""A rig: the parts that the service acts through, and its clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.parts import Parts

__all__ = ["Rig", "Time"]


@dataclass(frozen=True)
class Time:
    """Clock and sleep of the service."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    simulated: bool = False
    """Whether it moves only when somebody sleeps."""


@dataclass(frozen=True)
class Rig:
    """What the service acts through."""

    parts: Parts
    camera: Camera
    lamp: Lamp
    pump: Pump
    environment: Environment
    time: Time = Time()
    advance_window: Callable[[], None] | None = None
    """A clean window under the impactor; None where a person changes it."""

    def close(self) -> None:
        """Everything off and released."""
        for driver in (self.pump, self.lamp, self.environment, self.camera):
            driver.close()
