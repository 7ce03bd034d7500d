"""Coherent noise off a reconstructed field: speckle of a laser diode's light, by a network that learnt what grains look like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from device.analysis.image_tiles import ChannelNetwork, run_image
from device.errors import InputError
from device.optics.speckle import Speckle, background_speckle

__all__ = ["GRAIN_PX", "denoise", "without_speckle"]

Complex = NDArray[np.complex64]

GRAIN_PX = (1.0, 4.5)
"""Speckle that the network learnt: finer is a pixel's own noise, coarser can't be told from what it lies on."""


def denoise(field: Complex, network: ChannelNetwork) -> tuple[Complex, Speckle]:
    """(the field without its coherent noise, what that was on the background); the field complex64 [height, width], at least 64 x 64.

    InputError where the background's grain isn't one that the network learnt.
    """
    speckle = background_speckle(field)
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
    return without_speckle(field, network), speckle


def without_speckle(field: Complex, network: ChannelNetwork) -> Complex:
    """The network's answer to a field, complex64 [height, width], whatever its noise; the light around the object becomes 1 for it."""
    light = _direct_light(field)
    scaled = field / light
    out = run_image(np.stack([scaled.real - 1, scaled.imag], axis=-1).astype(np.float32), network)
    return (light * (1 + out[..., 0] + 1j * out[..., 1])).astype(np.complex64)


def _direct_light(field: Complex) -> np.complex64:
    """What the field is where nothing is: the median of its parts, once turned to the mean phase."""
    turn = np.exp(1j * np.angle(field.mean()))
    turned = field / turn
    return np.complex64(turn * (np.median(turned.real) + 1j * np.median(turned.imag)))
