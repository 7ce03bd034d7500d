from __future__ import annotations

import numpy as np
import pytest

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from device.optics.pupil import ABERRATIONS, Pupil, aberration_terms

PUPIL = Pupil((0.8, -0.5, 0.5, 0.3, 0.2, -0.1, 0.4), 0.3)


def test_terms_have_unit_root_mean_square_over_the_disc_and_are_orthogonal() -> None:
    terms = aberration_terms((400, 400), 1.0, 0.4)
    frequency = np.hypot(np.fft.fftfreq(400)[:, None], np.fft.fftfreq(400)[None, :])
    inside = terms[:, frequency < 0.4].astype(np.float64)
    inside[ABERRATIONS.index("spherical")] -= inside[ABERRATIONS.index("spherical")].mean()  # its piston is taken off
    gram = inside @ inside.T / inside.shape[1]
    np.testing.assert_allclose(gram, np.eye(len(ABERRATIONS)), atol=0.02)


def test_the_reference_wave_keeps_its_phase() -> None:
    assert PUPIL.transfer((64, 96), 1.0)[0, 0] == 1


def test_coma_shears_the_way_it_is_named() -> None:
    terms = aberration_terms((64, 64), 1.0, 0.5)
    along_x = terms[ABERRATIONS.index("coma_x")]
    np.testing.assert_allclose(along_x[:, 5], along_x[:, 5][np.r_[0, np.arange(63, 0, -1)]], atol=1e-5)
    np.testing.assert_allclose(along_x[3, 1:32], -along_x[3, :32:-1], atol=1e-5)


def test_what_propagation_puts_on_back_propagation_takes_off() -> None:
    rng = np.random.default_rng(0)
    field = 1 + 0.2 * rng.standard_normal((64, 64)) + 0.2j * rng.standard_normal((64, 64))
    optics = {"pitch_um": 1.0, "wavelength_um": 0.5, "margin_px": 0, "pupil": PUPIL}
    there = propagate(field, distance_um=40.0, **optics)
    back = propagate(there, distance_um=-40.0, **optics)
    np.testing.assert_allclose(back, field, atol=1e-4)


def test_a_hologram_comes_into_focus_where_the_aberrations_are_known() -> None:
    field = np.ones((128, 128), np.complex64)
    field[60:66, 60:66] = 0
    geometry = Geometry(0.5, 1.0, 200.0, pupil=PUPIL)
    recorded = np.abs(propagate(field, pitch_um=1.0, wavelength_um=0.5, distance_um=200.0, pupil=PUPIL)) ** 2
    aware, naive = backpropagate(recorded, geometry), backpropagate(recorded, Geometry(0.5, 1.0, 200.0))
    box = (slice(56, 70), slice(56, 70))
    errors = [np.linalg.norm(found[box] - field[box]) for found in (aware, naive)]
    assert errors[0] < 0.75 * errors[1]  # the twin image stays


@pytest.mark.parametrize(("coefficients", "radius"), [((1.0,), 0.3), ((np.nan,) * 7, 0.3), ((0.0,) * 7, 0.0)])
def test_what_is_no_pupil_is_refused(coefficients: tuple[float, ...], radius: float) -> None:
    with pytest.raises(InputError):
        Pupil(coefficients, radius)
