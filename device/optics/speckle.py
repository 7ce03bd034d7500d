"""How large and how strong the speckle on a field's background is.

Speckle's intensity has an autocovariance that is the square of its field's (J. W. Goodman, Speckle Phenomena in Optics, 2nd ed.,
doi:10.1117/3.2548484, chapter 4); its full width at half maximum is the grain. Both are taken from where the field is quietest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft

__all__ = ["Speckle", "background_speckle"]

_BLOCK_PX = 32
_QUIETEST = 0.25
"""Share of the blocks that count as background."""
_LAGS_PX = (1.0, 2.0**0.5, 2.0, 5.0**0.5, 3.0)
_LEAST = 0.05
"""Of the squared autocovariance at a lag, over that of none: below it there is nothing to fit a width to."""


@dataclass(frozen=True)
class Speckle:
    """Of a background."""

    grain_px: float
    """Full width at half maximum of the intensity's autocovariance; 0 where neighbouring pixels have nothing in common. Reads a tenth
    small at 6 pixels and never above 8.5, for what is smooth over a block is taken off."""
    noise: float
    """Complex root mean square over the direct light's amplitude, all grains and white noise together."""


def background_speckle(field: NDArray[np.complexfloating]) -> Speckle:
    """The speckle of the quietest quarter of a field complex [height, width], at least 64 x 64.

    What is smooth over 32 pixels is no speckle and is left out. InputError for a smaller field or one that isn't finite.
    """
    if field.ndim != 2 or min(field.shape) < 2 * _BLOCK_PX:
        raise InputError(
            "the field is too small to tell its speckle", expected=f"{2 * _BLOCK_PX} x {2 * _BLOCK_PX} pixels or more", got=field.shape
        )  # fmt: skip
    if not np.isfinite(field).all():
        raise InputError("the field holds NaN or infinity")
    blocks = _blocks(np.asarray(field, np.complex64))
    light = np.abs(blocks.mean(axis=(1, 2)))
    rest = _without_plane(blocks)
    power = np.mean(np.abs(rest) ** 2, axis=(1, 2)) / np.maximum(light, 1e-6) ** 2
    quiet = np.argsort(power)[: max(round(_QUIETEST * len(power)), 4)]
    rest = rest[quiet] / np.maximum(light[quiet], 1e-6)[:, None, None]
    padded = np.pad(rest, [(0, 0), (0, _BLOCK_PX), (0, _BLOCK_PX)])
    covariance = fft.ifft2(np.mean(np.abs(fft.fft2(padded)) ** 2, axis=0)).real
    # Fewer pairs of pixels are left at a longer lag.
    overlap = 1 - np.minimum(np.arange(2 * _BLOCK_PX), 2 * _BLOCK_PX - np.arange(2 * _BLOCK_PX)) / _BLOCK_PX
    covariance = covariance / np.maximum(overlap[:, None] * overlap[None, :], 1 / _BLOCK_PX)
    noise = float(np.sqrt(max(float(covariance[0, 0]) / _BLOCK_PX**2, 0.0)))
    return Speckle(_grain_px(covariance / max(float(covariance[0, 0]), 1e-30)), noise)


def _grain_px(covariance: NDArray[np.floating]) -> float:
    """Width of the Gaussian through the lags at which something is left; white noise lies at none of them."""
    lag = np.hypot(*np.meshgrid(np.arange(4), np.arange(4), indexing="ij"))
    squared = np.square(np.maximum(covariance[:4, :4], 0))
    values = np.array([squared[np.isclose(lag, one)].mean() for one in _LAGS_PX])
    there = values > _LEAST * max(1.0, float(values.max()))
    there[1:] &= np.logical_and.accumulate(there)[:-1]
    if not there[0]:
        return 0.0
    lags, logs = np.array(_LAGS_PX)[there] ** 2, np.log(values[there])
    weights = values[there]
    # Through lag 0 as well: speckle alone has its whole power there.
    if len(lags) < 3:
        slope = float((weights * lags * logs).sum() / (weights * lags**2).sum())
    else:
        slope = float(np.polyfit(lags, logs, 1, w=weights)[0])
    return float(2 * np.sqrt(np.log(2) / max(-slope, 1e-3)))


def _blocks(field: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Blocks half a block apart, complex64 [n, 32, 32]."""
    windows = np.lib.stride_tricks.sliding_window_view(field, (_BLOCK_PX, _BLOCK_PX))
    return windows[:: _BLOCK_PX // 2, :: _BLOCK_PX // 2].reshape(-1, _BLOCK_PX, _BLOCK_PX)


def _without_plane(blocks: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """The same without mean and slope."""
    ramp = np.linspace(-1, 1, _BLOCK_PX, dtype=np.float32)
    ramp /= np.sqrt(np.mean(ramp**2))
    out = blocks - blocks.mean(axis=(1, 2), keepdims=True)
    for plane in (ramp[:, None], ramp[None, :]):
        out = out - (out * plane).mean(axis=(1, 2), keepdims=True) * plane
    return out
