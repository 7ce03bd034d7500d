"""Whether a reconstructed field explains the hologram it was made from.

The field is carried to the sensor and its intensity is scaled to the measured one by least squares; what remains is
reported relative to the fringes (residual), to the noise (chi2), and as a correlation. `chi_squared` does it for a box and a
known noise, with a probability. Agreement is necessary, not
sufficient: a back-propagated field, twin image and all, agrees with its hologram by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.special
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.propagation import propagate

__all__ = ["Agreement", "ChiSquared", "agreement", "chi_squared", "intensity_variance", "predicted_intensity"]


@dataclass(frozen=True)
class Agreement:
    """How well the intensity a field predicts agrees with the measured one."""

    correlation: float
    """Pearson's, of predicted and measured intensity, -1 to 1."""
    residual: float
    """Root mean square of measured less predicted, relative to that of the fringes; 0 explains all, 1 nothing."""
    chi2: float | None
    """Mean squared residual over the noise's variance; None where the noise isn't known."""


def predicted_intensity(field: NDArray[np.complexfloating], geometry: Geometry) -> NDArray[np.float32]:
    """Intensity at the sensor, float32 [height, width], of an object field."""
    at_sensor = propagate(
        field,
        pitch_um=geometry.object_pitch_um,
        wavelength_um=geometry.wavelength_medium_um,
        distance_um=geometry.propagation_um,
        pupil=geometry.pupil,
    )
    return at_sensor.real**2 + at_sensor.imag**2


def agreement(
    field: NDArray[np.complexfloating], intensity: NDArray[np.floating], geometry: Geometry, *, noise: float | None = None
) -> Agreement:
    """Compare what `field` predicts with what was measured.

    Parameters: `field` complex [height, width] at the object plane; `intensity` float [height, width] at the sensor;
    `noise` relative standard deviation of a pixel. Raises InputError where the shapes differ.
    """
    if field.shape != intensity.shape:
        raise InputError("field and hologram have different shapes", expected=intensity.shape, got=field.shape)
    measured = intensity.astype(np.float64)
    predicted = predicted_intensity(field, geometry).astype(np.float64)
    scale = float((measured * predicted).sum() / max((predicted**2).sum(), 1e-30))
    remainder = measured - scale * predicted
    fringes, modelled = measured - measured.mean(), predicted - predicted.mean()
    power = float((fringes**2).sum())
    covariance = float((fringes * modelled).sum())
    spread = float(np.sqrt(power * float((modelled**2).sum())))
    return Agreement(
        correlation=covariance / spread if spread > 0 else 0.0,
        residual=float(np.sqrt((remainder**2).sum() / power)) if power > 0 else 0.0,
        chi2=float((remainder**2).mean() / noise**2) if noise else None,
    )


@dataclass(frozen=True)
class ChiSquared:
    """What a field leaves unexplained, in units of the noise."""

    reduced: float
    """Chi-squared over the degrees of freedom: 1 where only noise is left."""
    degrees_of_freedom: int
    p: float
    """Probability of as much or more by noise alone, 0 to 1."""
    flag: bool
    """Whether the field doesn't explain the hologram: p under the limit, beyond what calibration may be off by."""


def intensity_variance(
    intensity: NDArray[np.floating],
    *,
    electrons: float,
    read_noise_e: float,
    counts_per_electron: float,
    background_frames: int = 0,
) -> NDArray[np.float64]:
    """Variance of a normalised intensity, float64 [height, width].

    Parameters: `electrons` of a pixel where the intensity is 1; `read_noise_e`; `counts_per_electron` (rounding to counts
    adds a twelfth of a count squared); `background_frames` averaged in the frame it was divided by (0: none).
    Shot noise is Poisson (the variance in electrons is the mean); the background's own noise comes in with the square of
    the intensity. Raises InputError for a pixel without electrons.
    """
    if electrons <= 0 or counts_per_electron <= 0:
        raise InputError("no light, no noise model", expected="electrons and counts_per_electron above 0", got=f"{electrons:g}")
    bright = np.maximum(np.asarray(intensity, np.float64), 0)
    floor = read_noise_e**2 + 1 / (12 * counts_per_electron**2)
    variance = (bright * electrons + floor) / electrons**2
    if background_frames > 0:
        variance = variance + bright**2 * (electrons + floor) / (background_frames * electrons**2)
    return variance


def chi_squared(
    field: NDArray[np.complexfloating],
    intensity: NDArray[np.floating],
    geometry: Geometry,
    variance: NDArray[np.floating],
    *,
    box: tuple[slice, slice] | None = None,
    fitted: int = 1,
    systematic: float = 0.0,
    limit: float = 1e-3,
) -> ChiSquared:
    """Whether only noise is left of a hologram once a field's prediction is taken off.

    Parameters: `field` complex [height, width] at the object plane; `intensity`, `variance` float [height, width] at the
    sensor; `box` of pixels judged (None: all); `fitted` parameters the field took from those pixels, brightness included;
    `systematic` relative error of the fringes that calibration allows (distance, wavelength), added to the variance before
    flagging; `limit` on p. Raises InputError for shapes that differ or a box without pixels.
    """
    if not field.shape == intensity.shape == variance.shape:
        raise InputError(
            "field, hologram and noise have different shapes", expected=intensity.shape, got=(field.shape, variance.shape)
        )
    window = box or (slice(None), slice(None))
    measured = np.asarray(intensity, np.float64)[window]
    predicted = predicted_intensity(field, geometry).astype(np.float64)[window]
    weight = 1 / np.asarray(variance, np.float64)[window]
    degrees = measured.size - fitted
    if degrees < 1:
        raise InputError("too few pixels to judge", expected=f"more than {fitted}", got=measured.size)
    scale = float((weight * measured * predicted).sum() / (weight * predicted**2).sum())
    remainder = (measured - scale * predicted) ** 2
    total = float((weight * remainder).sum())
    tolerated = weight
    if systematic > 0:
        tolerated = 1 / (1 / weight + (systematic * (predicted - 1)) ** 2)
    p = float(scipy.special.chdtrc(degrees, total))
    allowed = float(scipy.special.chdtrc(degrees, float((tolerated * remainder).sum())))
    return ChiSquared(total / degrees, degrees, p, allowed < limit)
