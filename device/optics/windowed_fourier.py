"""Noise off a complex field before its phase is unwrapped: the windowed Fourier filter.

Each window of the field is taken apart into plane waves; those that noise alone could be are left out, the others put together
again (Q. Kemao, Appl. Opt. 43, 2695 (2004), doi:10.1364/AO.43.002695; Opt. Lasers Eng. 45, 304 (2007),
doi:10.1016/j.optlaseng.2005.10.012). Two windows, two and three pixels wide, over all slopes that pixels can hold: a
wider window finds less noise left in smooth phase and loses the rims of thick particles, where the slope changes within it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft

__all__ = ["filter_noise", "noise_amplitude"]

Complex = NDArray[np.complex64]

_WINDOWS = ((2.0, 0.7), (3.0, 0.5))
"""Standard deviation in pixels, step of the plane waves in rad per pixel: a little over one over the window's."""
_BAND = 2.8
"""Steepest slope looked for, rad per pixel; pi is where the next pixel's wrap begins."""
_THRESHOLD = 2.5
"""Noise amplitudes of a window's plane wave below which it is left out."""
_REACH = 4.0
"""Of a window, in standard deviations, in space and in frequency."""


def noise_amplitude(field: NDArray[np.complexfloating]) -> float:
    """Root mean square of the white noise of a pixel, complex, by the median of mixed second differences.

    Parameters: `field` complex [height, width], at least 3 x 3. A slope adds to it what it curves, so that a field of nothing
    but steep rims reads as noisier than it is.
    """
    rows = field[2:] - 2 * field[1:-1] + field[:-2]
    mixed = rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2]
    # Six times six: the squares of (1, -2, 1) in both directions. A complex Gaussian's median square is log 2 of its mean.
    return float(np.sqrt(np.median(np.abs(mixed) ** 2) / np.log(2) / 36))


def filter_noise(field: NDArray[np.complexfloating], noise: float | None = None) -> tuple[Complex, NDArray[np.float32]]:
    """The field without its white noise, and how much of what surrounds each pixel the waves kept explain.

    Parameters: `field` complex [height, width], at least 8 x 8; `noise` of a pixel, complex root mean square, None: estimated
    (`noise_amplitude`). Returns complex64 [height, width] and coherence float32 [height, width]: amplitude over the root mean
    square of the field around, 0 where nothing but noise is, 0.7 where noise is as strong as the field, 1 without. Raises InputError where the field isn't two-dimensional, finite or large enough.
    """
    if field.ndim != 2 or min(field.shape) < 8:
        raise InputError("a field must be two-dimensional, 8 x 8 pixels or more", got=f"shape {field.shape}")
    if not np.isfinite(field).all():
        raise InputError("the field holds NaN or infinity")
    level = noise_amplitude(field) if noise is None else noise
    margin = min(int(np.ceil(_REACH * _WINDOWS[-1][0])), min(field.shape) - 1)
    wide = np.pad(np.asarray(field, np.complex64), margin, mode="reflect")
    shape = tuple(fft.next_fast_len(n) for n in wide.shape)
    wide = np.pad(wide, [(0, n - m) for n, m in zip(shape, wide.shape, strict=True)], mode="edge")
    spectrum = fft.fft2(wide)
    kept = np.mean([_filtered(spectrum, width_px, step, level) for width_px, step in _WINDOWS], axis=0)
    inner = (slice(margin, margin + field.shape[0]), slice(margin, margin + field.shape[1]))
    found = np.ascontiguousarray(fft.ifft2(kept)[inner])
    around = _smooth(np.abs(wide) ** 2)[inner]
    return found, (np.abs(found) / np.sqrt(np.maximum(around, 1e-30))).astype(np.float32)


def _filtered(spectrum: Complex, width_px: float, step: float, noise: float) -> Complex:
    """Spectrum of what one window's plane waves of enough amplitude make.

    A plane wave's share of the field has the window's narrow spectrum: it is looked at on a grid as coarse as that allows.
    """
    count = round(_BAND / step)
    lengths = [min(n, fft.next_fast_len(int(np.ceil(n * 2 * _REACH / width_px / (2 * np.pi))))) for n in spectrum.shape]
    # Of the window, its sum 1, noise leaves the root of the sum of its squares.
    least = _THRESHOLD * noise / (2 * width_px * np.sqrt(np.pi))
    out = np.zeros_like(spectrum)
    blocks = [
        [_block(n, length, wave * step, width_px) for wave in range(-count, count + 1)]
        for n, length in zip(spectrum.shape, lengths, strict=True)
    ]
    scale = lengths[0] * lengths[1] / (spectrum.shape[0] * spectrum.shape[1])
    for rows, down in blocks[0]:
        band = spectrum[rows]
        into = np.zeros_like(band)
        for columns, right in blocks[1]:
            window = down[:, None] * right[None, :]
            share = fft.ifft2(band[:, columns] * window)
            share[np.abs(share) * scale < least] = 0
            into[:, columns] += fft.fft2(share) * window
        out[rows] += into
    # The windows' squares, summed over the waves, are what a wave that is kept everywhere comes back with.
    return out / np.complex64(_gain(width_px, step) ** 2)


def _block(length: int, kept: int, slope: float, width_px: float) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Indices of a spectrum's frequencies around a slope in rad per pixel, and the window's spectrum at them."""
    middle = round(slope / (2 * np.pi) * length)
    index = middle + np.arange(-(kept // 2), kept - kept // 2)
    away = 2 * np.pi * index / length - slope
    return index % length, np.exp(-0.5 * (width_px * away) ** 2).astype(np.float32)


def _gain(width_px: float, step: float) -> float:
    """Sum over the waves, in one direction, of the squared window's spectrum: its integral over the step."""
    return float(np.sqrt(np.pi) / (width_px * step))


def _smooth(power: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mean power around each pixel, as the wider window weighs it."""
    return np.asarray(cv2.GaussianBlur(np.asarray(power, np.float32), (0, 0), _WINDOWS[-1][0]), np.float32)
