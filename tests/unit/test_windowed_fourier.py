"""Noise before unwrapping: closed forms, and what plain sorting can't do."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.unwrapping import unwrap_field
from device.optics.windowed_fourier import filter_noise, noise_amplitude
from tests.benchmarks.unwrapping import fields, matrix, score, spheres


def plane_wave(slope_rad_per_px: float, rows: int, columns: int) -> NDArray[np.complex128]:
    return np.asarray(np.exp(1j * slope_rad_per_px * np.arange(columns)) * np.ones((rows, 1)), np.complex128)


def white_noise(seed: int, side_px: int) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(side_px, side_px)) + 1j * rng.normal(size=(side_px, side_px)), np.complex128)


@pytest.mark.parametrize("slope_rad_per_px", [0.0, 0.35, 1.6, -2.4])
def test_a_plane_wave_comes_back_as_it_is(slope_rad_per_px: float) -> None:
    wave = plane_wave(slope_rad_per_px, 80, 96)
    found, coherence = filter_noise(wave)
    inner = (slice(12, -12), slice(12, -12))
    assert np.abs(found - wave)[inner].max() < 0.04
    assert coherence[inner] == pytest.approx(1.0, abs=0.05)


def test_the_noise_of_a_pixel_is_found() -> None:
    assert noise_amplitude(plane_wave(0.2, 200, 200) + 0.5 * white_noise(1, 200)) == pytest.approx(np.sqrt(0.5), rel=0.03)


def test_in_noise_alone_nothing_is_determined() -> None:
    found = unwrap_field(white_noise(2, 96))
    assert found.method == "wff"
    assert found.determined.mean() < 0.02


@pytest.mark.parametrize(("scene", "clean"), [(matrix, 8), (spheres, 6)])
def test_fields_in_noise_unwrap_after_the_filter_and_not_without(scene: Any, clean: int) -> None:
    filtered, sorted_only = score("wff", fields(scene, 2.0, 8, 40)), score("quality", fields(scene, 2.0, 8, 40))
    assert (filtered[:, 1] == 0).sum() >= clean > (sorted_only[:, 0] == 0).sum() + 4


def test_auto_leaves_a_clean_phase_to_sorting() -> None:
    assert unwrap_field(plane_wave(0.1, 64, 64)).method == "quality"


def test_what_is_no_field_is_refused() -> None:
    broken: list[Any] = [np.zeros(9, complex), np.zeros((4, 40), complex), np.full((20, 20), np.nan + 0j)]
    for field in broken:
        with pytest.raises(InputError):
            filter_noise(field)
    with pytest.raises(InputError, match="no such unwrapping"):
        unwrap_field(np.ones((20, 20), complex), cast("Any", "learned"))
