"""What isn't a particle: cell walls, fibres, large textured bodies, opaque patches; transmission planes for HIDEF's scenes.

Lengths are pixels. Each is a sheet: such objects are as thin as their finest detail, and wide.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["KINDS", "extended_plane"]

Real = NDArray[np.float32]


def extended_plane(rng: np.random.Generator, side: int) -> NDArray[np.complex64]:
    """One of KINDS at random, complex64 [side, side]; 1 where nothing is."""
    names = tuple(KINDS)
    cover = KINDS[names[int(rng.integers(len(names)))]](rng, side)
    # From clear to opaque; denser than the medium but for one in twenty.
    phase = float(np.exp(rng.uniform(np.log(0.3), np.log(6.0)))) * (-1 if rng.random() < 0.05 else 1)
    density = float(rng.uniform(0, 2.5)) if rng.random() < 0.4 else float(rng.uniform(0, 0.2))
    return np.exp((1j * phase - density) * cover).astype(np.complex64)


def _blurred(image: Real, sigma_px: float) -> Real:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)


def _noise(rng: np.random.Generator, side: int, scale_px: float) -> Real:
    """Smooth noise of variance 1; large scales on a coarser grid."""
    step = max(int(scale_px / 4), 1)
    count = -(-side // step)
    coarse = _blurred(rng.standard_normal((count, count)).astype(np.float32), scale_px / step)
    image = np.asarray(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    return (image - image.mean()) / max(float(image.std()), 1e-6)


def _walls(rng: np.random.Generator, side: int) -> Real:
    """Cells that share walls: near where two of the nearest seeds are equally far."""
    count = int(np.exp(rng.uniform(np.log(20), np.log(400))))
    seeds = rng.uniform(0, side, (count, 2)).astype(np.float32)
    nearest = np.full((2, side, side), np.inf, np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    y += _noise(rng, side, 12.0) * 2
    x += _noise(rng, side, 12.0) * 2
    for row, column in seeds:
        far = np.hypot(y - row, x - column)
        nearest[1] = np.minimum(nearest[1], np.maximum(nearest[0], far))
        nearest[0] = np.minimum(nearest[0], far)
    half_px = float(rng.uniform(0.8, 4.0))
    walls = np.clip(half_px - (nearest[1] - nearest[0]) / 2 + 0.5, 0, 1)
    fill = float(rng.uniform(0, 0.3)) * (1 + 0.3 * _noise(rng, side, 2.0))
    return _within(rng, np.maximum(walls, np.clip(fill, 0, 1)).astype(np.float32))


def _within(rng: np.random.Generator, cover: Real) -> Real:
    """Now and then a piece with an outline, not the whole plane."""
    if rng.random() < 0.4:
        return cover
    outline = _noise(rng, cover.shape[0], float(rng.uniform(40, 90)))
    share = np.clip(4 * (outline - float(rng.uniform(-0.5, 0.5))) + 0.5, 0, 1)
    return cover * share.astype(np.float32)


def _fibres(rng: np.random.Generator, side: int) -> Real:
    """Bent threads of even width, some of them in segments."""
    cover = np.zeros((side, side), np.float32)
    bend = float(rng.uniform(0.005, 0.06))
    for _ in range(int(np.exp(rng.uniform(np.log(2), np.log(40))))):
        steps = int(rng.uniform(20, 300))
        course = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend, steps))
        path = rng.uniform(0, side, 2) + 2 * np.cumsum(np.stack([np.cos(course), np.sin(course)], axis=1), axis=0)
        one = np.zeros((side, side), np.float32)
        points = np.round(path * 16).astype(np.int32)[:, None]
        cv2.polylines(one, [points], False, 1.0, int(rng.integers(1, 10)), cv2.LINE_AA, 4)
        cover += one * float(rng.uniform(0.5, 1.0))
    return _blurred(cover, 0.6)


def _bodies(rng: np.random.Generator, side: int) -> Real:
    """Animals and clumps of a hundred pixels and more, with texture inside."""
    cover = np.zeros((side, side), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(int(rng.integers(1, 6))):
        turn, middle = rng.uniform(0, np.pi), rng.uniform(0, side, 2)
        long_px = float(rng.uniform(30, 110))
        wide_px = long_px * float(rng.uniform(0.25, 1.0))
        along = (x - middle[0]) * np.cos(turn) + (y - middle[1]) * np.sin(turn)
        across = (y - middle[1]) * np.cos(turn) - (x - middle[0]) * np.sin(turn)
        depth = 1 - (along / long_px) ** 2 - (across / wide_px) ** 2 + 0.15 * _noise(rng, side, 10.0)
        texture = 1 + float(rng.uniform(0, 0.5)) * _noise(rng, side, float(rng.uniform(1.2, 6.0)))
        cover += np.sqrt(np.clip(depth, 0, None)) * np.clip(texture, 0, 3)
    return cover


def _patches(rng: np.random.Generator, side: int) -> Real:
    """Islands with sharp edges over several scales."""
    rough = _noise(rng, side, float(rng.uniform(6, 40))) + float(rng.uniform(0, 0.5)) * _noise(rng, side, 2.0)
    return np.clip(3 * (rough - float(rng.uniform(0.3, 1.5))) + 0.5, 0, 1).astype(np.float32)


KINDS: dict[str, Callable[[np.random.Generator, int], Real]] = {
    "walls": _walls,
    "fibres": _fibres,
    "bodies": _bodies,
    "patches": _patches,
}
"""How thick the object is, float32 [side, side], 0 where nothing is."""
