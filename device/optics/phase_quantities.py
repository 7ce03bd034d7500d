"""What a phase says about the object: optical path, volume, dry mass.

Phase over the wave number is the optical path difference to the surroundings; integrated over a cell and divided by the
specific refraction increment it is the dry mass (Barer, Nature 169, 366 (1952), doi:10.1038/169366b0; increment
0.18 to 0.21 mL/g for proteins and cytoplasm, Zhao et al., Biophys. J. 100, 2309 (2011), doi:10.1016/j.bpj.2011.03.004).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError

__all__ = ["PhaseQuantities", "optical_path_um", "phase_quantities"]

INCREMENT_ML_PER_G = 0.19
INCREMENT_UNCERTAINTY_ML_PER_G = 0.01


@dataclass(frozen=True)
class PhaseQuantities:
    """Figures of one object; uncertainties are one standard deviation."""

    area_um2: float
    """Of its mask."""
    optical_path_um: float
    """Mean optical path difference to the background."""
    optical_path_uncertainty_um: float
    """Of the mean, from the background's scatter."""
    optical_volume_um3: float
    """Optical path integrated over the mask."""
    optical_volume_uncertainty_um3: float
    dry_mass_pg: float
    """For a specific refraction increment of 0.19 mL/g."""
    dry_mass_uncertainty_pg: float
    """The increment's share, 5 %, included."""


def optical_path_um(phase_rad: NDArray[np.floating], wavelength_um: float) -> NDArray[np.floating]:
    """Optical path difference of an unwrapped phase; `wavelength_um` in vacuum."""
    return phase_rad * (wavelength_um / (2 * np.pi))


def phase_quantities(
    phase_rad: NDArray[np.floating], mask: NDArray[np.bool_], *, wavelength_um: float, pitch_um: float
) -> PhaseQuantities:
    """Quantities of the object under a mask, against the median of what lies outside.

    Parameters: `phase_rad` unwrapped, float [height, width]; `mask` bool [height, width]; `wavelength_um` in vacuum,
    `pitch_um` at the object. Raises InputError where the mask is empty, full or of another shape.
    """
    if mask.shape != phase_rad.shape or not mask.any() or mask.all():
        raise InputError(
            "not the mask of an object", expected=f"some of {phase_rad.shape} pixels", got=f"{int(mask.sum())} of {mask.shape}"
        )
    path_um = np.asarray(optical_path_um(phase_rad, wavelength_um), np.float64)
    outside = path_um[~mask & np.isfinite(path_um)]
    background_um = float(np.median(outside))
    inside = path_um[mask] - background_um
    area_um2 = float(mask.sum()) * pitch_um**2
    mean_um = float(np.nanmean(inside))
    deviation_um = _mean_uncertainty(path_um, mask)
    volume_um3 = mean_um * area_um2
    volume_uncertainty_um3 = deviation_um * area_um2
    # 1 um3 of optical volume over mL/g is a picogram: 1 um3 = 1e-12 mL, 1 g = 1e12 pg.
    mass_pg = volume_um3 / INCREMENT_ML_PER_G
    relative = np.hypot(
        volume_uncertainty_um3 / max(abs(volume_um3), 1e-30), INCREMENT_UNCERTAINTY_ML_PER_G / INCREMENT_ML_PER_G
    )
    return PhaseQuantities(
        area_um2, mean_um, deviation_um, volume_um3, volume_uncertainty_um3, mass_pg, abs(mass_pg) * float(relative)
    )


def _mean_uncertainty(path_um: NDArray[np.float64], mask: NDArray[np.bool_]) -> float:
    """Scatter of background means over windows of the mask's area: noise of a background is never white."""
    side = max(int(np.sqrt(mask.sum())), 1)
    height, width = path_um.shape
    means = [
        float(np.nanmean(path_um[top : top + side, left : left + side]))
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
        if not mask[top : top + side, left : left + side].any()
    ]
    if len(means) >= 4:
        return float(np.std(means, ddof=1))
    return float(np.nanstd(path_um[~mask]))
