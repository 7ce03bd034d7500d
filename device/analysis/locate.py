"""Is anything there? Cheap enough to ask of every frame."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import block_means

__all__ = ["busy_blocks", "is_empty"]

BLOCK_PX = 4

# A block mean of pure noise passes six standard deviations once in 1e9; a 12-megapixel frame has 750,000 blocks.
_SIGMAS = 6.0

# Root mean square of the blocks over that of white noise; what JPEG leaves has up to 1.3 times.
_COLOURED = 1.6

# What slow light changes and compression leave behind even where the noise is lower.
_LEAST_CONTRAST = 0.02


def is_empty(intensity: NDArray[np.float32], noise: float) -> bool:
    """Whether a normalised hologram shows nothing but noise and slow changes of light.

    Parameters: `intensity` float32 [height, width], 1 where nothing is; `noise` relative, of a pixel. A few ns a pixel.
    """
    blocks = block_means(intensity, BLOCK_PX)
    slow = cv2.blur(blocks, (15, 15), borderType=cv2.BORDER_REFLECT)
    blocks -= slow
    level = noise / BLOCK_PX
    # Where the whole field is full, its own fine fringes are taken for noise; but the means of blocks of noise are quiet.
    quiet = cv2.norm(blocks) < max(_COLOURED * level, _LEAST_CONTRAST / _SIGMAS) * math.sqrt(blocks.size)
    return quiet and cv2.norm(blocks, cv2.NORM_INF) < max(_SIGMAS * level, _LEAST_CONTRAST)


def busy_blocks(field: NDArray[np.complex64], contrast: float, block_px: int = 32) -> NDArray[np.bool_]:
    """Blocks of a back-propagated field that hold anything.

    Parameters: `field` complex64 [height, width]; `contrast` least |field - 1|, averaged over 4 x 4 pixels, that counts.
    Returns bool [ceil(height / block), ceil(width / block)].
    """
    departure = cv2.blur(np.abs(field - 1), (4, 4), borderType=cv2.BORDER_REFLECT)
    height, width = departure.shape
    rows, columns = -(-height // block_px), -(-width // block_px)
    padded = np.zeros((rows * block_px, columns * block_px), np.float32)
    padded[:height, :width] = departure
    return padded.reshape(rows, block_px, columns, block_px).max(axis=(1, 3)) > contrast
