"""A network of images over an image of any size, tile by tile, seams invisible."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.analysis.reconstruct import TiledNetwork, fitted_tile, tile_starts, tile_window

__all__ = ["ChannelNetwork", "run_image"]

Image = NDArray[np.float32]


class ChannelNetwork(TiledNetwork, Protocol):
    """An image of some channels in, one of others out."""

    def run(self, tile: Image) -> Image:
        """One tile, float32 [height, width, channels in] -> float32 [height, width, channels out]."""
        ...


def run_image(image: Image, network: ChannelNetwork) -> Image:
    """The network's answer to a whole image, float32 [height, width, channels in] -> float32 [height, width, channels out].

    An image that is no multiple of the network's tile is mirrored beyond its ends.
    """
    height, width = image.shape[:2]
    margin = network.margin_px
    tile_y, tile_x = fitted_tile(height, network), fitted_tile(width, network)
    rows, columns = (_mirrored(length, max(length, tile)) for length, tile in ((height, tile_y), (width, tile_x)))
    padded = image[rows][:, columns]
    total: Image | None = None
    weight = np.zeros((*padded.shape[:2], 1), np.float32)
    for top in tile_starts(padded.shape[0], tile_y, margin):
        for left in tile_starts(padded.shape[1], tile_x, margin):
            place = slice(top, top + tile_y), slice(left, left + tile_x)
            answer = network.run(np.ascontiguousarray(padded[place]))
            window = tile_window(place[0], padded.shape[0], margin)[:, None] * tile_window(place[1], padded.shape[1], margin)
            if total is None:
                total = np.zeros((*padded.shape[:2], answer.shape[2]), np.float32)
            total[place] += window[..., None] * answer
            weight[place] += window[..., None]
    assert total is not None, "an image has at least one tile"
    answer = total / np.maximum(weight, np.float32(1e-6))
    return answer[:height, :width].astype(np.float32, copy=False)


def _mirrored(length: int, wanted: int) -> NDArray[np.intp]:
    """Indices of `wanted` pixels of a line of `length`, going back and forth at its ends."""
    there_and_back = np.concatenate([np.arange(length), np.arange(length - 1, -1, -1)])
    return np.resize(there_and_back, wanted)
