"""Long distances and other pitches, against closed forms and the exact integral."""

from __future__ import annotations

import numpy as np
import pytest

from device.errors import InputError
from device.optics.fresnel import fresnel_transform, scaled_propagate
from device.optics.propagation import choose_method, propagate
from tests.benchmarks.propagation_domain import relative_error

SIDE = 256


def _gaussian(waist_um: float, pitch_um: float, side: int = SIDE) -> np.ndarray:
    at = (np.arange(side) - side // 2) * pitch_um
    return np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / waist_um**2)


def _beam(waist_um: float, wavelength_um: float, z_um: float, at_um: np.ndarray) -> np.ndarray:
    """Gaussian beam on a line through its axis (Siegman, Lasers, chapter 17), the plane wave's phase taken out."""
    rayleigh = np.pi * waist_um**2 / wavelength_um
    return np.exp(-(at_um**2) / (waist_um**2 * (1 + 1j * z_um / rayleigh))) / (1 + 1j * z_um / rayleigh)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gaussian_beam_spreads_as_the_closed_form_says(sign: int) -> None:
    waist_um, wavelength_um, z_um = 60.0, 0.633, 200_000.0 * sign
    field, (pitch, _) = fresnel_transform(_gaussian(waist_um, 5.0), pitch_um=5.0, wavelength_um=wavelength_um, distance_um=z_um)
    at = (np.arange(SIDE) - SIDE // 2) * pitch
    exact = _beam(waist_um, wavelength_um, z_um, at)
    assert np.abs(field[SIDE // 2] - exact).max() < 1e-3 * np.abs(exact).max()


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.7])
def test_another_pitch_shows_the_same_beam(ratio: float) -> None:
    waist_um, wavelength_um, z_um = 12.0, 0.85, 600.0
    field = scaled_propagate(
        _gaussian(waist_um, 1.12, 255), pitch_um=1.12, wavelength_um=wavelength_um, distance_um=z_um, out_pitch_um=1.12 * ratio
    )
    at = (np.arange(255) - 127) * 1.12 * ratio
    exact = _beam(waist_um, wavelength_um, z_um, at)
    assert np.abs(field[127] - exact).max() < 3e-3 * np.abs(exact).max()


def test_the_same_pitch_is_the_plain_angular_spectrum() -> None:
    spot = _gaussian(8.0, 1.0)
    lengths = {"pitch_um": 1.0, "wavelength_um": 0.6, "distance_um": 150.0}
    scaled = scaled_propagate(spot, out_pitch_um=1.0, **lengths)
    assert np.abs(scaled - propagate(spot, border="zero", **lengths)).max() < 1e-4


@pytest.mark.parametrize(("ratio", "defocus"), [(0.3, 10.0), (0.76, 250.0), (1.4, 30.0), (0.15, 600.0)])
def test_propagation_is_exact_to_a_thousandth_in_its_domain(ratio: float, defocus: float) -> None:
    assert choose_method(SIDE, 1.0, ratio, defocus / ratio) == "angular spectrum"
    assert relative_error(ratio, defocus) < 1e-3


def test_too_near_for_fresnel_and_too_far_for_the_angular_spectrum() -> None:
    with pytest.raises(InputError, match="too near"):
        fresnel_transform(np.ones((64, 64)), pitch_um=1.0, wavelength_um=0.5, distance_um=20.0)
    assert choose_method(1024, 6.8, 0.6328, 1e6) == "fresnel"
    assert choose_method(1024, 1.12, 0.85, 500.0) == "angular spectrum"


def test_a_tapered_border_fades_into_the_mean() -> None:
    frame = 1 + 0.3 * np.random.default_rng(1).normal(size=(96, 128))
    lengths = {"pitch_um": 1.12, "wavelength_um": 0.85, "distance_um": -200.0}
    tapered, mirrored = (propagate(frame, border=b, **lengths) for b in ("taper", "mirror"))
    inner = (slice(40, -40),) * 2
    assert np.abs(tapered - mirrored)[inner].mean() < 0.6 * np.abs(tapered - mirrored).mean()
