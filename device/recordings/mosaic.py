"""The pattern of colour filters in a raw frame: seen, and levelled.

Under a lamp of one colour every pixel of a colour sensor measures the same light, each through its filter: four interleaved
lattices that differ by a factor. Fringes average out over a lattice; the filters don't.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["levelled", "mosaic_of"]

_BLOCKS = 8
_LEAST_CONTRAST = 1.25
"""Brightest over darkest lattice: less is the uneven response of a monochrome sensor's columns and rows, or an off-axis carrier."""
_AGREEMENT = 0.15
"""Fringes near two pixels a period look like filters in places; filters look alike all over the frame."""
_DARKEST = 0.01
"""Of the mean light: a lattice behind a darker filter holds noise alone."""


def mosaic_of(pixels: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Transmission of the four lattices relative to their mean, float64 [2, 2], [row, column] as in the first 2 x 2 pixels; None
    where there are no filters to be seen."""
    rows, columns = (n // 2 for n in pixels.shape)
    blocks = (min(_BLOCKS, columns), min(_BLOCKS, rows))
    lattices = [np.ascontiguousarray(pixels[i : 2 * rows : 2, j : 2 * columns : 2]) for i in range(2) for j in range(2)]
    found = np.stack([cv2.resize(lattice, blocks, interpolation=cv2.INTER_AREA) for lattice in lattices], axis=-1)
    light = found.mean(axis=-1, dtype=np.float64)
    lit = (found[light > 0] / light[light > 0][:, None]).reshape(-1, 2, 2)
    if 2 * len(lit) < light.size or not len(lit):
        return None
    pattern = np.median(lit, axis=0)
    if pattern.max() < _LEAST_CONTRAST * pattern.min():
        return None
    off = np.abs(lit - pattern).max(axis=(1, 2))
    spread = pattern.max() - pattern.min()
    return pattern if float(np.quantile(off, 0.8)) <= max(_AGREEMENT * spread, 0.02) else None


def levelled(pixels: NDArray[np.float32], pattern: NDArray[np.float64]) -> NDArray[np.float32]:
    """The frame as without filters: every lattice divided by its transmission, the mean light kept.

    A lattice that holds next to no light takes the mean of its neighbours.
    """
    out = pixels.copy()
    for i in range(2):
        for j in range(2):
            out[i::2, j::2] /= np.float32(max(pattern[i, j], _DARKEST))
    for i, j in zip(*np.nonzero(pattern < _DARKEST), strict=True):
        around = np.pad(out, 1, mode="reflect")
        beside = (around[1:-1, :-2] + around[1:-1, 2:]) / 2
        out[i::2, j::2] = beside[i::2, j::2]
    return out
