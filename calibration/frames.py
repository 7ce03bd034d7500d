"""Frames to measure: recorded ones, or live ones from the configured drivers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Shots:
    """Frames in counts, and what names them in the record."""

    frames: list[NDArray[np.float32]]
    """float32 [height, width] each."""
    digests: list[str]
    """SHA-256 of each frame's pixels."""


def _shots(frames: list[NDArray[np.generic]]) -> Shots:
    digests = [hashlib.sha256(np.ascontiguousarray(f).tobytes()).hexdigest() for f in frames]
    return Shots([np.asarray(f, np.float32) for f in frames], digests)


def recorded(inputs: list[Path], options: ReadOptions | None = None) -> Shots:
    """Every frame of files, folders or globs; InputError for the first that can't be read."""
    return _shots([frame.pixels for path in expand(inputs) for frame in read_frames(path, options)])


def capture(config: Config, instrument: Instrument, drivers: Rig, count: int, *, lamp: bool, interval_s: float = 0.0) -> Shots:
    """So many live frames, the lamp on or off, `interval_s` from one to the next; HardwareError where the camera ends early."""
    current_ma = min(config.lamp.current_ma, instrument.lamp.max_current_ma) if lamp else 0.0
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, current_ma)
    drivers.camera.start()
    state = drivers.lamp.set_current(current_ma) if lamp else drivers.lamp.off()
    frames: list[NDArray[np.generic]] = []
    try:
        for number in range(count):
            if number and interval_s > 0:
                drivers.time.sleep(interval_s)
            frame = drivers.camera.capture(exposure, state)
            if frame is None:
                raise HardwareError(
                    "the camera gave no more frames", where="calibration", expected=f"{count} frames", got=len(frames)
                )
            frames.append(frame.pixels)
    finally:
        drivers.lamp.off()
    return _shots(frames)
