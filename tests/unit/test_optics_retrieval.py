"""Single-shot retrieval and the consistency of its result."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.consistency import agreement
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot, retrieve_transparent
from device.optics.propagation import backpropagate

GEOMETRY = Geometry(0.85, 1.12, 400.0)
Field = NDArray[np.complex128]


def _scene(n: int = 160) -> tuple[Field, NDArray[np.float32]]:
    """A transparent and an absorbing disc, and their hologram by a transfer function in double precision."""
    full = 2 * n
    rows, columns = np.ogrid[:full, :full]
    field = np.ones((full, full), np.complex128)
    field *= np.exp(1.5j * np.clip(9 - np.hypot(rows - n - 20, columns - n + 25), 0, 1))
    field *= 1 - 0.8 * np.clip(7 - np.hypot(rows - n + 30, columns - n - 15), 0, 1)
    f = np.fft.fftfreq(full, GEOMETRY.pitch_um)
    kz = 2 * np.pi * np.sqrt(np.maximum(1 / GEOMETRY.wavelength_um**2 - f[:, None] ** 2 - f[None, :] ** 2, 0))
    hologram = np.abs(np.fft.ifft2(np.fft.fft2(field) * np.exp(1j * kz * GEOMETRY.distance_um))) ** 2
    inner = (slice(n // 2, -n // 2),) * 2
    return field[inner], hologram[inner].astype(np.float32)


def _error(field: NDArray[np.complexfloating], truth: Field) -> float:
    return float(np.linalg.norm(field - truth) / np.linalg.norm(truth - 1))


def test_it_suppresses_the_twin_image() -> None:
    truth, hologram = _scene()
    plain, retrieved = backpropagate(hologram, GEOMETRY), retrieve_single_shot(hologram, GEOMETRY)
    assert _error(retrieved, truth) < 0.35 * _error(plain, truth)


def test_it_gives_the_sign_of_the_phase() -> None:
    truth, hologram = _scene()
    retrieved = retrieve_single_shot(hologram, GEOMETRY)
    assert _error(retrieved, truth) < 0.5 * _error(np.conj(retrieved), truth)


def test_nothing_amplifies_light() -> None:
    _, hologram = _scene()
    assert np.abs(retrieve_single_shot(hologram, GEOMETRY)).max() <= 1 + 1e-5


def test_outside_a_given_support_there_is_nothing() -> None:
    truth, hologram = _scene()
    support = np.abs(truth - 1) > 0.01
    retrieved = retrieve_single_shot(hologram, GEOMETRY, support=support, iterations=60)
    assert (retrieved[~support] == 1).all()
    assert _error(retrieved, truth) < 0.15


def test_an_empty_hologram_gives_an_empty_field() -> None:
    assert np.abs(retrieve_single_shot(np.ones((64, 96), np.float32), GEOMETRY) - 1).max() < 1e-3


def test_the_true_field_explains_its_hologram_and_a_wrong_distance_does_not() -> None:
    truth, hologram = _scene()
    right = agreement(truth, hologram, GEOMETRY, noise=0.01)
    wrong = agreement(truth, hologram, GEOMETRY.at(460.0), noise=0.01)
    # Not 1: fringes that come in from outside the frame have no object inside it.
    assert right.correlation > 0.98
    assert right.residual < 0.2 < wrong.residual
    assert right.chi2 is not None
    assert wrong.chi2 is not None
    assert right.chi2 < wrong.chi2


def test_brightness_does_not_count_against_a_reconstruction() -> None:
    truth, hologram = _scene()
    assert agreement(truth, 3 * hologram, GEOMETRY).residual == pytest.approx(
        agreement(truth, hologram, GEOMETRY).residual, rel=1e-5
    )


def test_bad_input_is_refused() -> None:
    ones = np.ones((32, 32), np.float32)
    with pytest.raises(InputError, match="support"):
        retrieve_single_shot(ones, GEOMETRY, support=np.ones((4, 4), np.bool_))
    with pytest.raises(InputError, match="iterate"):
        retrieve_single_shot(ones, GEOMETRY, iterations=0)
    with pytest.raises(InputError, match="NaN"):
        retrieve_single_shot(ones * np.nan, GEOMETRY)
    with pytest.raises(InputError, match="two-dimensional"):
        retrieve_single_shot(np.ones((3, 32, 32), np.float32), GEOMETRY)
    with pytest.raises(InputError, match="shapes"):
        agreement(np.ones((4, 4), np.complex64), ones, GEOMETRY)


def test_a_transparent_layer_that_fills_the_frame_is_found_by_its_phase_alone() -> None:
    n = 192
    rng = np.random.default_rng(3)
    f = np.fft.fftfreq(2 * n)
    radius = np.hypot(f[:, None], f[None, :])
    band = np.exp(-((radius / 0.06) ** 2)) * (radius > 0.015)
    phase = np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((2 * n, 2 * n))) * band))
    layer = np.exp(0.6j * phase / phase.std())
    kz = 2 * np.pi * np.sqrt(1 / GEOMETRY.wavelength_um**2 - (radius / GEOMETRY.pitch_um) ** 2 + 0j)
    hologram = np.abs(np.fft.ifft2(np.fft.fft2(layer) * np.exp(1j * kz * GEOMETRY.distance_um))) ** 2
    inner = (slice(n // 2, -n // 2),) * 2
    truth, intensity = layer[inner] - layer[inner].mean(), hologram[inner].astype(np.float32)

    def correlation(field: NDArray[np.complexfloating]) -> float:
        off = field - field.mean()
        return float(np.abs(np.vdot(off, truth)) / (np.linalg.norm(off) * np.linalg.norm(truth)))

    found = retrieve_transparent(intensity, GEOMETRY)
    assert found.dtype == np.complex64
    assert np.abs(found) == pytest.approx(1, abs=1e-5)
    assert correlation(found) > 0.75
    assert correlation(found) > correlation(backpropagate(intensity, GEOMETRY)) + 0.15


def test_a_transparent_layer_needs_a_hologram() -> None:
    with pytest.raises(InputError):
        retrieve_transparent(np.full((32, 32), np.nan, np.float32), GEOMETRY)
