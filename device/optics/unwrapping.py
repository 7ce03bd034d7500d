"""Two-dimensional phase unwrapping.

`unwrap` is reliability sorting (Herraez et al., Appl. Opt. 41, 7437 (2002), doi:10.1364/AO.41.007437) by scikit-image,
which keeps steep cells apart and takes masks. `unwrap_least_squares` (Ghiglia and Romero, J. Opt. Soc. Am. A 11, 107 (1994),
doi:10.1364/JOSAA.11.000107), made congruent, needs no extra and holds in noise of a radian a pixel, where sorting gives way.
Measured side by side in the decision record 2026-11-24-phase-unwrapping.md.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from device.errors import CheckError, InputError
from device.installation import how_to_install

__all__ = ["unwrap", "unwrap_least_squares"]


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
        raise CheckError(
            "phase unwrapping needs scikit-image", remedy=how_to_install("phase") + ". Or unwrap by least squares."
        ) from error
    wrapped = np.ma.masked_array(phase_rad, mask=False if valid is None else ~valid)
    found = np.ma.filled(unwrap_phase(wrapped, rng=0).astype(np.float64), np.nan)
    return _centred(found)


def unwrap_least_squares(phase_rad: NDArray[np.floating]) -> NDArray[np.float32]:
    """The phase congruent to a wrapped one, nearest to the surface whose slopes fit best; its median in (-pi, pi].

    Parameters: `phase_rad` float [height, width]. Raises InputError where it isn't two-dimensional or finite.
    """
    if phase_rad.ndim != 2 or not np.isfinite(phase_rad).all():
        raise InputError("not a phase", expected="finite [height, width]", got=f"shape {phase_rad.shape}")
    wrapped = np.asarray(phase_rad, np.float64)
    down, right = (_cycle(np.diff(wrapped, axis=axis)) for axis in (0, 1))
    divergence = np.diff(np.pad(down, ((1, 1), (0, 0))), axis=0) + np.diff(np.pad(right, ((0, 0), (1, 1))), axis=1)
    height, width = wrapped.shape
    # Neumann borders: the cosine transform solves Poisson's equation.
    eigenvalues = 2 * np.cos(np.pi * np.arange(height) / height)[:, None] + 2 * np.cos(np.pi * np.arange(width) / width) - 4
    eigenvalues[0, 0] = 1.0
    surface = np.asarray(scipy.fft.idctn(np.asarray(scipy.fft.dctn(divergence)) / eigenvalues))
    surface += np.angle(np.exp(1j * (wrapped - surface)).mean())
    return _centred(wrapped + 2 * np.pi * np.round((surface - wrapped) / (2 * np.pi)))


def _cycle(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    return (difference + np.pi) % (2 * np.pi) - np.pi


def _centred(phase_rad: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(phase_rad - 2 * np.pi * np.round(np.nanmedian(phase_rad) / (2 * np.pi)), np.float32)
