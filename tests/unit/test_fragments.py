"""Pieces of one particle put together."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.fragments import reunited
from device.analysis.measure import measure
from device.analysis.pipeline import UNCLASSIFIED, FrameAnalysis
from device.analysis.reconstruct import Reconstruction
from device.analysis.segment import Segment
from device.optics.geometry import Geometry
from device.records import Consistency

GEOMETRY = Geometry(wavelength_um=0.53, pitch_um=3.45, distance_um=2000.0, medium_index=1.33)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def analysis(*boxes: tuple[int, int, int, int]) -> FrameAnalysis:
    """Dark rectangles (x, y, width, height) on an even field, each found as a particle of its own depth."""
    field = np.ones((128, 128), np.complex64)
    particles = []
    for k, (x, y, width, height) in enumerate(boxes):
        field[y : y + height, x : x + width] = 0.2
        part = Segment(x, y, np.ones((height, width), np.bool_), touches_edge=False)
        particles.append(measure(field, part, Depth(1900.0 + 100 * k, 30.0), GEOMETRY))
    n = len(particles)
    return FrameAnalysis(tuple(particles), (UNCLASSIFIED,) * n, Reconstruction(field, field, 1), 0.1, (Consistency(),) * n)


def test_pieces_that_nearly_touch_are_one_particle_with_the_size_of_both() -> None:
    whole = reunited(analysis((20, 30, 8, 6), (30, 30, 12, 6)), GEOMETRY)
    assert len(whole.particles) == len(whole.classifications) == len(whole.consistencies) == 1
    particle = whole.particles[0]
    assert particle.bbox_px == (20, 30, 22, 6)
    # The outline of a step that nothing blurs lies a little outside it.
    assert particle.features["area_um2"] == pytest.approx((8 + 12) * 6 * 3.45**2, rel=0.05)
    assert particle.z_um == 2000, "the larger piece's"
    assert particle.x_um == pytest.approx((8 * 23.5 + 12 * 35.5) / 20 * 3.45)


def test_three_in_a_row_are_one_and_what_lies_apart_stays_apart() -> None:
    found = reunited(analysis((20, 30, 8, 6), (80, 80, 9, 9), (30, 30, 8, 6), (40, 30, 8, 6)), GEOMETRY)
    assert [p.bbox_px for p in found.particles] == [(20, 30, 28, 6), (80, 80, 9, 9)]


def test_boxes_that_touch_where_the_pixels_do_not_are_two() -> None:
    before = analysis((20, 30, 8, 6), (33, 30, 8, 6))
    assert reunited(before, GEOMETRY) is before
