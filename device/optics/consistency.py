"""Whether a reconstructed field explains the hologram it was made from.

The field is carried to the sensor and its intensity is scaled to the measured one by least squares; what remains is
reported relative to the fringes (residual), to the noise (chi2), and as a correlation. Agreement is necessary, not
sufficient: a back-propagated field, twin image and all, agrees with its hologram by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.propagation import propagate

__all__ = ["Agreement", "agreement", "predicted_intensity"]


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
