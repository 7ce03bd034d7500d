"""Which of several reconstructions to believe: the one that predicts best what it was not shown.

A back-propagated field reproduces its own hologram whatever it holds, and refinement bends a field until it does; neither says
anything. So small squares of the hologram are taken out, 1 put in their place, the rest is reconstructed and carried to the sensor:
only what knows the object knows the fringes there (cross-validation; Stone, J. R. Stat. Soc. B 36, 111 (1974),
doi:10.1111/j.2517-6161.1974.tb00994.x). A back-propagated field predicts the 1 that was put in, and so nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.scene import LEAST_AMPLITUDE, TILE_PX
from device.frames import Hologram
from device.optics.consistency import predicted_intensity

__all__ = ["LEAST_GAIN", "Prediction", "best", "held_out", "holes", "prediction"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

LEAST_GAIN = 0.1
"""Share by which a way must predict more than the plainer ones: about twice the scatter from one choice of squares to the next."""

_HOLE_PX = 6
"""Side of a square: wider than the finest fringes, so that its border doesn't give it away."""
_EVERY_PX = 24
"""One square in every so wide a cell: a sixteenth of the pixels."""
_LIT = 0.3
"""Of the noise's energy, as `device.analysis.scene`: less than that are no fringes."""


@dataclass(frozen=True)
class Prediction:
    """How well a way of reconstruction predicts what it was not shown."""

    share: float | None
    """Of the fringes' energy there, at most 1; below 0 it is worse than nothing. None where there are no fringes."""
    confidence: Real
    """The same by tile, 0 to 1, float32 [rows, columns] of about TILE_PX; NaN where there are no fringes."""


def held_out(hologram: Hologram, way: Callable[[Hologram], Complex], seed: int = 0) -> Prediction:
    """Try a `way` from hologram to object field, complex64 [height, width], on squares that are kept from it."""
    kept = holes(hologram.intensity.shape, seed)
    shown = replace(hologram, intensity=np.where(kept, np.float32(1), hologram.intensity))
    return prediction(way(shown), hologram, kept)


def prediction(field: Complex, hologram: Hologram, kept: NDArray[np.bool_]) -> Prediction:
    """How well an object field complex64 [height, width] predicts the squares `kept`, bool [height, width], from its making."""
    predicted = np.sqrt(np.maximum(predicted_intensity(field, hologram.geometry), 0))
    measured = np.sqrt(np.maximum(hologram.intensity, 0))
    noise = max(hologram.noise**2 / 4, LEAST_AMPLITUDE**2)
    left, fringes = (np.where(kept, (measured - other) ** 2, 0) for other in (predicted, np.float32(1)))
    pixels = kept.astype(np.float32)
    tiles_left, tiles_fringes, tiles_pixels = (_by_tile(image) for image in (left, fringes, pixels))
    lit = tiles_fringes > (1 + _LIT) * noise * tiles_pixels
    share = 1 - (tiles_left - noise * tiles_pixels) / np.where(lit, tiles_fringes - noise * tiles_pixels, 1)
    confidence = np.where(lit, np.clip(share, 0, 1), np.nan).astype(np.float32)
    energy = float((tiles_fringes - noise * tiles_pixels)[lit].sum())
    lost = float((tiles_left - noise * tiles_pixels)[lit].sum())
    return Prediction(min(1 - lost / energy, 1.0) if lit.any() else None, confidence)


def best(predictions: Mapping[str, Prediction]) -> str:
    """Name of the way to believe: the first, the plainest, or a later one that predicts more by LEAST_GAIN."""
    (chosen, least), *others = ((name, p.share or 0.0) for name, p in predictions.items())
    for name, share in others:
        if share > least + LEAST_GAIN:
            chosen, least = name, share
    return chosen


def holes(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.bool_]:
    """Squares to keep from a reconstruction: bool [height, width], a sixteenth of the pixels."""
    rng = np.random.default_rng(seed)
    squares = np.zeros(shape, np.bool_)
    for row in range(0, shape[0], _EVERY_PX):
        for column in range(0, shape[1], _EVERY_PX):
            down, across = rng.integers(0, _EVERY_PX - _HOLE_PX, 2)
            squares[row + down : row + down + _HOLE_PX, column + across : column + across + _HOLE_PX] = True
    return squares


def _by_tile(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Means."""
    rows, columns = (max(round(n / TILE_PX), 1) for n in image.shape)
    means = cv2.resize(image.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float64).reshape(rows, columns)
