"""Distances of simulated objects, absorbing and transparent, at the bioaerosol sampler's and at the beads' geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.autofocus import default_range_um, estimate_distance, estimate_tiles
from device.optics.geometry import Geometry

SAMPLER = Geometry(0.85, 1.12, 500.0)


def hologram(
    kind: str, distance_um: float, *, side_px: int = 192, particles: int = 6, seed: int = 0, noise: float = 0.02
) -> NDArray[np.float32]:
    """Spheres on a field twice as wide, so that nothing wraps round; transfer function in double precision."""
    rng = np.random.default_rng(seed)
    full, pitch_um, wavelength_um = 2 * side_px, SAMPLER.pitch_um, SAMPLER.wavelength_um
    rows, columns = np.ogrid[:full, :full]
    field = np.ones((full, full), np.complex128)
    for _ in range(4 * particles):
        radius_um = rng.uniform(4, 12)
        y, x = rng.uniform(20, full - 20, 2)
        r = np.hypot(rows - y, columns - x) * pitch_um
        if kind == "absorbing":
            field *= 1 - 0.95 * np.clip((radius_um - r) / pitch_um + 0.5, 0, 1)
        else:
            thickness_um = 2 * np.sqrt(np.maximum(radius_um**2 - r**2, 0))
            field *= np.exp(2j * np.pi / wavelength_um * 0.06 * thickness_um)
    f = np.fft.fftfreq(full, pitch_um)
    kz = 2 * np.pi * np.sqrt(np.maximum(1 / wavelength_um**2 - f[:, None] ** 2 - f[None, :] ** 2, 0))
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(field) * np.exp(1j * kz * distance_um))) ** 2
    inner = intensity[side_px // 2 : -side_px // 2, side_px // 2 : -side_px // 2]
    return (inner / inner.mean() * (1 + noise * rng.standard_normal(inner.shape))).astype(np.float32)


@pytest.mark.parametrize(("kind", "tolerance_um"), [("absorbing", 3), ("transparent", 12)])
@pytest.mark.parametrize("distance_um", [430.0, 585.0])
def test_it_finds_absorbing_and_transparent_spheres_alike(kind: str, tolerance_um: float, distance_um: float) -> None:
    """The transparent ones delay by up to 10 rad: strong lenses, so the plane of best contrast is another one."""
    found = estimate_distance(hologram(kind, distance_um), SAMPLER, 350, 700)
    assert found.found, found.reason
    assert abs(found.distance_um - distance_um) < tolerance_um
    assert abs(found.distance_um - distance_um) < 4 * found.uncertainty_um


def test_the_answer_does_not_hang_on_the_search_range() -> None:
    frame = hologram("absorbing", 500.0)
    wide, narrow = (estimate_distance(frame, SAMPLER, *r) for r in ((300, 900), (440, 560)))
    assert abs(wide.distance_um - narrow.distance_um) < 4


def test_a_medium_counts() -> None:
    """The same recording in water lies farther away by the index, near enough for small angles."""
    frame = hologram("absorbing", 500.0)
    water = dataclasses.replace(SAMPLER, wavelength_um=0.85 * 1.33, medium_index=1.33)
    assert abs(estimate_distance(frame, water, 400, 600).distance_um - 500.0) < 6


def test_an_object_outside_the_range_is_not_found() -> None:
    found = estimate_distance(hologram("absorbing", 500.0), SAMPLER, 700, 800)
    assert not found.found
    assert found.reason
    assert np.isnan(found.distance_um)
    assert found.interval_um == (700, 800)


def test_two_planes_of_particles_are_two_maxima_and_no_distance() -> None:
    """Half of the particles near, half far: either plane explains as much of the hologram."""
    frame = hologram("absorbing", 350.0, seed=1) * hologram("absorbing", 700.0, seed=2)
    found = estimate_distance(frame, SAMPLER, 250, 1000)
    assert not found.found
    assert found.reason


def test_noise_alone_has_no_distance() -> None:
    frame = 1 + 0.05 * np.random.default_rng(4).standard_normal((192, 192))
    assert not estimate_distance(frame, SAMPLER, 250, 1000).found


def test_the_interval_holds_the_distance() -> None:
    found = estimate_distance(hologram("absorbing", 610.0, seed=1), SAMPLER, 300, 1200)
    low_um, high_um = found.interval_um
    assert found.found, found.reason
    assert low_um < 610.0 < high_um
    assert high_um - low_um < 60


def test_without_a_range_all_that_the_frame_can_tell_is_searched() -> None:
    low_um, high_um = default_range_um(SAMPLER, 192)
    assert low_um < 50
    assert high_um > 500


def test_the_whole_range_ends_before_a_point_source() -> None:
    low_um, high_um = default_range_um(Geometry(0.532, 6.9, 1.0, source_distance_um=20_000.0), 1024)
    assert 0 < low_um < high_um < 20_000


def test_the_curve_peaks_near_the_answer() -> None:
    found = estimate_distance(hologram("absorbing", 500.0), SAMPLER, 350, 700)
    step_um = found.distances_um[1] - found.distances_um[0]
    assert abs(found.distances_um[np.argmax(found.metric)] - found.distance_um) <= 3 * step_um
    assert (np.diff(found.distances_um) > 0).all()


def test_tiles_find_regions_at_their_own_distances() -> None:
    pair = [hologram("absorbing", d, side_px=160, seed=2) for d in (430.0, 600.0)]
    tiles = estimate_tiles(np.hstack(pair), SAMPLER, 350, 700, tile_px=160)
    assert [t.column_px for t in tiles] == [0, 160]
    found = [t.estimate.distance_um for t in tiles if t.estimate]
    assert found == pytest.approx([430.0, 600.0], abs=8)


def test_an_empty_tile_has_no_distance() -> None:
    frame = np.ones((128, 256), np.float32)
    frame[:, :128] = hologram("absorbing", 500.0, side_px=128)
    tiles = estimate_tiles(frame, SAMPLER, 400, 600, tile_px=128)
    assert tiles[0].estimate is not None
    assert tiles[1].estimate is None


@pytest.mark.parametrize(
    ("frame", "low", "high", "said"),
    [
        (np.ones((64, 64), np.float32), 100, 200, "nothing to focus on"),
        (np.full((64, 64), np.nan, np.float32), 100, 200, "NaN"),
        (np.ones((64, 64, 3), np.float32), 100, 200, "two-dimensional"),
        (np.ones((64, 64), np.float32), 200, 100, "range"),
        (np.ones((64, 64), np.float32), -5, 100, "range"),
    ],
)
def test_bad_input_is_refused_in_plain_words(frame: NDArray[np.float32], low: float, high: float, said: str) -> None:
    with pytest.raises(InputError, match=said):
        estimate_distance(frame, SAMPLER, low, high)
