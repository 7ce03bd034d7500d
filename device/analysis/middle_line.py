"""The middle line of a region: how long it is from end to end, where it runs, where it narrows.

The line is the cheapest way through the mask between the two points that lie farthest from each other within it, cheap where
the outline is far. It has no spurs; of a region that branches it is the longest branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

__all__ = ["MiddleLine", "is_stout", "middle_line"]

Mask = NDArray[np.bool_]
Real = NDArray[np.float64]

_MOST_PX = 20_000
"""Pixels of a mask beyond which it is looked at on a coarser grid."""
_STOUT = 2.8
"""Squared diagonal of the box over the area: 8 / pi for a disc; 4 for one twice as long as wide along an axis, less aslant."""
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))


@dataclass(frozen=True)
class MiddleLine:
    """Of one region, in pixels."""

    points: Real
    """float64 [n, 2]: column and row in the mask, tip to tip, smooth over its half width."""
    half_widths: Real
    """float64 [n]: from each point to the outline."""
    area: float
    """Of the region, in square pixels."""

    @property
    def length(self) -> float:
        """From tip to tip. Pixels' centres run half a pixel inside the outline."""
        return float(np.hypot(*np.diff(self.points, axis=0).T).sum()) + 1.0

    @property
    def width(self) -> float:
        """Mean: area over length."""
        return self.area / self.length

    @property
    def elongation(self) -> float:
        """Length over width; a round disc has 4 / pi, two that touch have twice that."""
        return self.length / self.width

    @property
    def branched(self) -> bool:
        """Whether more lies beside the line than the widest thread along it would hold."""
        return self.area > 1.1 * self.length * 2 * float(self.half_widths.max())

    @property
    def neck(self) -> float:
        """Least half width over the lesser of the greatest on either side: 1 for what only tapers."""
        before = np.maximum.accumulate(self.half_widths)
        behind = np.maximum.accumulate(self.half_widths[::-1])[::-1]
        return float((self.half_widths / np.minimum(before, behind)).min())


def is_stout(mask: Mask) -> bool:
    """Whether a mask bool [height, width] of its box covers too much of it to be long and thin: a disc does."""
    return float(np.hypot(*mask.shape)) ** 2 < _STOUT * float(mask.sum())


def middle_line(mask: Mask) -> MiddleLine:
    """Of the largest connected part of a mask bool [height, width] that holds at least a pixel."""
    step = max(1, int(np.ceil(np.sqrt(mask.sum() / _MOST_PX))))
    coarse = mask if step == 1 else _coarser(mask, step)
    padded = np.pad(coarse.astype(np.uint8), 1)
    inner = np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)
    # From the outline, not from the nearest pixel's centre beyond it.
    deep = np.maximum(inner[1:-1, 1:-1] - 0.5, 0.5)
    rows, columns = np.nonzero(coarse)
    depth = deep[rows, columns]
    plain, costly = _graphs(coarse, deep)
    middle = int(np.argmax(depth))
    one = _farthest(plain, middle)
    other = _farthest(plain, one)
    _, before = dijkstra(costly, directed=False, indices=one, return_predecessors=True)
    path = [other]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    points = np.stack([columns[path], rows[path]], axis=1).astype(np.float64)
    smooth = _smoothed(points, float(np.median(depth[path])))
    at = np.clip(np.rint(smooth).astype(int), 0, np.array(coarse.shape[::-1]) - 1)
    widths = np.maximum(deep[at[:, 1], at[:, 0]], 0.5)
    return MiddleLine(step * smooth + (step - 1) / 2, step * widths, float(mask.sum()))


def _coarser(mask: Mask, step: int) -> Mask:
    height, width = (-(-n // step) * step for n in mask.shape)
    padded = np.zeros((height, width), np.float32)
    padded[: mask.shape[0], : mask.shape[1]] = mask
    return padded.reshape(height // step, step, width // step, step).mean(axis=(1, 3)) >= 0.5


def _graphs(mask: Mask, deep: Real) -> tuple[coo_array, coo_array]:
    """Steps between neighbouring pixels of the mask by their length, and by their length over the squared depth there."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(int(mask.sum()))
    ones, others, lengths, costs = [], [], [], []
    for down, right in _STEPS:
        here = (slice(0, mask.shape[0] - down), slice(max(-right, 0), mask.shape[1] - max(right, 0)))
        there = (slice(down, None), slice(max(right, 0), mask.shape[1] + min(right, 0)))
        both = mask[here] & mask[there]
        length = np.full(int(both.sum()), np.hypot(down, right))
        ones.append(number[here][both])
        others.append(number[there][both])
        lengths.append(length)
        costs.append(length / (deep[here][both] * deep[there][both]))
    places = (np.concatenate(ones), np.concatenate(others))
    size = (int(mask.sum()),) * 2
    return coo_array((np.concatenate(lengths), places), size), coo_array((np.concatenate(costs), places), size)


def _farthest(graph: coo_array, start: int) -> int:
    reached = dijkstra(graph, directed=False, indices=start)
    return int(np.argmax(np.where(np.isfinite(reached), reached, -1)))


def _smoothed(points: Real, sigma: float) -> Real:
    """Along the line; its ends stay, for the line goes on beyond them turned by half a circle."""
    reach = min(len(points) - 1, int(4 * sigma) + 1)
    if reach < 1:
        return points
    before = 2 * points[0] - points[reach:0:-1]
    behind = 2 * points[-1] - points[-2 : -reach - 2 : -1]
    long = np.concatenate([before, points, behind])
    return gaussian_filter1d(long, sigma, axis=0, mode="nearest")[reach : reach + len(points)]
