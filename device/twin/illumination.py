"""The twin's light: what it is; its coherence is that of device.optics.coherence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics.coherence import visibility

__all__ = ["Illumination", "coherence_envelope"]


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
    return visibility(
        shape, pitch_um, light.wavelength_um, distance_um,
        bandwidth_um=light.bandwidth_um if temporal else 0.0,
        blur_um=light.source_diameter_um * distance_um / (light.source_distance_um - distance_um),
    )  # fmt: skip
