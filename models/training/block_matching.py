"""Block matching and three-dimensional filtering of a complex image: the baseline of denoisers.

K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, IEEE Trans. Image Process. 16, 2080 (2007), doi:10.1109/TIP.2007.901238, on the complex
field itself (V. Katkovnik, M. Ponomarenko, K. Egiazarian, Signal Process. 141, 2017, doi:10.1016/j.sigpro.2017.06.004), its noise
of any spectrum: what every coefficient of a block's transform holds of it is told (Y. Makinen, L. Azzari, A. Foi, IEEE Trans. Image
Process. 29, 8339 (2020), doi:10.1109/TIP.2020.3014721).
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

__all__ = ["block_matched"]

Complex = NDArray[np.complex64]
Places = tuple[NDArray[np.intp], NDArray[np.intp]]

_BLOCK_PX = 8
_STEP_PX = 3
_REACH_PX = 12
"""How far alike blocks are looked for, every second pixel."""
_GROUP = 16
_AXES = (1, 2, 3)


def block_matched(field: Complex, noise: Complex, threshold: float = 2.7) -> Complex:
    """The field without its noise, complex64 [height, width].

    `noise` complex [height, width], any size of a block and more: a sample of the noise alone; `threshold` in standard deviations of a
    coefficient, of the first pass.
    """
    blocks = np.lib.stride_tricks.sliding_window_view(noise, (_BLOCK_PX, _BLOCK_PX)).reshape(-1, _BLOCK_PX, _BLOCK_PX)
    variance = np.mean(np.abs(_transformed(blocks, axes=(1, 2))) ** 2, axis=0)
    groups, places = _groups(field, field)
    kept = _transformed(groups)
    kept[np.abs(kept) < threshold * np.sqrt(variance)] = 0
    weights = 1 / np.maximum((kept != 0).sum(axis=_AXES), 1)
    pilot = _put_together(_back(kept), weights, places, field.shape)
    # Once more, alike blocks found in what the first pass made, every coefficient kept as far as it is signal (Wiener).
    groups, places = _groups(field, pilot)
    clean = np.abs(_transformed(_taken(pilot, places))) ** 2
    gain = clean / (clean + variance)
    return _put_together(
        _back(gain * _transformed(groups)), 1 / np.maximum((gain**2).sum(axis=_AXES), 1e-6), places, field.shape
    )


def _transformed(groups: Complex, axes: tuple[int, ...] = _AXES) -> Complex:
    return np.asarray(scipy.fft.dctn(groups, axes=axes, norm="ortho"), np.complex64)


def _back(groups: Complex) -> Complex:
    return np.asarray(scipy.fft.idctn(groups, axes=_AXES, norm="ortho"), np.complex64)


def _groups(field: Complex, guide: Complex) -> tuple[Complex, Places]:
    """Groups of blocks that are alike in the guide, complex64 [n, group, 8, 8], and the corners of each, [n, group]."""
    height, width = (n - _BLOCK_PX + 1 for n in field.shape)
    starts = [np.unique(np.append(np.arange(0, n, _STEP_PX), n - 1)) for n in (height, width)]
    top, left = (grid.ravel() for grid in np.meshgrid(*starts, indexing="ij"))
    shifts = [(dy, dx) for dy in range(-_REACH_PX, _REACH_PX + 1, 2) for dx in range(-_REACH_PX, _REACH_PX + 1, 2)]
    padded = np.pad(guide, _REACH_PX, mode="reflect")
    unlike = np.empty((len(top), len(shifts)), np.float32)
    for k, (dy, dx) in enumerate(shifts):
        other = padded[_REACH_PX + dy : _REACH_PX + dy + guide.shape[0], _REACH_PX + dx : _REACH_PX + dx + guide.shape[1]]
        apart = cv2.boxFilter(np.abs(guide - other) ** 2, -1, (_BLOCK_PX, _BLOCK_PX), anchor=(0, 0), normalize=False)
        outside = (top + dy < 0) | (top + dy >= height) | (left + dx < 0) | (left + dx >= width)
        unlike[:, k] = np.where(outside, np.inf, apart[top, left])
    # A block is in its own group, however many are as alike.
    unlike[:, shifts.index((0, 0))] = -1
    nearest = np.argpartition(unlike, _GROUP, axis=1)[:, :_GROUP]
    step = np.array(shifts)[nearest]
    # In a corner fewer than a group may lie inside: the block itself stands for those.
    there = np.isfinite(np.take_along_axis(unlike, nearest, axis=1))
    places = (top[:, None] + np.where(there, step[..., 0], 0), left[:, None] + np.where(there, step[..., 1], 0))
    return _taken(field, places), places


def _taken(field: Complex, places: Places) -> Complex:
    return np.lib.stride_tricks.sliding_window_view(field, (_BLOCK_PX, _BLOCK_PX))[places]


def _put_together(groups: Complex, weights: NDArray[np.floating], places: Places, shape: tuple[int, ...]) -> Complex:
    """Weighted mean of all blocks over every pixel."""
    total, share = np.zeros(shape, np.complex128), np.zeros(shape)
    every = np.broadcast_to(weights[:, None], places[0].shape).ravel()
    for y in range(_BLOCK_PX):
        for x in range(_BLOCK_PX):
            index = ((places[0] + y) * shape[1] + places[1] + x).ravel()
            values = groups[..., y, x].ravel()
            for part, unit in ((values.real, 1), (values.imag, 1j)):
                total += unit * np.bincount(index, every * part, minlength=total.size).reshape(shape)
            share += np.bincount(index, every, minlength=total.size).reshape(shape)
    return (total / np.maximum(share, 1e-12)).astype(np.complex64)
