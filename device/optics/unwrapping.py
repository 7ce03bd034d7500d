"""Two-dimensional phase unwrapping.

Reliability sorting (Herraez et al., Appl. Opt. 41, 7437 (2002), doi:10.1364/AO.41.007437) by scikit-image, which follows
every true edge and needs no quality map; see the decision record 2026-11-24-phase-unwrapping.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.errors import CheckError, InputError

__all__ = ["unwrap"]


def unwrap(phase_rad: NDArray[np.floating], valid: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    """The continuous phase behind a wrapped one, its median in (-pi, pi].

    Parameters: `phase_rad` float [height, width]; `valid` bool [height, width], False where the phase means nothing
    (those pixels come back as NaN). Raises InputError where the phase isn't two-dimensional or finite where valid,
    CheckError where scikit-image isn't installed.
    """
    if phase_rad.ndim != 2:
        raise InputError("a phase must be two-dimensional", expected="[height, width]", got=f"shape {phase_rad.shape}")
    if not np.isfinite(phase_rad if valid is None else phase_rad[valid]).all():
        raise InputError("the phase holds NaN or infinity", remedy="Leave such pixels out through `valid`.")
    try:
        from skimage.restoration import unwrap_phase
    except ImportError as error:
        raise CheckError("phase unwrapping needs scikit-image", remedy="pip install 'holonode[phase]'") from error
    wrapped = np.ma.masked_array(phase_rad, mask=False if valid is None else ~valid)
    found = np.ma.filled(unwrap_phase(wrapped, rng=0).astype(np.float64), np.nan)
    found -= 2 * np.pi * np.round(np.nanmedian(found) / (2 * np.pi))
    return np.asarray(found, np.float32)
