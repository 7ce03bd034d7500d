"""From raw frames to a hologram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.errors import HardwareError, InputError
from device.frames import Hologram, RawFrame
from device.instrument import Instrument

__all__ = ["divided"]


def divided(instrument: Instrument, frame: RawFrame, background: NDArray[np.float32] | None) -> Hologram:
    """A frame over its background float32 [height, width] in counts (None: its own smooth light); HardwareError where it is dark
    or can't be divided."""
    sensor = instrument.sensor
    # A recorded frame has its own depth and no pedestal that is known.
    same = frame.bit_depth == sensor.bit_depth
    try:
        ready = normalise(
            frame.pixels.astype(np.float32),
            background,
            dark_counts=sensor.dark_level_counts if same else 0.0,
            white_counts=float(2**frame.bit_depth - 1),
        )
    except InputError as error:
        # A lamp that died is no reason to stop: the box tells of it and tries again.
        raise HardwareError(
            error.what, where=frame.name, expected=error.expected, got=error.got, remedy=error.remedy
        ) from error
    return Hologram(ready.intensity, instrument.geometry, ready.noise, frame.captured_at, frame.clock, frame.index, frame.name)
