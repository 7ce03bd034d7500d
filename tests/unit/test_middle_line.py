"""Length, width and necks of regions whose shape is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.middle_line import is_stout, middle_line

Mask = NDArray[np.bool_]


def _tube(x: NDArray[np.float64], y: NDArray[np.float64], radius: float | NDArray[np.float64], side: int = 200) -> Mask:
    """Whatever lies within a radius of the points of a centre line."""
    rows, columns = np.mgrid[:side, :side]
    mask = np.zeros((side, side), np.bool_)
    for column, row, own in np.broadcast(x, y, radius):
        mask |= np.hypot(columns - column, rows - row) <= own
    return mask


@pytest.mark.parametrize("turn_deg", [0, 17, 45, 63, 90])
@pytest.mark.parametrize("radius", [2.5, 6.0])
def test_a_straight_thread_has_its_length_however_it_lies(turn_deg: float, radius: float) -> None:
    along = np.linspace(-60, 60, 241)
    line = middle_line(_tube(100 + along * np.cos(np.deg2rad(turn_deg)), 100 + along * np.sin(np.deg2rad(turn_deg)), radius))
    assert line.length == pytest.approx(120 + 2 * radius, rel=0.02)
    assert line.width == pytest.approx(2 * radius, rel=0.1)
    assert line.neck > 0.72
    assert not line.branched


def test_a_bent_thread_is_as_long_as_its_arc() -> None:
    angle = np.linspace(0, 1.5 * np.pi, 400)
    line = middle_line(_tube(100 + 60 * np.cos(angle), 100 + 60 * np.sin(angle), 4.0))
    assert line.length == pytest.approx(60 * 1.5 * np.pi + 8, rel=0.02)
    assert np.hypot(*(line.points[8:-8] - 100).T) == pytest.approx(60, abs=1.5), "it runs in the middle"


def test_a_row_of_discs_has_necks_and_a_spindle_has_none() -> None:
    at = np.linspace(0, 70, 6)
    row = middle_line(_tube(60 + at, np.full(6, 100.0), 7.5))
    along = np.linspace(-1, 1, 200)
    spindle = middle_line(_tube(100 + 70 * along, np.full(200, 100.0), 2 + 14 * (1 - along**2)))
    assert row.neck < 0.6
    assert row.length == pytest.approx(5 * 14 + 15, rel=0.02)
    assert spindle.neck > 0.9


def test_a_cross_is_branched() -> None:
    along = np.linspace(-60, 60, 241)
    cross = _tube(100 + along, np.full(241, 100.0), 5.0) | _tube(np.full(241, 100.0), 100 + along, 5.0)
    assert middle_line(cross).branched


def test_a_large_region_is_measured_on_a_coarser_grid() -> None:
    rows, columns = np.mgrid[:300, :700]
    ellipse = ((columns - 350) / 330) ** 2 + ((rows - 150) / 120) ** 2 <= 1
    line = middle_line(ellipse)
    assert line.length == pytest.approx(660, rel=0.03)
    assert line.points[len(line.points) // 2] == pytest.approx([350, 150], abs=12)


def test_a_single_pixel_has_the_length_of_a_pixel() -> None:
    assert middle_line(np.ones((1, 1), np.bool_)).length == 1


def test_a_disc_is_stout_and_two_that_touch_are_not() -> None:
    rows, columns = np.mgrid[:31, :62]
    disc = np.hypot(rows - 15, columns - 15) <= 15
    assert is_stout(disc[:, :31])
    assert not is_stout(disc | (np.hypot(rows - 15, columns - 46) <= 15))
