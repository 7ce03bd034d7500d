"""From the pixels of a segment to micrometres at the object."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.depth import Depth
from device.analysis.measure import measure
from device.analysis.segment import Segment
from device.optics.geometry import Geometry
from device.records import Particle

MAGNIFICATION, INDEX, WAVELENGTH_UM, PITCH_UM = 4.0, 1.33, 0.53, 2.0
OBJECT_PITCH_UM = PITCH_UM / MAGNIFICATION


def disc(radius_px: float, x_px: int, y_px: int, phase_rad: float) -> Particle:
    """A disc of even phase in a field of 120 x 200 pixels, behind a lens and in water."""
    geometry = Geometry(WAVELENGTH_UM, PITCH_UM, 500.0, magnification=MAGNIFICATION, medium_index=INDEX)
    rows, columns = np.mgrid[:120, :200]
    inside = np.hypot(rows - y_px, columns - x_px) <= radius_px
    field = np.where(inside, np.exp(1j * phase_rad), 1).astype(np.complex64)
    # The box leaves more room on the left than above.
    left, top = x_px - int(radius_px) - 9, y_px - int(radius_px) - 3
    mask = inside[top : y_px + int(radius_px) + 4, left : x_px + int(radius_px) + 4]
    return measure(field, Segment(left, top, mask, touches_edge=False), Depth(480.0, 3.0), geometry)


def test_place_and_size_are_those_at_the_object_x_along_columns() -> None:
    found = disc(12.0, x_px=150, y_px=40, phase_rad=0.5)
    assert (found.x_um, found.y_um) == (pytest.approx(150 * OBJECT_PITCH_UM), pytest.approx(40 * OBJECT_PITCH_UM))
    assert (found.z_um, found.z_uncertainty_um) == (480.0, 3.0)
    assert found.esd_um == pytest.approx(24 * OBJECT_PITCH_UM, rel=0.02)
    assert 0.5 * OBJECT_PITCH_UM < found.esd_uncertainty_um < 2 * OBJECT_PITCH_UM


def test_features_are_in_the_units_of_their_names() -> None:
    features = disc(12.0, x_px=150, y_px=40, phase_rad=0.5).features
    area_um2 = np.pi * (12 * OBJECT_PITCH_UM) ** 2
    assert features["area_um2"] == pytest.approx(area_um2, rel=0.03)
    assert features["perimeter_um"] == pytest.approx(2 * np.pi * 12 * OBJECT_PITCH_UM, rel=0.1)
    assert features["mean_phase_rad"] == pytest.approx(0.5, abs=1e-4)
    # A phase is counted in waves of vacuum, whatever the medium.
    assert features["optical_path_volume_um3"] == pytest.approx(0.5 / (2 * np.pi) * WAVELENGTH_UM * area_um2, rel=0.03)
