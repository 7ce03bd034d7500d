"""One pass of the network over a back-propagated hologram, tile by tile, seams invisible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from device.analysis.locate import busy_blocks
from device.frames import Hologram
from device.optics.propagation import backpropagate

__all__ = [
    "FieldNetwork",
    "Reconstruction",
    "TiledNetwork",
    "fitted_tile",
    "reconstruct",
    "run_tiles",
    "tile_starts",
    "tile_window",
]

Complex = NDArray[np.complex64]

_FEATHER_PX = 16
_BUSY_CONTRAST = 0.06
_DENSE = 0.2
"""Share of busy blocks above which hardly a tile would be left out."""
_LARGEST_TILE_PX = 576
"""Larger ones save no more margins worth speaking of, and take memory."""


class TiledNetwork(Protocol):
    """What is run tile by tile."""

    @property
    def tile_px(self) -> int:
        """Side of the square tile it was made for."""
        ...

    @property
    def multiple_px(self) -> int:
        """Any tile whose sides are multiples of this will do; 0: only its own."""
        ...

    @property
    def margin_px(self) -> int:
        """Border of a tile that isn't used where a neighbour has it."""
        ...


class FieldNetwork(TiledNetwork, Protocol):
    """Back-propagated field in, object field out."""

    def run(self, tile: Complex) -> Complex:
        """The object field of one tile, complex64 [height, width]; 1 where nothing is."""
        ...


@dataclass(frozen=True)
class Reconstruction:
    """Fields of one hologram at its nominal distance."""

    start: Complex
    """complex64 [height, width]: back-propagated."""
    field: Complex
    """complex64 [height, width]: the object field; 1 where no tile was run."""
    tiles: int
    """Passes made."""


def reconstruct(
    hologram: Hologram, network: FieldNetwork | None, *, whole: bool = False, few_photons: bool = False
) -> Reconstruction:
    """Back-propagate once and run the network where anything is (`whole`: everywhere); `few_photons`: from counts.

    Without a network the back-propagated field stands for the object field, twin image included.
    """
    start = backpropagate(hologram.intensity, hologram.geometry, counted=hologram.noise if few_photons else 0.0)
    if network is None:
        return Reconstruction(start, start, 0)
    # A 4 x 4 mean of |field - 1| over nothing but noise stays below the noise of a pixel.
    busy = None if whole else busy_blocks(start, max(_BUSY_CONTRAST, hologram.noise))
    if busy is not None and busy.mean() > _DENSE:
        busy = None
    return run_tiles(start, network, busy)


def tile_starts(length: int, tile: int, margin: int) -> list[int]:
    """First pixels of tiles that cover a length with at least two margins of overlap; the last ends at the end."""
    if length <= tile:
        return [0]
    count = -(-(length - 2 * margin) // (tile - 2 * margin))
    return [round(k * (length - tile) / (count - 1)) for k in range(count)]


def fitted_tile(length: int, network: TiledNetwork) -> int:
    """Side of the tiles that cover a length with the least overlap."""
    multiple, margin = network.multiple_px, network.margin_px
    if not multiple:
        return network.tile_px
    count = 1 if length <= _LARGEST_TILE_PX else -(-(length - 2 * margin) // (_LARGEST_TILE_PX - 2 * margin))
    side = length if count == 1 else -(-(length - 2 * margin) // count) + 2 * margin
    return -(-side // multiple) * multiple


def run_tiles(
    start: Complex, network: FieldNetwork, busy: NDArray[np.bool_] | None = None, block_px: int = 32
) -> Reconstruction:
    """Run the network over a back-propagated field complex64 [height, width].

    `busy` bool [ceil(height / block), ceil(width / block)]: where anything is; None: everywhere.
    """
    height, width = start.shape
    margin = network.margin_px
    # Few particles: small tiles, most of them left out. Many: as few and large ones as there can be.
    tile_y, tile_x = (network.tile_px if busy is not None else fitted_tile(n, network) for n in start.shape)
    total = np.zeros((height, width), np.complex64)
    weight = np.zeros((height, width), np.float32)
    passes = 0
    for top in tile_starts(height, tile_y, margin):
        for left in tile_starts(width, tile_x, margin):
            rows, columns = slice(top, min(top + tile_y, height)), slice(left, min(left + tile_x, width))
            if busy is not None and not _any_busy(busy, rows, columns, block_px):
                continue
            piece = np.ones((tile_y, tile_x), np.complex64)
            part = start[rows, columns]
            piece[: part.shape[0], : part.shape[1]] = part
            result = network.run(piece)[: part.shape[0], : part.shape[1]]
            window = tile_window(rows, height, margin)[:, None] * tile_window(columns, width, margin)[None, :]
            total[rows, columns] += window * (result - 1)
            weight[rows, columns] += window
            passes += 1
    field = 1 + total / np.maximum(weight, 1e-6)
    return Reconstruction(start, field.astype(np.complex64), passes)


def _any_busy(busy: NDArray[np.bool_], rows: slice, columns: slice, block_px: int) -> bool:
    blocks_y = slice(rows.start // block_px, -(-rows.stop // block_px))
    blocks_x = slice(columns.start // block_px, -(-columns.stop // block_px))
    return bool(busy[blocks_y, blocks_x].any())


def tile_window(span: slice, length: int, margin: int) -> NDArray[np.float32]:
    """Weight of a tile along one axis: nothing in the margin, then a ramp; full up to the edge of the frame."""
    n = span.stop - span.start
    place = np.arange(n, dtype=np.float32)
    ramp = np.ones(n, np.float32)
    inner = margin - _FEATHER_PX // 2
    if span.start > 0:
        ramp = np.minimum(ramp, np.clip((place - inner + 1) / _FEATHER_PX, 1e-4, 1))
    if span.stop < length:
        ramp = np.minimum(ramp, np.clip((n - place - inner) / _FEATHER_PX, 1e-4, 1))
    return ramp
