"""What a lens, a window or a cover slip does to the scattered wave: a phase over its spatial frequencies.

Zernike polynomials of unit root mean square over a disc of frequencies (Noll, J. Opt. Soc. Am. 66, 207 (1976),
doi:10.1364/JOSA.66.000207). Piston, tilt and defocus are left out: they are the reference wave's phase (the spherical
term's own is taken off), a shift of the whole image, and the distance. Sign: a wave at the sensor is that of the ideal instrument times exp(+i phase) in its spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache

__all__ = ["ABERRATIONS", "Pupil", "aberration_terms"]

ABERRATIONS = ("astigmatism_0", "astigmatism_45", "coma_x", "coma_y", "trefoil_x", "trefoil_y", "spherical")
"""Names of the coefficients, in their order."""

_TERMS: tuple[Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]], ...] = (
    lambda r, t: math.sqrt(6) * r**2 * np.cos(2 * t),
    lambda r, t: math.sqrt(6) * r**2 * np.sin(2 * t),
    lambda r, t: math.sqrt(8) * (3 * r**3 - 2 * r) * np.cos(t),
    lambda r, t: math.sqrt(8) * (3 * r**3 - 2 * r) * np.sin(t),
    lambda r, t: math.sqrt(8) * r**3 * np.cos(3 * t),
    lambda r, t: math.sqrt(8) * r**3 * np.sin(3 * t),
    lambda r, _: math.sqrt(5) * 6 * (r**4 - r**2),
)


@dataclass(frozen=True)
class Pupil:
    """Aberrations of an instrument."""

    coefficients_rad: tuple[float, ...]
    """Root mean square of each of ABERRATIONS over the disc, in radians."""
    radius_per_um: float
    """Radius of the disc: cycles per micrometre at the object."""

    def __post_init__(self) -> None:
        if len(self.coefficients_rad) != len(ABERRATIONS) or not all(math.isfinite(c) for c in self.coefficients_rad):
            raise InputError(
                "these are no aberrations", where="pupil", expected=", ".join(ABERRATIONS), got=self.coefficients_rad
            )
        if not 1e-4 <= self.radius_per_um <= 100:
            raise InputError(
                "the pupil's radius is out of range",
                where="pupil",
                expected="0.0001 to 100 cycles per um",
                got=self.radius_per_um,
            )

    @property
    def rms_rad(self) -> float:
        """Root mean square of the whole phase over the disc."""
        return math.sqrt(sum(c * c for c in self.coefficients_rad))

    def transfer(self, shape: tuple[int, int], pitch_um: float) -> NDArray[np.complex64]:
        """exp(i phase), complex64 [height, width] in FFT order, read-only."""
        return _transfer(shape, pitch_um, self)


def aberration_terms(shape: tuple[int, int], pitch_um: float, radius_per_um: float) -> NDArray[np.float32]:
    """Each of ABERRATIONS at one radian, float32 [7, height, width] in FFT order.

    Beyond the disc, where nothing was measured, the phase is that of its rim. The reference wave's is zero.
    """
    fy = fft.fftfreq(shape[0], pitch_um)[:, None]
    fx = fft.fftfreq(shape[1], pitch_um)[None, :]
    rho = np.minimum(np.hypot(fy, fx) / radius_per_um, 1.0)
    angle = np.arctan2(fy, fx + 0 * fy)
    return np.stack([term(rho, angle) for term in _TERMS]).astype(np.float32)


@byte_bounded_cache(32 * 2**20)
def _transfer(shape: tuple[int, int], pitch_um: float, pupil: Pupil) -> NDArray[np.complex64]:
    terms = aberration_terms(shape, pitch_um, pupil.radius_per_um)
    phase = np.tensordot(np.asarray(pupil.coefficients_rad, np.float32), terms, axes=1)
    return np.exp(1j * phase).astype(np.complex64)
