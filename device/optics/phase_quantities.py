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

__all__ = ["PhaseQuantities", "optical_path_um", "phase_quantities", "thickness_um"]

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
    """Negative where the object's phase is: then the frame's other order was taken."""
    dry_mass_uncertainty_pg: float
    """The increment's share included, 5 % of 0.19 mL/g."""


def optical_path_um(phase_rad: NDArray[np.floating], wavelength_um: float) -> NDArray[np.floating]:
    """Optical path difference of an unwrapped phase; `wavelength_um` in vacuum."""
    return phase_rad * (wavelength_um / (2 * np.pi))


def thickness_um(phase_rad: NDArray[np.floating], wavelength_um: float, index_contrast: float) -> NDArray[np.floating]:
    """Thickness of an even material; `index_contrast` is its refractive index less the medium's, not zero."""
    if index_contrast == 0:
        raise InputError("a material without contrast has no thickness in phase", where="index_contrast", got=0)
    return optical_path_um(phase_rad, wavelength_um) / index_contrast


def phase_quantities(
    phase_rad: NDArray[np.floating],
    mask: NDArray[np.bool_],
    *,
    wavelength_um: float,
    pitch_um: float,
    background: NDArray[np.bool_] | None = None,
    increment_ml_per_g: float = INCREMENT_ML_PER_G,
) -> PhaseQuantities:
    """Quantities of the object under a mask, against the median of the background.

    Parameters: `phase_rad` unwrapped, float [height, width], NaN where it means nothing; `mask` bool [height, width];
    `background` likewise, where nothing is (None: all outside the mask, right while other objects cover less than a few
    per cent of it); `wavelength_um` in vacuum, `pitch_um` at the object; `increment_ml_per_g` 0.18 to 0.21 for cells.
    Raises InputError where a mask is empty, full or of another shape, or where its phase is all NaN.
    """
    if mask.shape != phase_rad.shape or not mask.any() or mask.all():
        raise InputError(
            "not the mask of an object", expected=f"some of {phase_rad.shape} pixels", got=f"{int(mask.sum())} of {mask.shape}"
        )
    path_um = np.asarray(optical_path_um(phase_rad, wavelength_um), np.float64)
    empty = (~mask if background is None else background & ~mask) & np.isfinite(path_um)
    told = mask & np.isfinite(path_um)
    if not empty.any() or not told.any():
        raise InputError("no finite phase under the mask or in the background", where="phase quantities")
    # Pixels without a phase count with the mean of the others.
    area_um2 = float(mask.sum()) * pitch_um**2
    mean_um = float(np.mean(path_um[told]) - np.median(path_um[empty]))
    deviation_um = _mean_uncertainty(path_um, empty, int(mask.sum()))
    volume_um3 = mean_um * area_um2
    volume_uncertainty_um3 = deviation_um * area_um2
    # 1 um3 of optical volume over mL/g is a picogram: 1 um3 = 1e-12 mL, 1 g = 1e12 pg.
    mass_pg = volume_um3 / increment_ml_per_g
    relative = np.hypot(
        volume_uncertainty_um3 / max(abs(volume_um3), 1e-30), INCREMENT_UNCERTAINTY_ML_PER_G / increment_ml_per_g
    )
    return PhaseQuantities(
        area_um2, mean_um, deviation_um, volume_um3, volume_uncertainty_um3, mass_pg, abs(mass_pg) * float(relative)
    )


def _mean_uncertainty(path_um: NDArray[np.float64], empty: NDArray[np.bool_], area_px: int) -> float:
    """Scatter of background means over windows of the mask's area: noise of a background is never white.

    Of eight windows and more the scatter is taken robustly: objects nobody masked mustn't count as noise.
    """
    side = max(int(np.sqrt(area_px)), 1)
    height, width = path_um.shape
    means = [
        float(np.mean(path_um[top : top + side, left : left + side]))
        for top in range(0, height - side + 1, side)
        for left in range(0, width - side + 1, side)
        if empty[top : top + side, left : left + side].all()
    ]
    if len(means) >= 8:
        return float(1.4826 * np.median(np.abs(np.array(means) - np.median(means))))
    if len(means) >= 4:
        return float(np.std(means, ddof=1))
    return float(np.std(path_um[empty]))
