"""The twin's light: what it is, and what its coherence leaves of a fringe.

For a Gaussian line of standard deviation s, the average of exp(i phi(lambda)) is exp(-(s dphi/dlambda)^2 / 2); a disc source
seen under the angle D / L blurs the hologram by a disc of D z / L (both: J. W. Goodman, Statistical Optics, ch. 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["Illumination", "coherence_envelope"]

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Illumination:
    """The light, in micrometres, in the medium between object and sensor."""

    wavelength_um: float
    """Centre wavelength."""
    bandwidth_um: float = 0.0
    """Full width at half maximum."""
    source_diameter_um: float = 0.0
    """Diameter of the emitting disc."""
    source_distance_um: float = 1e9
    """Source to sensor."""


def coherence_envelope(
    shape: tuple[int, int], pitch_um: float, light: Illumination, distance_um: float, *, temporal: bool = True
) -> NDArray[np.float32]:
    """Visibility of each spatial frequency, float32 [height, width] in FFT order, 0 to 1."""
    fy = fft.fftfreq(shape[0], pitch_um)[:, None]
    fx = fft.fftfreq(shape[1], pitch_um)[None, :]
    squared = fx**2 + fy**2
    envelope = np.ones(shape)
    wavelength = light.wavelength_um
    if temporal and light.bandwidth_um > 0:
        root = np.sqrt(np.maximum(1 / wavelength**2 - squared, 1e-12))
        slope = 2 * np.pi * distance_um * (1 / wavelength**2 - 1 / (wavelength**3 * root))
        envelope *= np.exp(-0.5 * (slope * light.bandwidth_um / _FWHM) ** 2)
    if light.source_diameter_um > 0:
        blur_um = light.source_diameter_um * distance_um / (light.source_distance_um - distance_um)
        argument = np.pi * blur_um * np.sqrt(squared)
        envelope *= np.where(argument > 1e-6, 2 * scipy.special.j1(argument) / np.maximum(argument, 1e-6), 1)
    return envelope.astype(np.float32)
