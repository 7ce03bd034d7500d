"""What partial coherence and finite pixels leave of a fringe.

For a Gaussian line of standard deviation s, the average of exp(i phi(lambda)) is exp(-(s dphi/dlambda)^2 / 2); a disc source
seen under the angle D / L blurs the hologram by a disc of D z / L (both: J. W. Goodman, Statistical Optics, ch. 5). Both
act on the interference of reference and scattered wave, frequency by frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["Coherence", "fringe_visibility", "pixel_visibility", "visibility"]

_FWHM = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Coherence:
    """How far from a laser a lamp is; the default is one."""

    bandwidth_um: float = 0.0
    """Full width at half maximum of the spectrum, in vacuum."""
    source_diameter_um: float = 0.0
    """Diameter of the emitting disc."""
    source_distance_um: float | None = None
    """Source to sensor; None: far."""


def visibility(
    shape: tuple[int, int], pitch_um: float, wavelength_um: float, distance_um: float, *, bandwidth_um: float = 0.0,
    blur_um: float = 0.0,
) -> NDArray[np.float32]:  # fmt: skip
    """Visibility of each spatial frequency, float32 [height, width] in FFT order, 0 to 1 (below 0 where a blur inverts it).

    `wavelength_um` and `bandwidth_um` (full width at half maximum) in the medium; `blur_um` diameter of the source's image.
    """
    fy = fft.fftfreq(shape[0], pitch_um)[:, None]
    fx = fft.fftfreq(shape[1], pitch_um)[None, :]
    frequency = np.sqrt(fy**2 + fx**2)
    return fringe_visibility(frequency, wavelength_um, distance_um, bandwidth_um=bandwidth_um, blur_um=blur_um).astype(
        np.float32
    )


def fringe_visibility(
    frequency_per_um: NDArray[np.float64], wavelength_um: float, distance_um: float, *, bandwidth_um: float = 0.0,
    blur_um: float = 0.0,
) -> NDArray[np.float64]:  # fmt: skip
    """`visibility` at spatial frequencies of any shape, in cycles per micrometre."""
    envelope = np.ones(frequency_per_um.shape)
    if bandwidth_um > 0:
        root = np.sqrt(np.maximum(1 / wavelength_um**2 - frequency_per_um**2, 1e-12))
        slope = 2 * np.pi * distance_um * (1 / wavelength_um**2 - 1 / (wavelength_um**3 * root))
        envelope *= np.exp(-0.5 * (slope * bandwidth_um / _FWHM) ** 2)
    if blur_um > 0:
        argument = np.pi * blur_um * frequency_per_um
        envelope *= np.where(argument > 1e-6, 2 * scipy.special.j1(argument) / np.maximum(argument, 1e-6), 1)
    return envelope


def pixel_visibility(shape: tuple[int, int]) -> NDArray[np.float32]:
    """What square pixels without gaps leave of each frequency, float32 [height, width] in FFT order."""
    rows, columns = (np.sinc(fft.fftfreq(n)).astype(np.float32) for n in shape)
    return rows[:, None] * columns[None, :]
