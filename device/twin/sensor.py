"""The simulated image sensor: from intensity to counts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.frames import Exposure, LampState
from device.instrument import SensorSpec

__all__ = ["SensorModel"]

# The exposure at which the lamp fills 60 % of the well: 2 ms at 20 mA and gain 1.
_NOMINAL_EXPOSURE_US_MA = 2000.0 * 20.0
_NOMINAL_FILL = 0.6

# Relative response of the colour filters at 850 nm, where all are nearly clear.
_FILTER_RESPONSE = {"R": 1.0, "G": 0.97, "B": 0.98}


@dataclass(frozen=True)
class SensorModel:
    """A sensor with its fixed pattern: vignetting, colour filters, dirt on the cover glass."""

    spec: SensorSpec
    response: NDArray[np.float32]
    """float32 [height, width]: relative response to even light."""

    @classmethod
    def draw(cls, spec: SensorSpec, rng: np.random.Generator, dirt: int = 6) -> SensorModel:
        """A sensor of this kind, with `dirt` shadows on it."""
        height, width = spec.height_px, spec.width_px
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        middle_y, middle_x = height / 2 + rng.normal(0, height / 20), width / 2 + rng.normal(0, width / 20)
        squared = ((y - middle_y) / height) ** 2 + ((x - middle_x) / width) ** 2
        response = (1 - 0.25 * squared).astype(np.float32)
        shadows = np.zeros((height, width), np.float32)
        for _ in range(dirt):
            shadows[int(rng.integers(height)), int(rng.integers(width))] = rng.uniform(20, 60)
        response *= np.exp(-scipy.ndimage.gaussian_filter(shadows, 3.0))
        response *= _filters(spec)
        return cls(spec, response.astype(np.float32))

    def expose(
        self, intensity: NDArray[np.float32], exposure: Exposure, lamp: LampState, rng: np.random.Generator, ageing: float = 1.0
    ) -> NDArray[np.uint16]:
        """Counts uint16 [height, width]: dark where the lamp is off, clipped where it is over-exposed.

        `ageing` scales the lamp's light; the lamp current is what was acknowledged.
        """
        spec = self.spec
        current_ma = lamp.current_ma if lamp.is_on else 0.0
        fill = _NOMINAL_FILL * exposure.exposure_us * current_ma / _NOMINAL_EXPOSURE_US_MA * ageing
        electrons = rng.poisson(np.clip(intensity * self.response * fill, 0, 50) * spec.full_well_e).astype(np.float32)
        electrons = np.minimum(electrons, spec.full_well_e)
        electrons += rng.standard_normal(electrons.shape, dtype=np.float32) * np.float32(spec.read_noise_e)
        white = 2**spec.bit_depth - 1
        counts_per_electron = (white - spec.dark_level_counts) / spec.full_well_e * exposure.gain
        counts = np.round(electrons * counts_per_electron + spec.dark_level_counts)
        return np.clip(counts, 0, white).astype(np.uint16)


def _filters(spec: SensorSpec) -> NDArray[np.float32]:
    """Relative response of each pixel's colour filter, float32 [height, width]."""
    if spec.bayer == "none":
        return np.ones((spec.height_px, spec.width_px), np.float32)
    cell = np.array([_FILTER_RESPONSE[c] for c in spec.bayer], np.float32).reshape(2, 2)
    repeats = (-(-spec.height_px // 2), -(-spec.width_px // 2))
    return np.tile(cell, repeats)[: spec.height_px, : spec.width_px]
