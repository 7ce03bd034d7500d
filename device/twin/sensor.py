"""The simulated image sensor: from intensity to counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.frames import Exposure, LampState
from device.instrument import SensorSpec
from device.twin.environment import OperatingConditions

__all__ = ["SENSORS", "SensorModel"]

# The exposure at which the lamp fills 60 % of the well: 2 ms at 20 mA and gain 1.
_NOMINAL_EXPOSURE_US_MA = 2000.0 * 20.0
_NOMINAL_FILL = 0.6

# Relative response of the colour filters at 850 nm, where all are nearly clear.
_FILTER_RESPONSE = {"R": 1.0, "G": 0.97, "B": 0.98}


SENSORS: Mapping[str, SensorSpec] = MappingProxyType(
    {
        "IMX219": SensorSpec(
            model="IMX219", width_px=3280, height_px=2464, pitch_um=1.12, bit_depth=10, full_well_e=4700.0, read_noise_e=3.0,
            dark_level_counts=64.0, bayer="BGGR",
        ),
        "IMX477": SensorSpec(
            model="IMX477", width_px=4056, height_px=3040, pitch_um=1.55, bit_depth=12, full_well_e=8180.0, read_noise_e=2.0,
            dark_level_counts=256.0, bayer="RGGB",
        ),
        "IMX296": SensorSpec(
            model="IMX296", width_px=1456, height_px=1088, pitch_um=3.45, bit_depth=10, full_well_e=10600.0, read_noise_e=2.2,
            dark_level_counts=60.0,
        ),
        "OV9281": SensorSpec(
            model="OV9281", width_px=1280, height_px=800, pitch_um=3.0, bit_depth=10, full_well_e=7000.0, read_noise_e=4.0,
            dark_level_counts=64.0,
        ),
    }
)  # fmt: skip
"""Sensors by name, whole read-out. Pixels, pitch and bits: the makers' product briefs (Sony IMX219, IMX477, IMX296; OmniVision
OV9281); wells and read noise: typical measured values of cameras with these sensors, which a box's own `dark` and `flat`
records replace. IMX296 and OV9281 have a global shutter."""


@dataclass(frozen=True)
class SensorModel:
    """A sensor with its fixed pattern: vignetting, colour filters, dirt on the cover glass."""

    spec: SensorSpec
    response: NDArray[np.float32]
    """float32 [height, width]: relative response to even light."""
    dark_e_s: NDArray[np.float32] | None = None
    """float32 [height, width]: dark current of each pixel at 25 degrees; None: none."""
    row_noise_e: float = 0.0
    """Noise that a row shares."""

    @classmethod
    def draw(
        cls, spec: SensorSpec, rng: np.random.Generator, dirt: int = 6, wear: OperatingConditions | None = None
    ) -> SensorModel:
        """A sensor of this kind, with `dirt` shadows on it, worn as `wear` says."""
        worn = wear or OperatingConditions()
        height, width = spec.height_px, spec.width_px
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        middle_y, middle_x = height / 2 + rng.normal(0, height / 20), width / 2 + rng.normal(0, width / 20)
        squared = ((y - middle_y) / height) ** 2 + ((x - middle_x) / width) ** 2
        response = (1 - worn.vignetting * squared).astype(np.float32)
        shadows = np.zeros((height, width), np.float32)
        for _ in range(dirt):
            shadows[int(rng.integers(height)), int(rng.integers(width))] = rng.uniform(20, 60)
        response *= np.exp(-scipy.ndimage.gaussian_filter(shadows, 3.0))
        response *= _filters(spec)
        if worn.prnu > 0:
            response *= 1 + np.float32(worn.prnu) * rng.standard_normal(response.shape, dtype=np.float32)
        dark = None
        if worn.dark_current_e_s > 0 or worn.hot_share > 0:
            dark = np.full(response.shape, worn.dark_current_e_s, np.float32)
            hot = rng.random(response.shape) < worn.hot_share
            dark[hot] = max(worn.dark_current_e_s, 1.0) * 100 * np.exp(rng.normal(0, 1.0, int(hot.sum())))
        return cls(spec, response.astype(np.float32), dark, worn.row_noise_e)

    def expose(
        self,
        intensity: NDArray[np.float32],
        exposure: Exposure,
        lamp: LampState,
        rng: np.random.Generator,
        ageing: float = 1.0,
        temperature_c: float = 25.0,
    ) -> NDArray[np.uint16]:
        """Counts uint16 [height, width]: dark where the lamp is off, clipped where it is over-exposed.

        `ageing` scales the lamp's light; the lamp current is what was acknowledged. Dark current doubles every 6.5 K.
        """
        spec = self.spec
        current_ma = lamp.current_ma if lamp.is_on else 0.0
        fill = _NOMINAL_FILL * lamp.lit_us(exposure.exposure_us) * current_ma / _NOMINAL_EXPOSURE_US_MA * ageing
        expected = np.clip(intensity * self.response * fill, 0, 50) * spec.full_well_e
        if self.dark_e_s is not None:
            expected = expected + self.dark_e_s * (exposure.exposure_us * 1e-6 * 2 ** ((temperature_c - 25.0) / 6.5))
        electrons = rng.poisson(expected).astype(np.float32)
        electrons = np.minimum(electrons, spec.full_well_e)
        electrons += rng.standard_normal(electrons.shape, dtype=np.float32) * np.float32(spec.read_noise_e)
        if self.row_noise_e > 0:
            electrons += rng.normal(0, self.row_noise_e, (electrons.shape[0], 1)).astype(np.float32)
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
