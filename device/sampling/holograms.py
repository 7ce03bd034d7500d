"""From raw frames to a hologram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.frames import Hologram, RawFrame
from device.instrument import Instrument

__all__ = ["divided"]


def divided(instrument: Instrument, frame: RawFrame, background: NDArray[np.float32] | None) -> Hologram:
    """A frame over its background float32 [height, width] in counts (None: its own smooth light); InputError where it can't be."""
    sensor = instrument.sensor
    # A recorded frame has its own depth and no pedestal that is known.
    same = frame.bit_depth == sensor.bit_depth
    ready = normalise(
        frame.pixels.astype(np.float32),
        background,
        dark_counts=sensor.dark_level_counts if same else 0.0,
        white_counts=float(2**frame.bit_depth - 1),
    )
    return Hologram(ready.intensity, instrument.geometry, ready.noise, frame.captured_at, frame.clock, frame.index, frame.name)
