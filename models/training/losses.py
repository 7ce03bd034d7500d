"""What a network is trained to lower; `truth` float32 [n, h, w, channels + 1]: the right answer and its weight; `predicted` float32
[n, h, w, channels]. Of fields the channels are real and imaginary part, less 1. All are traced once by Keras.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["RING_WIDTH", "weighted_field_loss", "weighted_image_loss", "whitened_field_loss"]

RING_WIDTH = 0.05
"""Of a ring of frequencies, in cycles per pixel."""

_CAP = 2e-3
"""Least power that a ring is divided by, over that of all rings: below it a ring holds noise (Wiener)."""

_WHITENED_SHARE = 0.1
"""Weight of the whitened term: it is about half of the rest where the shipped weights start."""


def weighted_image_loss(truth: Any, predicted: Any) -> Any:
    """Weighted mean of the squared error of all channels, and a little of its modulus, which keeps the background clean."""
    from keras import ops

    error = ops.sum(ops.square(truth[..., :-1] - predicted), axis=-1)
    weight = truth[..., -1]
    return ops.sum(weight * (error + 0.1 * ops.sqrt(error + 1e-6))) / ops.sum(weight)


def weighted_field_loss(truth: Any, predicted: Any) -> Any:
    """Weighted mean of the squared complex error, of the squared error of the amplitude, and a little of the error's modulus.

    The modulus keeps the background clean; the amplitude is known even where the phase can't be told from its neighbour a
    turn away, and a field that hedges between the two is too dark.
    """
    from keras import ops

    error = ops.sum(ops.square(truth[..., :2] - predicted), axis=-1)
    modulus = ops.sqrt(error + 1e-6)
    amplitudes = [ops.sqrt(ops.square(1 + f[..., 0]) + ops.square(f[..., 1]) + 1e-6) for f in (truth, predicted)]
    weight = truth[..., 2]
    terms = error + 0.15 * modulus + 0.5 * ops.square(amplitudes[1] - amplitudes[0])
    return ops.sum(weight * terms) / ops.sum(weight)


def whitened_field_loss(truth: Any, predicted: Any) -> Any:
    """`weighted_field_loss`, and every ring of frequencies as a share of its own power.

    Rings above 0.2 cycles a pixel hold four per cent of a particle's power, and the plain loss hardly knows them.
    """
    from keras import ops

    rings = ops.convert_to_tensor(_rings(int(truth.shape[1]), int(truth.shape[2])))
    near = ops.cast(truth[..., 2] > 1, "float32")
    powers = []
    for field in (truth[..., :2] - predicted, truth[..., :2]):
        re, im = ops.fft2((field[..., 0] * near, field[..., 1] * near))
        spectrum = ops.reshape(ops.square(re) + ops.square(im), (-1, rings.shape[0]))
        # Over the batch together: one tile's own outer ring is as often noise as not.
        powers.append(ops.sum(ops.matmul(spectrum, rings), axis=0))
    missing, whole = powers
    shares = missing / (whole + _CAP * ops.sum(whole) + 1e-6)
    return weighted_field_loss(truth, predicted) + _WHITENED_SHARE * ops.mean(shares)


@lru_cache(maxsize=4)
def _rings(height: int, width: int) -> NDArray[np.float32]:
    """float32 [height * width, rings]: which ring every frequency lies in; corners beyond Nyquist are in none."""
    import numpy as np

    from device.optics import fft

    radius = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None, :]).ravel()
    which = (radius / RING_WIDTH).astype(int)
    return (which[:, None] == np.arange(round(0.5 / RING_WIDTH))[None, :]).astype(np.float32)
