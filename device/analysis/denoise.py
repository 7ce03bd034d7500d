"""Coherent noise off a reconstructed field: speckle of a laser diode's light, by a network that learnt what objects look like.

A network that is trained on squared errors makes faint things fainter, and so its phase is biased. What it makes is therefore only
taken as a guess of how strong each frequency of each block is: the measured field is weighed by it, so that what stands clear of the
noise stays as it was measured (the second, Wiener step of K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, IEEE Trans. Image Process.
16, 2080 (2007), doi:10.1109/TIP.2007.901238, the network in place of the first).
"""

from __future__ import annotations

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from device.analysis.image_tiles import ChannelNetwork, run_image
from device.errors import InputError
from device.optics.speckle import Speckle, background_speckle

__all__ = ["GRAIN_PX", "denoise", "without_speckle"]

Complex = NDArray[np.complex64]

GRAIN_PX = (1.0, 7.5)
"""Speckle that is taken off: finer is a pixel's own noise, coarser can't be told from what it lies on."""
_LEAST_NOISE = 1e-3
"""Of the light's amplitude: below it there is nothing to take off, and what there is to measure is rounding."""
_LEARNT_PX = 4.5
"""Coarsest grain that the network learnt; a field of coarser ones is looked at on coarser pixels."""
_COARSE_PX = 2.5
"""A grain on those."""
_BLOCK_PX, _STEP_PX = 16, 4
"""Blocks that are weighed, and from one to the next."""
_MOST_SAMPLED = 4000
"""Blocks that it takes to know the noise."""


def denoise(field: Complex, network: ChannelNetwork) -> tuple[Complex, Speckle]:
    """(the field without its coherent noise, what that was on the background); the field complex64 [height, width], at least 64 x 64.

    An off-axis order fills a small disc of the spectrum, and so its grains are many pixels wide: what is taken off is found on coarser
    pixels then, and what is finer than those stays as it is. A background without noise to speak of: the field as it is. InputError where the background's grain is none that can be taken off.
    """
    speckle = background_speckle(field)
    if speckle.noise < _LEAST_NOISE:
        return field, speckle
    if not GRAIN_PX[0] <= speckle.grain_px <= GRAIN_PX[1]:
        finer = speckle.grain_px < GRAIN_PX[0]
        remedy = (
            "Neighbouring pixels have nothing in common: this is the sensor's noise, not speckle. Leave --denoise out, or average more frames."
            if finer else "Grains this large can't be told from the object: leave --denoise out, or average frames of different speckle."
        )  # fmt: skip
        raise InputError(
            "the background's noise is no speckle that the denoiser knows", where="--denoise", remedy=remedy,
            expected=f"grains of {GRAIN_PX[0]:g} to {GRAIN_PX[1]:g} pixels", got=f"{speckle.grain_px:.2g} pixels",
        )  # fmt: skip
    if speckle.grain_px <= _LEARNT_PX:
        return without_speckle(field, network), speckle
    height, width = field.shape
    shrunk = _resized(field, (round(height * _COARSE_PX / speckle.grain_px), round(width * _COARSE_PX / speckle.grain_px)))
    change = _resized(without_speckle(shrunk, network) - shrunk, (height, width))
    return np.asarray(field + change, np.complex64), speckle


def without_speckle(field: Complex, network: ChannelNetwork, *, weighed: bool = True) -> Complex:
    """The same whatever its noise, complex64 [height, width]; the light around the object becomes 1 for the network.

    `weighed`: whether the measured field is weighed by what the network makes of it; False: the network's answer itself.
    """
    light = _direct_light(field)
    scaled = np.asarray(field / light, np.complex64)
    out = run_image(np.stack([scaled.real - 1, scaled.imag], axis=-1), network)
    guess = np.asarray(1 + out[..., 0] + 1j * out[..., 1], np.complex64)
    return np.asarray(light * (_weighed(scaled, guess) if weighed else guess), np.complex64)


def _weighed(field: Complex, guess: Complex) -> Complex:
    """The field, every frequency of every block as far as the guess says that it is no noise.

    What of a frequency is noise: the median over all blocks of what the guess takes off, by which objects on less than half of the
    field don't matter.
    """
    rows, columns = (np.unique(np.append(np.arange(0, n - _BLOCK_PX, _STEP_PX), n - _BLOCK_PX)) for n in field.shape)
    sampled = rows[:: max(len(rows) * len(columns) // _MOST_SAMPLED, 1)]
    removed = np.concatenate([_spectra(field - guess, y, columns) for y in sampled])
    # A complex Gaussian's median square is log 2 of its mean.
    noise = np.median(np.abs(removed) ** 2, axis=0) / np.log(2) + 1e-12
    fade = np.sin(np.pi * (np.arange(_BLOCK_PX) + 0.5) / _BLOCK_PX) ** 2
    window = (fade[:, None] * fade[None, :]).astype(np.float32)
    total, weight = np.zeros(field.shape, np.complex64), np.zeros(field.shape, np.float32)
    for y in rows:
        measured, guessed = (_spectra(image - 1, y, columns) for image in (field, guess))
        power = np.abs(guessed) ** 2
        kept = np.asarray(scipy.fft.idctn(guessed + power / (power + noise) * (measured - guessed), axes=(1, 2), norm="ortho"))
        for block, x in zip(kept, columns, strict=True):
            place = slice(y, y + _BLOCK_PX), slice(x, x + _BLOCK_PX)
            total[place] += window * block
            weight[place] += window
    return 1 + total / weight


def _spectra(image: Complex, top: int, columns: NDArray[np.intp]) -> Complex:
    """Cosine transforms of one row of blocks, complex64 [blocks, side, side]."""
    windows = np.lib.stride_tricks.sliding_window_view(image[top : top + _BLOCK_PX], _BLOCK_PX, axis=1)
    blocks = windows[:, columns].transpose(1, 0, 2)
    return np.asarray(scipy.fft.dctn(blocks, axes=(1, 2), norm="ortho"), np.complex64)


def _resized(field: Complex, shape: tuple[int, int]) -> Complex:
    """On other pixels: averaged where those are larger, else interpolated."""
    how = cv2.INTER_AREA if shape[0] < field.shape[0] else cv2.INTER_CUBIC
    parts = [cv2.resize(np.ascontiguousarray(part), shape[::-1], interpolation=how) for part in (field.real, field.imag)]
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def _direct_light(field: Complex) -> np.complex64:
    """What the field is where nothing is: the median of its parts, once turned to the mean phase."""
    turn = np.exp(1j * np.angle(field.mean()))
    turned = field / turn
    return np.complex64(turn * (np.median(turned.real) + 1j * np.median(turned.imag)))
