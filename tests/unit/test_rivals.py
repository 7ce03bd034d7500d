"""A depth that has a rival says so."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.depth import estimate_depth
from device.analysis.segment import segment
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate

GEOMETRY = Geometry(0.85, 1.12, 500.0)
UNIT_UM = GEOMETRY.pitch_um**2 / GEOMETRY.wavelength_um


def _focused() -> np.ndarray:
    y, x = np.mgrid[0:192, 0:256]
    field = np.ones((192, 256), np.complex64)
    field[np.hypot(y - 96, x - 128) < 8] = np.exp(1j)
    return field


def _start(focused: np.ndarray, *offsets_um: float) -> np.ndarray:
    """Mean of what particles at several offsets show at the focal plane."""
    seen = []
    for offset_um in offsets_um:
        at_sensor = propagate(focused, pitch_um=1.12, wavelength_um=0.85, distance_um=500.0 + offset_um)
        seen.append(backpropagate((np.abs(at_sensor) ** 2).astype(np.float32), GEOMETRY))
    return np.mean(seen, axis=0).astype(np.complex64)


@pytest.mark.parametrize("apart_um", [50.0, 70.0])
def test_a_depth_with_a_rival_as_high_is_uncertain_by_half_the_way_to_it(apart_um: float) -> None:
    focused = _focused()
    (part,) = segment(focused)
    offsets_um = (-apart_um / 2, apart_um / 2)
    alone = estimate_depth(_start(focused, offsets_um[1]), focused, part, GEOMETRY)
    torn = estimate_depth(_start(focused, *offsets_um), focused, part, GEOMETRY)
    assert alone.uncertainty_um < 6
    assert torn.uncertainty_um == pytest.approx(apart_um / 2, abs=8)
    assert any(abs(torn.z_um - (500.0 + offset_um)) < 6 for offset_um in offsets_um)
