"""One hologram fitted twice, from different starts: what both have in common the hologram tells, where they differ it doesn't.

One starts from what iterative retrieval makes of it, the other from nothing. `device.optics.untrained` fits; what is held of the object (compact, or transparent) is taken from whichever predicts better the
squares that were kept from both. A frame larger than a tile is fitted tile by tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.held_out import holes
from device.analysis.reconstruct import tile_starts, tile_window
from device.frames import Hologram
from device.optics.untrained import PRIORS, STEPS, Prior, UntrainedFit, classical_start, fit_untrained

__all__ = ["TwoFits", "aligned", "ambiguity", "fit_twice", "likelier_prior"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_TILE_PX = 512
_OVERLAP_PX = 64
_SMOOTH_PX = 2.0
_TRIAL_STEPS = 60


@dataclass(frozen=True)
class TwoFits:
    """Two fields that explain one hologram."""

    field: Complex
    """complex64 [height, width] at the object plane, of the fit that predicts better what neither was shown."""
    other: Complex
    """Of the other."""
    ambiguity: Real
    """float32 [height, width]: how far they differ beyond the hologram's noise, in units of the light."""
    prior: Prior
    """What was held of the object."""
    kept: NDArray[np.bool_]
    """bool [height, width]: pixels that neither was shown."""
    chi2: tuple[float, float]
    """Mean squared difference of amplitudes at the sensor, of both where they were shown it, in units of the noise's."""


def fit_twice(hologram: Hologram, *, prior: Prior | None = None, steps: int = STEPS, seed: int = 0) -> TwoFits:
    """Fit a hologram from two starts; `prior` None: the one that predicts better; `seed` of the decoders."""
    kept = holes(hologram.intensity.shape)
    held = prior or likelier_prior(hologram, kept)
    fits = [_whole(hologram, kept, held, seed + k, steps, started=k == 0) for k in range(2)]
    better, worse = sorted(fits, key=lambda fit: fit[2])
    other = aligned(worse[0], better[0])
    return TwoFits(better[0], other, ambiguity(better[0], other, hologram.noise), held, kept, (better[1], worse[1]))


def likelier_prior(hologram: Hologram, kept: NDArray[np.bool_]) -> Prior:
    """The prior under which a short fit of the frame's middle tile predicts better what is `kept` from it."""
    middle = [slice(max(n - _TILE_PX, 0) // 2, max(n - _TILE_PX, 0) // 2 + _TILE_PX) for n in kept.shape]
    place = (middle[0], middle[1])
    unseen: dict[Prior, float] = {}
    for prior in PRIORS:
        fit = _fit(hologram, kept, place, prior, 0, _TRIAL_STEPS, started=True)
        unseen[prior] = cast("float", fit.unseen)
    return min(PRIORS, key=lambda prior: unseen[prior])


def _whole(
    hologram: Hologram, kept: NDArray[np.bool_], prior: Prior, seed: int, steps: int, *, started: bool
) -> tuple[Complex, float, float]:
    """Field of a frame, tile by tile; chi2 of what was shown and of what wasn't."""
    height, width = kept.shape
    total, weight = np.zeros((height, width), np.complex64), np.zeros((height, width), np.float32)
    chi2: list[tuple[float, float]] = []
    for top in tile_starts(height, _TILE_PX, _OVERLAP_PX):
        for left in tile_starts(width, _TILE_PX, _OVERLAP_PX):
            rows, columns = slice(top, min(top + _TILE_PX, height)), slice(left, min(left + _TILE_PX, width))
            place = (rows, columns)
            fit = _fit(hologram, kept, place, prior, seed, steps, started=started)
            window = tile_window(rows, height, _OVERLAP_PX)[:, None] * tile_window(columns, width, _OVERLAP_PX)[None, :]
            total[place] += window * aligned(fit.field, total[place])
            weight[place] += window
            chi2.append((fit.shown, cast("float", fit.unseen)))
    shown, hidden = np.mean(chi2, axis=0).tolist()
    return (total / np.maximum(weight, np.float32(1e-6))).astype(np.complex64), shown, hidden


def _fit(
    hologram: Hologram, kept: NDArray[np.bool_], place: tuple[slice, slice], prior: Prior, seed: int, steps: int, *, started: bool
) -> UntrainedFit:  # fmt: skip
    intensity, unseen = hologram.intensity[place], kept[place]
    start = classical_start(intensity, hologram.geometry, prior, unseen) if started else None
    return fit_untrained(
        intensity, hologram.geometry, noise=hologram.noise, prior=prior, seed=seed, steps=steps, unseen=unseen, start=start
    )  # fmt: skip


def aligned(field: Complex, like: Complex) -> Complex:
    """A field with the constant phase, which no hologram tells, of another; as it is where the other is nothing."""
    product = np.vdot(field, like)
    return field * np.complex64(product / abs(product)) if product else field


def ambiguity(field: Complex, other: Complex, noise: float) -> Real:
    """Root mean square difference of two fields over a few pixels, less what a hologram's relative `noise` leaves in both."""
    squared = np.abs(field - other).astype(np.float32) ** 2 / 2
    smooth = np.asarray(cv2.GaussianBlur(squared, (0, 0), _SMOOTH_PX), np.float32)
    return np.sqrt(np.maximum(smooth - np.float32(noise**2 / 4), 0))
