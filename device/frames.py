"""What the sensor gave, and what it becomes before analysis.

Arrays are (height, width), row 0 at the top, and read-only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from device.optics.geometry import Geometry

__all__ = ["Clock", "Exposure", "Hologram", "LampState", "RawFrame", "frozen"]


def frozen(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same array marked read-only (no copy)."""
    array.setflags(write=False)
    return array


@dataclass(frozen=True)
class Exposure:
    """What is asked of lamp and sensor for one frame."""

    exposure_us: float
    """Exposure time."""
    gain: float = 1.0
    """Analogue gain of the sensor, 1 to 16."""
    lamp_channel: int = 0
    """Channel of the lamp controller; 0 is the imaging lamp."""
    lamp_current_ma: float = 20.0
    """Lamp current while exposing; 0 is a dark frame."""


@dataclass(frozen=True)
class LampState:
    """What the lamp acknowledged, never what was asked of it."""

    channel: int
    """Channel of the controller."""
    current_ma: float
    """Current in force; 0 is off."""
    acknowledged: bool
    """Whether the controller itself confirmed this state."""
    acknowledged_ns: int = 0
    """Monotonic time of the acknowledgement."""
    strobe_delay_us: float = 0.0
    """From the frame's trigger to the light."""
    strobe_width_us: float = 0.0
    """How long it shines for each frame; 0: steadily."""

    def lit_us(self, exposure_us: float) -> float:
        """How long of an exposure that begins with its trigger the lamp shines."""
        if self.strobe_width_us == 0:
            return exposure_us
        return min(max(exposure_us - self.strobe_delay_us, 0.0), self.strobe_width_us)

    @property
    def is_on(self) -> bool:
        """On, and confirmed to be."""
        return self.acknowledged and self.current_ma > 0


@dataclass(frozen=True)
class Clock:
    """Quality of a wall-clock stamp."""

    source: str = "system"
    """Where the time came from: system, ntp, gnss, rtc, file, none; backdated: from a synchronisation that came later."""
    synchronised: bool = False
    """Whether the source was disciplined when the stamp was made."""
    uncertainty_s: float = 1.0
    """One standard deviation."""


@dataclass(frozen=True)
class RawFrame:
    """One frame as the sensor gave it."""

    pixels: NDArray[np.uint16]
    """uint16 [height, width], read-only, in counts of `bit_depth`."""
    bit_depth: int
    """Significant bits: 8, 10, 12 or 16."""
    exposure: Exposure
    """The exposure that was, read back from the sensor."""
    lamp: LampState
    """The lamp state that was acknowledged for this frame."""
    sensor_timestamp_ns: int
    """Monotonic time stamp of the sensor; strictly increasing over frames."""
    captured_at: datetime
    """Wall time, aware, UTC."""
    clock: Clock = field(default_factory=Clock)
    """Quality of `captured_at`."""
    index: int = 0
    """Number of the frame in its source, from 0."""
    name: str = ""
    """File name or source of the frame."""


@dataclass(frozen=True)
class Hologram:
    """A background-divided hologram: what the optics work on."""

    intensity: NDArray[np.float32]
    """float32 [height, width], read-only, mean 1 where nothing is."""
    geometry: Geometry
    """How it was recorded."""
    noise: float
    """Relative standard deviation of a pixel where nothing is (shot and read noise of frame and background)."""
    captured_at: datetime
    """Wall time of the frame, aware, UTC."""
    clock: Clock = field(default_factory=Clock)
    """Quality of `captured_at`."""
    index: int = 0
    """Number of the frame in its source, from 0."""
    name: str = ""
    """File name or source of the frame."""
    photon_noise: float = 0.0
    """Relative noise that its counted electrons and the sensor's read noise make; 0: not known."""
