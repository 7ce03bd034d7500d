"""Fits of spheres in holograms that another library computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device.errors import InputError
from device.optics.lorenz_mie import Light
from device.optics.sphere_fit import Sphere, fit_sphere, hologram_centre
from tests.benchmarks.sphere_grid import INDEX, PITCH_UM, foreign_hologram, light, node, recorded


@pytest.mark.parametrize(("radius_um", "z_um"), [(2.0, 200.0), (12.0, 500.0)])
def test_distance_and_radius_are_found_from_ranges_alone(radius_um: float, z_um: float) -> None:
    held = node(radius_um, z_um, seed=5)
    assert abs(held.sphere.z_um - z_um) < 1.0
    assert abs(held.sphere.radius_um / radius_um - 1) < 0.03
    assert held.chi2 is not None
    assert held.chi2 < 1.3


def test_the_centre_of_rings_is_found_to_a_fifth_of_a_pixel() -> None:
    frame = foreign_hologram(4.0, 300.0, (222.37, 226.81))
    assert hologram_centre(frame, (224, 225)) == pytest.approx((222.37, 226.81), abs=0.2)


def test_stated_uncertainties_cover_the_scatter() -> None:
    side_px = 224
    true = Sphere(side_px / 2 + 0.3, side_px / 2 - 0.2, 400.0, 4.0, INDEX)
    clean = foreign_hologram(4.0, 400.0, (true.row_px, true.column_px), side_px=side_px)
    start = replace(true, row_px=true.row_px + 0.4, z_um=true.z_um + 2.0, radius_um=3.9)
    noisy = [recorded(clean, seed) for seed in range(20)]
    free = ("row_px", "column_px", "z_um", "radius_um")
    fits = [
        fit_sphere(counts / np.median(counts), light(), PITCH_UM, start, free=free, seed=k) for k, counts in enumerate(noisy)
    ]
    pulls = np.array([(f.sphere.z_um - 400.0) / f.uncertainty.z_um for f in fits])
    assert 0.4 < np.sqrt(np.mean(pulls**2)) < 1.8


def test_too_small_a_piece_is_refused() -> None:
    with pytest.raises(InputError, match="too little"):
        fit_sphere(np.ones((64, 64)), Light(0.85), 1.12, Sphere(2, 2, 100.0, 2.0, 1.5))
