"""Our Lorenz-Mie series against an independent library, and against the propagation of scalar waves."""

from __future__ import annotations

import miepython
import numpy as np
import pytest

from device.errors import InputError
from device.optics.lorenz_mie import Light, fringe_visibility, radial_field, scattering_coefficients, sphere_hologram
from device.optics.propagation import propagate
from tests.benchmarks.sphere_grid import foreign_hologram, light

LIGHT = Light(0.85, 1.33)


@pytest.mark.parametrize("size", [0.3, 2.0, 11.0, 60.0, 150.0, 300.0])
@pytest.mark.parametrize("index", [1.05, 1.59 / 1.33, 1 / 1.33, 1.5 + 0.1j])
def test_the_coefficients_are_those_of_an_independent_library(size: float, index: complex) -> None:
    a, b = scattering_coefficients(size, index)
    theirs_a, theirs_b = miepython.coefficients(index, size)[:2]
    n = min(len(a), len(theirs_a))
    assert np.abs(a[:n] - theirs_a[:n]).max() < 1e-6
    assert np.abs(b[:n] - theirs_b[:n]).max() < 1e-6


def test_a_sphere_of_the_medium_scatters_nothing() -> None:
    field = radial_field(LIGHT, 5.0, 1.33, 200.0, np.linspace(0, 100, 50))
    assert np.abs(field.mean).max() < 1e-9


def test_far_away_the_forward_field_is_the_textbook_amplitude() -> None:
    """E_s -> i S(0) exp(ikr) / (kr), Bohren and Huffman eq. 3.12, with S(0) = sum (2n + 1)(a_n + b_n) / 2."""
    radius_um, z_um = 2.0, 1e6
    a, b = scattering_coefficients(LIGHT.wavenumber * radius_um, 1.59 / 1.33)
    n = np.arange(1, len(a) + 1)
    forward = ((2 * n + 1) * (a + b)).sum() / 2
    found = radial_field(LIGHT, radius_um, 1.59, z_um, np.zeros(1)).mean[0]
    assert found == pytest.approx(1j * forward / (LIGHT.wavenumber * z_um), rel=1e-3)


@pytest.mark.parametrize(("radius_um", "z_um"), [(2.0, 150.0), (12.0, 400.0)])
def test_a_hologram_is_that_of_an_independent_near_field(radius_um: float, z_um: float) -> None:
    theirs = foreign_hologram(radius_um, z_um, (224.3, 223.8))
    ours = sphere_hologram(light(), theirs.shape, 1.12, centre_px=(224.3, 223.8), z_um=z_um, radius_um=radius_um, index=1.58)
    resolved = np.hypot(*np.ogrid[-224.3:223.7:448j, -223.8:224.2:448j]) * 1.12 < 0.5 * z_um
    assert np.abs(ours - theirs)[resolved].max() < 0.02 * np.ptp(theirs)


def test_the_wave_travels_as_everywhere_in_the_house() -> None:
    """A phase object of higher index, refocused to its own plane, advances the phase there."""
    hologram = sphere_hologram(Light(0.85), (256, 256), 1.12, centre_px=(127.5, 127.5), z_um=500, radius_um=10, index=1.005)
    field = propagate(np.sqrt(hologram), pitch_um=1.12, wavelength_um=0.85, distance_um=-500.0)
    assert np.angle(field)[123:133, 123:133].mean() > 0.15


def test_polarised_light_averages_to_unpolarised() -> None:
    arguments = {"centre_px": (63.5, 63.5), "z_um": 120.0, "radius_um": 3.0, "index": 1.59}
    both = [sphere_hologram(LIGHT, (128, 128), 1.12, polarisation_rad=p, **arguments) for p in (0.0, np.pi / 2)]
    assert np.allclose(np.mean(both, axis=0), sphere_hologram(LIGHT, (128, 128), 1.12, **arguments), atol=1e-5)


def test_contrast_falls_as_coherence_theory_says() -> None:
    """Half the contrast where the path difference is half the coherence length of a Gaussian line, 4 ln 2 / pi l^2 / dl."""
    lamp = Light(0.85, bandwidth_um=0.02)
    half_um = 2 * np.log(2) / np.pi * 0.85**2 / 0.02
    rho_um = np.sqrt((1000 + half_um) ** 2 - 1000**2)
    assert fringe_visibility(lamp, 1000.0, np.array([rho_um]))[0] == pytest.approx(0.5, abs=1e-6)


def test_a_plane_inside_the_sphere_is_refused() -> None:
    with pytest.raises(InputError, match="cuts the sphere"):
        radial_field(LIGHT, 5.0, 1.5, 4.0, np.zeros(1))
    with pytest.raises(InputError, match="no such sphere"):
        scattering_coefficients(0.0, 1.5)
