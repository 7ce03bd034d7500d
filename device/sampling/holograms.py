"""From raw frames to a hologram."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import Normalised, appeared, normalise
from device.errors import HardwareError, InputError
from device.frames import Hologram, RawFrame
from device.instrument import Instrument, SensorSpec

__all__ = ["difference", "divided"]


def divided(instrument: Instrument, frame: RawFrame, background: NDArray[np.float32] | None) -> Hologram:
    """A frame over its background float32 [height, width] in counts (None: its own smooth light); HardwareError where it is dark
    or can't be divided."""
    hologram = _hologram(instrument, frame, lambda pixels, levels: normalise(pixels, background, **levels))
    return replace(hologram, photon_noise=_photon_noise(instrument.sensor, frame))


def difference(instrument: Instrument, frame: RawFrame, before: RawFrame) -> Hologram:
    """What came since `before`, among what lay there; HardwareError where a frame is dark or their shapes differ."""
    lay = before.pixels.astype(np.float32)
    return _hologram(instrument, frame, lambda pixels, levels: appeared(pixels, lay, **levels))


def _hologram(
    instrument: Instrument, frame: RawFrame, made: Callable[[NDArray[np.float32], dict[str, float]], Normalised]
) -> Hologram:
    sensor = instrument.sensor
    # A recorded frame has its own depth and no pedestal that is known.
    same = frame.bit_depth == sensor.bit_depth
    levels = {"dark_counts": sensor.dark_level_counts if same else 0.0, "white_counts": float(2**frame.bit_depth - 1)}
    try:
        ready = made(frame.pixels.astype(np.float32), levels)
    except InputError as error:
        # A lamp that died is no reason to stop: the box tells of it and tries again.
        raise HardwareError(
            error.what, where=frame.name, expected=error.expected, got=error.got, remedy=error.remedy
        ) from error
    return Hologram(ready.intensity, instrument.geometry, ready.noise, frame.captured_at, frame.clock, frame.index, frame.name)


def _photon_noise(sensor: SensorSpec, frame: RawFrame) -> float:
    """Relative noise of a frame's pixels by the electrons that its counts stand for, and the sensor's read noise; 0: not known."""
    if frame.bit_depth != sensor.bit_depth:
        return 0.0
    step = max(1, frame.pixels.shape[0] // 256)
    counts = float(frame.pixels[::step, ::step].mean()) - sensor.dark_level_counts
    a_count_e = sensor.full_well_e / (2**sensor.bit_depth - 1 - sensor.dark_level_counts) / frame.exposure.gain
    electrons = counts * a_count_e
    # A count is as wide as it is: rounding adds a twelfth of its square.
    return math.sqrt(electrons + sensor.read_noise_e**2 + a_count_e**2 / 12) / electrons if electrons > 0 else 0.0
