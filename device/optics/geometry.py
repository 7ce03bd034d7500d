"""The recording geometry, and its equivalent plane-wave form.

A diverging (point-source) recording is the plane-wave recording of the same object with magnification
M = L / (L - z), pitch p / M and distance z / M, where L is source to sensor and z object to sensor
(Kreuzer's scaling; see e.g. Garcia-Sucerquia et al., Appl. Opt. 45, 836 (2006), doi:10.1364/AO.45.000836).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from device.errors import InputError
from device.optics.coherence import Coherence
from device.optics.pupil import Pupil

__all__ = ["Geometry"]

_BOUNDS_UM = {
    "wavelength_um": (0.1, 20.0),
    "pitch_um": (0.01, 100.0),
    "distance_um": (0.0, 1_000_000.0),
}


@dataclass(frozen=True)
class Geometry:
    """How an in-line hologram was recorded; all lengths in micrometres."""

    wavelength_um: float
    """Vacuum wavelength, 0.1 to 20."""
    pitch_um: float
    """Pixel pitch of the sensor, 0.01 to 100."""
    distance_um: float
    """Object plane to sensor, 0 to 1e6."""
    magnification: float = 1.0
    """Magnification of a lens between object and sensor; 1 without a lens."""
    source_distance_um: float | None = None
    """Point source to sensor; None for a plane wave."""
    medium_index: float = 1.0
    """Refractive index of the medium between object and sensor, 1 to 2."""
    pupil: Pupil | None = None
    """Measured aberrations; None for an instrument without any."""
    coherence: Coherence | None = None
    """Of the lamp; None where it isn't known: that of a laser."""

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS_UM.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise InputError(
                    f"{name} is out of physical range",
                    where="geometry",
                    expected=f"{low:g} to {high:g} um",
                    got=f"{value:g}",
                    remedy="All lengths are micrometres: 532 nm is 0.532, 8 mm is 8000.",
                )
        for name, (low, high) in {"magnification": (1e-3, 1e3), "medium_index": (1.0, 2.0)}.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"{name} is out of range", where="geometry", expected=f"{low:g} to {high:g}", got=value)
        if self.source_distance_um is not None and not (
            math.isfinite(self.source_distance_um) and self.source_distance_um > self.distance_um
        ):
            raise InputError(
                "the source lies between object and sensor",
                where="geometry",
                expected=f"source_distance_um above distance_um ({self.distance_um:g} um)",
                got=f"{self.source_distance_um:g} um",
                remedy="source_distance_um is measured from the point source to the sensor.",
            )

    @property
    def wavelength_medium_um(self) -> float:
        """Wavelength in the medium."""
        return self.wavelength_um / self.medium_index

    @property
    def total_magnification(self) -> float:
        """Lens magnification times the geometric magnification of the point source."""
        if self.source_distance_um is None:
            return self.magnification
        return self.magnification * self.source_distance_um / (self.source_distance_um - self.distance_um)

    @property
    def object_pitch_um(self) -> float:
        """Pitch of one pixel at the object plane."""
        return self.pitch_um / self.total_magnification

    @property
    def propagation_um(self) -> float:
        """Distance of the equivalent plane-wave recording."""
        return self.distance_um * self.magnification / self.total_magnification

    @property
    def defocus_number(self) -> float:
        """Dimensionless distance wavelength * z / pitch**2 of the equivalent plane-wave recording."""
        return self.wavelength_medium_um * self.propagation_um / self.object_pitch_um**2

    @property
    def source_blur_um(self) -> float:
        """Diameter of the source's image, at the object's scale."""
        if self.coherence is None or self.coherence.source_distance_um is None:
            return 0.0
        angle = self.coherence.source_diameter_um / (self.coherence.source_distance_um - self.distance_um)
        return angle * self.distance_um * self.magnification / self.total_magnification

    def equivalent_um(self, distance_um: float) -> float:
        """Where a particle at another distance focuses on this recording's grid: equivalent plane-wave distance.

        Its fringes at the sensor are a chirp of z L / (L - z); the grid's pitch is that of this geometry's own distance.
        """
        other = self.at(distance_um)
        return other.propagation_um * (self.object_pitch_um / other.object_pitch_um) ** 2

    def distance_of(self, equivalent_um: float) -> float:
        """Distance to the sensor of a particle that focuses there: the inverse of `equivalent_um`."""
        if self.source_distance_um is None:
            return equivalent_um
        chirp_um = equivalent_um * (self.total_magnification / self.magnification) ** 2
        return chirp_um * self.source_distance_um / (self.source_distance_um + chirp_um)

    def at(self, distance_um: float) -> Geometry:
        """The same recording with the object plane at another distance from the sensor."""
        return replace(self, distance_um=distance_um)
