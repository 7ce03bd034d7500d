"""Pieces of one particle put together.

A long body whose middle is as bright as what surrounds it comes out of the reconstruction in pieces that nearly touch. In a
thin suspension two particles hardly ever lie that close, and the few that do are in the correction for overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from device.analysis.depth import Depth
from device.analysis.measure import measure
from device.analysis.pipeline import FrameAnalysis
from device.analysis.segment import Segment
from device.optics.geometry import Geometry
from device.records import Particle

__all__ = ["GAP_PX", "reunited", "touching"]

GAP_PX = 4.0
"""Pieces nearer than this are of one particle."""


def reunited(analysis: FrameAnalysis, geometry: Geometry, gap_px: float = GAP_PX) -> FrameAnalysis:
    """The analysis with particles that lie no farther apart than a gap made one, measured anew.

    The whole has the depth, the name and the consistency of its largest piece.
    """
    particles, result = analysis.particles, analysis.reconstruction
    if result is None or len(particles) < 2:
        return analysis
    groups = touching(particles, gap_px)
    if len(groups) == len(particles):
        return analysis
    largest = [max(group, key=lambda k: particles[k].esd_um) for group in groups]
    whole = tuple(
        particles[best] if len(group) == 1 else _whole([particles[k] for k in group], particles[best], result.field, geometry)
        for group, best in zip(groups, largest, strict=True)
    )
    return replace(
        analysis,
        particles=whole,
        classifications=tuple(analysis.classifications[k] for k in largest),
        consistencies=tuple(analysis.consistencies[k] for k in largest),
    )


def touching(particles: Sequence[Particle], gap_px: float) -> list[list[int]]:
    """Indices of particles, joined where any of their pixels are near."""
    places = [np.argwhere(p.mask) + np.array([p.bbox_px[1], p.bbox_px[0]]) for p in particles]
    trees = [KDTree(place) for place in places]
    group = list(range(len(particles)))
    for k, particle in enumerate(particles):
        for j in range(k):
            if _boxes_near(particle, particles[j], gap_px) and trees[k].count_neighbors(trees[j], gap_px) > 0:
                kept, joined = sorted((group[k], group[j]))
                group = [kept if g == joined else g for g in group]
    return [[k for k, g in enumerate(group) if g == name] for name in sorted(set(group))]


def _boxes_near(one: Particle, other: Particle, gap_px: float) -> bool:
    (x0, y0, w0, h0), (x1, y1, w1, h1) = one.bbox_px, other.bbox_px
    return max(x0, x1) - min(x0 + w0, x1 + w1) < gap_px and max(y0, y1) - min(y0 + h0, y1 + h1) < gap_px


def _whole(pieces: list[Particle], best: Particle, field: NDArray[np.complex64], geometry: Geometry) -> Particle:
    left, top = (min(p.bbox_px[axis] for p in pieces) for axis in (0, 1))
    right, bottom = (max(p.bbox_px[axis] + p.bbox_px[axis + 2] for p in pieces) for axis in (0, 1))
    mask = np.zeros((bottom - top, right - left), np.bool_)
    for piece in pieces:
        x, y, width, height = piece.bbox_px
        mask[y - top : y - top + height, x - left : x - left + width] |= piece.mask
    touches = any(piece.features.get("touches_edge", 0.0) > 0 for piece in pieces)
    return measure(field, Segment(left, top, mask, touches), Depth(best.z_um, best.z_uncertainty_um), geometry)
