"""The median of a few frames, pixel by pixel, by a sorting network: minima and maxima of whole rows, no branches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["median_of"]

_BLOCK_BYTES = 1 << 18
"""Of each frame at a time: all of them together stay in a core's cache."""


def median_of(frames: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Pixel-wise median of frames float32 [height, width], the mean of the middle two where their number is even."""
    height, width = frames[0].shape
    out = np.empty((height, width), np.float32)
    steps, middle = _network(len(frames)), (len(frames) - 1) // 2
    rows = max(_BLOCK_BYTES // (4 * width), 1)
    for top in range(0, height, rows):
        block = slice(top, min(top + rows, height))
        parts = [np.array(frame[block], np.float32) for frame in frames]
        spare = np.empty_like(parts[0])
        for low, high in steps:
            np.minimum(parts[low], parts[high], out=spare)
            np.maximum(parts[low], parts[high], out=parts[high])
            parts[low], spare = spare, parts[low]
        out[block] = parts[middle] if len(frames) % 2 else (parts[middle] + parts[middle + 1]) * np.float32(0.5)
    return out


@lru_cache(maxsize=32)
def _network(count: int) -> tuple[tuple[int, int], ...]:
    """Comparators that bring the middle of `count` values to its place: Batcher's odd-even merge sort (1968,
    doi:10.1145/1468075.1468121), less those on which the middle doesn't depend."""
    steps: list[tuple[int, int]] = []
    merged = 1
    while merged < count:
        reach = merged
        while reach >= 1:
            for start in range(reach % merged, count - reach, 2 * reach):
                pairs = ((k, k + reach) for k in range(start, min(start + reach, count - reach)))
                steps += [(k, far) for k, far in pairs if k // (2 * merged) == far // (2 * merged)]
            reach //= 2
        merged *= 2
    wanted = {(count - 1) // 2, count // 2}
    kept: list[tuple[int, int]] = []
    for low, high in reversed(steps):
        if low in wanted or high in wanted:
            wanted |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))
