"""What a box meets in the field: heat, fouled windows, tired lamps, cover-glass fringes, motion, a worn sensor.

Everything is off, or as mild as a new box, by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["OperatingConditions"]

REFERENCE_C = 25.0
WAVELENGTH_DRIFT_UM_PER_K = 0.00025
"""Of an 850 nm LED: data sheets give 0.2 to 0.3 nm/K."""
DISTANCE_DRIFT_UM_PER_K = 0.05
"""Of a printed or milled spacer of about 0.5 mm with its glue, 1e-4 per kelvin."""
LED_OUTPUT_PER_K = -0.003
"""Relative output of a near-infrared LED, -0.2 to -0.5 % per kelvin (data sheets)."""


@dataclass(frozen=True)
class OperatingConditions:
    """The state of things around one frame."""

    temperature_c: float = REFERENCE_C
    """Of the box: moves wavelength, distance, light and dark current."""
    lamp_ageing: float = 1.0
    """Share of its first light that the lamp still gives, 0 to 1."""
    fouling: float = 0.0
    """Share of the window that is soiled, 0 to 1: dims and writes smears."""
    fringe_contrast: float = 0.0
    """Of the fringes between the faces of the cover glass, 0 to 1."""
    flow_um_s: float = 0.0
    """Speed of the sample along the columns while the frame is exposed."""
    vignetting: float = 0.25
    """Relative loss of light from the middle to the corners."""
    prnu: float = 0.0
    """Pixel-to-pixel scatter of the response, relative (EMVA 1288); 0.01 is usual."""
    hot_share: float = 0.0
    """Share of pixels with a hundred times the dark current and more."""
    dark_current_e_s: float = 0.0
    """At the reference temperature, per pixel; doubles every 6.5 K."""
    row_noise_e: float = 0.0
    """Noise that all pixels of a row share."""

    @property
    def lamp_output(self) -> float:
        """Share of a new lamp's light at 25 degrees that it gives."""
        warmth = 1 + LED_OUTPUT_PER_K * (self.temperature_c - REFERENCE_C)
        return self.lamp_ageing * max(warmth, 0.0)

    @property
    def light_left(self) -> float:
        """Share of a new lamp's light at 25 degrees that arrives."""
        return self.lamp_output * (1 - 0.5 * self.fouling)

    @property
    def wavelength_drift_um(self) -> float:
        """How much longer the lamp's vacuum wavelength is."""
        return WAVELENGTH_DRIFT_UM_PER_K * (self.temperature_c - REFERENCE_C)

    @property
    def distance_drift_um(self) -> float:
        """How much farther from the sensor everything lies."""
        return DISTANCE_DRIFT_UM_PER_K * (self.temperature_c - REFERENCE_C)

    def shade(self, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
        """Light that window and cover glass let through, float32 [height, width], mean near 1; the same for one `rng` state."""
        shade = np.ones(shape, np.float32)
        if self.fringe_contrast > 0:
            # A wedge of the glass: straight fringes of a hundred pixels or so.
            turn, period = rng.uniform(0, np.pi), rng.uniform(60, 160)
            y, x = np.ogrid[: shape[0], : shape[1]]
            phase = 2 * np.pi * (y * np.sin(turn) + x * np.cos(turn)) / period + rng.uniform(0, 2 * np.pi)
            shade *= (1 + self.fringe_contrast * np.cos(phase)).astype(np.float32)
        if self.fouling > 0:
            smears = scipy.ndimage.gaussian_filter(rng.normal(size=shape).astype(np.float32), 18.0)
            soiled = smears > np.quantile(smears, 1 - min(self.fouling, 1.0))
            shade *= 1 - np.float32(0.35) * scipy.ndimage.gaussian_filter(soiled.astype(np.float32), 2.0)
        return shade

    def moved(self, intensity: NDArray[np.float32], pitch_um: float, exposure_us: float) -> NDArray[np.float32]:
        """The intensity blurred by what flows on while the frame is exposed."""
        length_px = self.flow_um_s * exposure_us * 1e-6 / pitch_um
        if length_px < 0.05:
            return intensity
        blur = np.sinc(fft.fftfreq(intensity.shape[1]) * length_px).astype(np.float32)
        return np.asarray(fft.ifft2(fft.fft2(intensity) * blur[None, :]).real, np.float32)

    def truth(self) -> dict[str, float]:
        """What a truth file says of it."""
        return {
            "temperature_c": self.temperature_c, "lamp_ageing": self.lamp_ageing, "fouling": self.fouling,
            "fringe_contrast": self.fringe_contrast, "flow_um_s": self.flow_um_s, "light_left": self.light_left,
            "distance_drift_um": self.distance_drift_um,
            "wavelength_drift_um": self.wavelength_drift_um,
        }  # fmt: skip
