"""Two-dimensional phase unwrapping.

`unwrap` is reliability sorting (Herraez et al., Appl. Opt. 41, 7437 (2002), doi:10.1364/AO.41.007437) by scikit-image,
which keeps steep cells apart and takes masks. `unwrap_least_squares` (Ghiglia and Romero, J. Opt. Soc. Am. A 11, 107 (1994),
doi:10.1364/JOSAA.11.000107), made congruent, needs no extra and holds in noise of a radian a pixel, where sorting gives way.
Both keep every pixel congruent to what was measured, noise included, so that in strong noise neither is right everywhere:
`unwrap_field` first takes the noise off the complex field (windowed_fourier.py) where it needs that. Measured side by side in
the decision records 2026-11-24-phase-unwrapping.md and 2026-11-28-noise-before-unwrapping.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from device.errors import CheckError, InputError
from device.installation import how_to_install
from device.optics.windowed_fourier import filter_noise

__all__ = ["Unwrapped", "Unwrapping", "residue_density", "unwrap", "unwrap_field", "unwrap_least_squares"]

Unwrapping = Literal["quality", "wff", "least-squares"]
"""Ways to unwrap: sorting by reliability; the same after the windowed Fourier filter; least squares."""
_TORN = 1e-3
"""Phase singularities per pixel from which on sorting leaves wrong cycles behind."""
_DETERMINED = 0.4
"""Amplitude that isn't noise, over the field's around it, from which on a pixel's cycle is believed."""


@dataclass(frozen=True)
class Unwrapped:
    """A continuous phase and how it came about."""

    phase_rad: NDArray[np.float32]
    """float32 [height, width], its median in (-pi, pi]."""
    method: Unwrapping
    determined: NDArray[np.bool_]
    """bool [height, width]: False where what was recorded doesn't tell the phase. All True without the filter, which alone
    finds that out."""


def unwrap_field(
    field: NDArray[np.complexfloating], method: Unwrapping | Literal["auto"] = "auto", *, noise: float | None = None
) -> Unwrapped:
    """The continuous phase of a complex field.

    Parameters: `field` complex [height, width]; `method` "auto" filters where phase singularities say that the phase is torn
    (more than one in a thousand pixels); `noise` of a pixel, complex root mean square, if it were white (None: estimated).
    Raises InputError where the field can't be unwrapped or the method isn't known, CheckError where scikit-image isn't installed.
    """
    if method not in ("auto", *get_args(Unwrapping)):
        raise InputError("no such unwrapping", expected="auto, " + ", ".join(get_args(Unwrapping)), got=method)
    wrapped = np.angle(field)
    if method == "auto":
        method = "wff" if field.ndim == 2 and residue_density(wrapped) > _TORN else "quality"
    if method != "wff":
        phase_rad = unwrap(wrapped) if method == "quality" else unwrap_least_squares(wrapped)
        return Unwrapped(phase_rad, method, np.ones(phase_rad.shape, np.bool_))
    smooth, coherence = filter_noise(field, noise)
    return Unwrapped(unwrap(np.angle(smooth)), method, coherence > _DETERMINED)


def residue_density(phase_rad: NDArray[np.floating]) -> float:
    """Phase singularities per pixel of a wrapped phase [height, width], 0 to 1: where unwrapping depends on its path."""
    down, right = (_cycle(np.diff(phase_rad, axis=axis)) for axis in (0, 1))
    around = right[:-1] + down[:, 1:] - right[1:] - down[:, :-1]
    return float(np.mean(np.abs(around) > np.pi)) if around.size else 0.0


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


def _cycle(difference: NDArray[np.floating]) -> NDArray[np.floating]:
    return (difference + np.pi) % (2 * np.pi) - np.pi


def _centred(phase_rad: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(phase_rad - 2 * np.pi * np.round(np.nanmedian(phase_rad) / (2 * np.pi)), np.float32)
