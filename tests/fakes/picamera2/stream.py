"""Frames as they leave the sensor: free-running, with controls that take effect frames after they were sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.fakes.picamera2.rig import Rig

# Frames from when a request's controls reach the sensor to the first frame exposed with them.
CONTROL_DELAY_FRAMES = 2

# Interrupt, statistics and hand-over after the last row.
LATENCY_S = 0.004

GAIN_STEP = 1 / 64


@dataclass
class Frame:
    """One frame of the sensor."""

    number: int
    stamp_ns: int
    """When the read-out of the first row began."""
    exposure_us: float
    gain: float
    duration_us: int
    ready_s: float
    pixels: NDArray[np.uint16] | None = None

    def metadata(self) -> dict[str, Any]:
        """Names, types and units as libcamera's."""
        return {
            "SensorTimestamp": self.stamp_ns,
            "ExposureTime": round(self.exposure_us),
            "AnalogueGain": self.gain,
            "DigitalGain": 1.0,
            "FrameDuration": self.duration_us,
            "SensorBlackLevels": (4096, 4096, 4096, 4096),
            "ScalerCrop": (0, 0, 640, 480),
            "Lux": 100.0,
        }


@dataclass
class Stream:
    """The sensor while it runs."""

    rig: Rig
    readout_s: float
    exposure_us: float = 20_000.0
    """Automatic exposure, until it is fixed."""
    gain: float = 2.0
    limits_us: tuple[int, int] = (33_333, 33_333)
    number: int = 0
    _coming: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    _last: Frame | None = None

    def __post_init__(self) -> None:
        self._next_s = self.rig.monotonic() + 0.05 + self._timing()[0] * 1e-6

    @property
    def next_ready_s(self) -> float:
        """When the next frame is complete."""
        return self._next_s + self.readout_s + LATENCY_S

    def _timing(self) -> tuple[float, int]:
        """(exposure in whole rows, frame duration), both in us; a frame is never shorter than its exposure."""
        row_us = self.rig.row_us
        longest_us = max(self.limits_us[1], self.rig.frame_duration_us)
        exposure_us = min(max(round(self.exposure_us / row_us), 1) * row_us, longest_us - 4 * row_us)
        duration_us = min(max(self.limits_us[0], self.rig.frame_duration_us, round(exposure_us + 4 * row_us)), longest_us)
        return exposure_us, duration_us

    def send(self, controls: dict[str, Any]) -> None:
        """Controls of the request that the coming frame fills."""
        if controls:
            self._coming.append((self.number + CONTROL_DELAY_FRAMES, controls))

    def take(self) -> Frame:
        """The frame that is complete now; the next one begins."""
        while self._coming and self._coming[0][0] <= self.number:
            _, controls = self._coming.pop(0)
            self.exposure_us = float(controls.get("ExposureTime", self.exposure_us)) or self.exposure_us
            self.gain = round(float(controls.get("AnalogueGain", self.gain)) / GAIN_STEP) * GAIN_STEP
            self.limits_us = controls.get("FrameDurationLimits", self.limits_us)
        exposure_us, duration_us = self._timing()
        frame = Frame(self.number, round(self._next_s * 1e9), exposure_us, self.gain, duration_us, self.next_ready_s)
        self.number += 1
        self._next_s += duration_us * 1e-6
        if self._last is not None and self.rig.failing("repeated frame"):
            return self._last
        if self._last is not None and self.rig.failing("frozen picture"):
            frame.pixels = self.pixels(self._last)
        self._last = frame
        return frame

    def pixels(self, frame: Frame) -> NDArray[np.uint16]:
        """Counts uint16 [height, width]; rendered when somebody looks."""
        if frame.pixels is None:
            begun_ns = frame.stamp_ns - round(frame.exposure_us * 1000)
            ended_ns = frame.stamp_ns + round(self.readout_s * 1e9)
            frame.pixels = self.rig.render(frame.exposure_us, frame.gain, begun_ns, ended_ns)
        return frame.pixels
