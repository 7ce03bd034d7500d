"""The sensor, the scene and the faults behind the fake picamera2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.frames import Exposure, LampState
from device.instrument import Instrument
from device.twin.world import TwinWorld

Kind = Literal["exception", "silence", "repeated frame", "frozen picture", "slow close", "no camera"]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the camera."""

    kind: Kind
    until_s: float = float("inf")
    """On the rig's clock; it then passes by itself."""
    mended_by_start: bool = True
    """Whether starting the camera anew ends it, as it does for most hangs."""
    close_s: float = 0.0
    """How long closing takes (kind "slow close")."""
    also: tuple[Kind, ...] = ()
    """What goes wrong at the same time."""


class Rig:
    """One sensor looking at the twin's scene; also what a `TwinLamp` shines on."""

    def __init__(
        self,
        world: TwinWorld,
        *,
        platform: Literal["vc4", "pisp"] = "vc4",
        modes: list[tuple[int, int, int]] | None = None,
        order: str | None = None,
        frame_duration_us: int = 33_333,
        row_us: float = 20.0,
    ) -> None:
        sensor = world.instrument.sensor
        self.world, self.platform, self.row_us = world, platform, row_us
        self.modes = modes or [
            (sensor.width_px, sensor.height_px, sensor.bit_depth),
            (sensor.width_px // 2, sensor.height_px // 2, 10),
        ]
        """(width, height, bits) that the sensor can be read out in."""
        self.order = sensor.bayer if order is None else order
        self.frame_duration_us = frame_duration_us
        self.fault: Fault | None = None
        self.held = False
        """Whether somebody has the camera open."""
        self.opened = 0
        self.closing_since_s = 0.0
        """When the last slow close began."""
        self.rendered = 0
        self._lamp_log = [(0, world.lamp)]

    @property
    def monotonic(self) -> Callable[[], float]:
        return self.world.monotonic

    @property
    def sleep(self) -> Callable[[float], None]:
        return self.world.sleep

    @property
    def instrument(self) -> Instrument:
        return self.world.instrument

    @property
    def lamp(self) -> LampState:
        return self._lamp_log[-1][1]

    @lamp.setter
    def lamp(self, state: LampState) -> None:
        self._lamp_log = [*self._lamp_log[-200:], (state.acknowledged_ns, state)]

    def failing(self, *kinds: Kind) -> Fault | None:
        """The fault in force, if it is one of these kinds."""
        fault = self.fault
        if fault is None or self.monotonic() >= fault.until_s:
            return None
        return fault if {fault.kind, *fault.also} & set(kinds) else None

    def close_slowly(self) -> None:
        """What closing takes; the device is in use until then."""
        if fault := self.failing("slow close"):
            self.closing_since_s = self.monotonic()
            self.sleep(fault.close_s)

    def started(self) -> None:
        """The sensor was powered up and streams."""
        if self.fault is not None and self.fault.mended_by_start:
            self.fault = None

    def lamp_current_ma(self, begun_ns: int, ended_ns: int) -> float:
        """Mean current from the first row's start to the last row's end: what a frame half in the dark looks like on average."""
        log = self._lamp_log
        ends = [since_ns for since_ns, _ in log[1:]] + [max(ended_ns, log[-1][0])]
        total = 0.0
        for (since_ns, state), until_ns in zip(log, ends, strict=True):
            overlap_ns = min(until_ns, ended_ns) - max(since_ns, begun_ns)
            if overlap_ns > 0 and state.is_on:
                total += state.current_ma * overlap_ns
        return total / max(ended_ns - begun_ns, 1)

    def render(self, exposure_us: float, gain: float, begun_ns: int, ended_ns: int) -> NDArray[np.uint16]:
        """Counts of the scene, uint16 [height, width], under the lamp as it was."""
        current_ma = self.lamp_current_ma(begun_ns, ended_ns)
        self.world.lamp = LampState(0, current_ma, acknowledged=True)
        self.rendered += 1
        return self.world.expose(Exposure(exposure_us, gain, 0, current_ma))
