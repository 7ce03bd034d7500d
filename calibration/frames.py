"""Frames to measure: recorded ones, or live ones from the configured drivers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.config import Config
from device.drivers.recorded import ReadOptions, expand, read_frames
from device.errors import HardwareError
from device.frames import Exposure
from device.instrument import Instrument
from device.rig.rig import Rig

__all__ = ["Shots", "capture", "recorded"]

_STEADY_AFTER_S = 2.0


@dataclass(frozen=True)
class Shots:
    """Frames in counts, and what names them in the record."""

    frames: list[NDArray[np.float32]]
    """float32 [height, width] each."""
    digests: list[str]
    """SHA-256 of each frame's pixels."""
    times_s: list[float] = field(default_factory=list)
    """Of each live frame, by the sensor's own time stamps; numbers alone where a replay stands for the camera."""


def _shots(frames: list[NDArray[np.generic]], times_s: list[float] | None = None) -> Shots:
    digests = [hashlib.sha256(np.ascontiguousarray(f).tobytes()).hexdigest() for f in frames]
    return Shots([np.asarray(f, np.float32) for f in frames], digests, times_s or [])


def recorded(inputs: list[Path], options: ReadOptions | None = None) -> Shots:
    """Every frame of files, folders or globs; InputError for the first that can't be read."""
    return _shots([frame.pixels for path in expand(inputs) for frame in read_frames(path, options)])


def capture(
    config: Config, instrument: Instrument, drivers: Rig, count: int, *, lamp: bool, interval_s: float = 0.0,
    flow_ml_min: float = 0.0, before: Callable[[], None] | None = None,
) -> Shots:  # fmt: skip
    """So many live frames, the lamp on or off, at least `interval_s` from one to the next; HardwareError where the camera ends early.

    `flow_ml_min` is pumped meanwhile, a while before the first; `before` is called before each.
    """
    current_ma = min(config.lamp.current_ma, instrument.lamp.max_current_ma) if lamp else 0.0
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, current_ma)
    drivers.camera.start()
    state = drivers.lamp.set_current(current_ma) if lamp else drivers.lamp.off()
    frames: list[NDArray[np.generic]] = []
    times_s: list[float] = []
    try:
        if flow_ml_min > 0:
            drivers.pump.set_flow(flow_ml_min)
            drivers.time.sleep(_STEADY_AFTER_S)
        for number in range(count):
            if number and interval_s > 0:
                drivers.time.sleep(interval_s)
            if before is not None:
                before()
            frame = drivers.camera.capture(exposure, state)
            if frame is None:
                raise HardwareError(
                    "the camera gave no more frames", where="calibration", expected=f"{count} frames", got=len(frames)
                )
            frames.append(frame.pixels)
            times_s.append(frame.sensor_timestamp_ns * 1e-9)
    finally:
        drivers.lamp.off()
        drivers.pump.set_flow(0.0)
    return _shots(frames, times_s)
