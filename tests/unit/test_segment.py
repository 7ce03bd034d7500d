"""Fields to particles: masks, places, sizes, depths."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

from device.analysis.depth import Depth, estimate_depth
from device.analysis.measure import measure
from device.analysis.segment import segment
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from device.records import Particle

GEOMETRY = Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0)
DEPTH = Depth(500.0, 10.0)
SHAPE = (192, 256)


def _discs(
    places_px: list[tuple[float, float]], diameter_px: float, phase_rad: float = 1.2, blur_px: float = 0.7
) -> np.ndarray:
    """A field with phase discs at (column, row), complex64."""
    fine = 4
    y, x = np.mgrid[0 : SHAPE[0] * fine, 0 : SHAPE[1] * fine]
    phase = np.zeros(x.shape, np.float32)
    for column, row in places_px:
        # Centres of fine pixels sit at (k + 0.5) / fine - 0.5 in coarse pixels.
        inside = ((x + 0.5) / fine - 0.5 - column) ** 2 + ((y + 0.5) / fine - 0.5 - row) ** 2 < (diameter_px / 2) ** 2
        phase[inside] = phase_rad
    phase = scipy.ndimage.gaussian_filter(phase, blur_px * fine)
    coarse = phase.reshape(SHAPE[0], fine, SHAPE[1], fine).mean(axis=(1, 3))
    return np.exp(1j * coarse).astype(np.complex64)


def _measured(field: np.ndarray) -> list[Particle]:
    return [measure(field, part, DEPTH, GEOMETRY) for part in segment(field)]


def test_an_undisturbed_field_holds_no_particle() -> None:
    assert segment(np.ones(SHAPE, np.complex64)) == []


def test_noise_holds_no_particle() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(SHAPE) + 1j * rng.standard_normal(SHAPE)
    assert segment((1 + 0.05 * noise).astype(np.complex64)) == []


@pytest.mark.parametrize("place", [(100.0, 60.0), (100.3, 60.7), (40.5, 150.25)])
def test_x_runs_along_columns_and_y_along_rows_from_the_centre_of_the_first_pixel(place: tuple[float, float]) -> None:
    (particle,) = _measured(_discs([place], 14))
    assert particle.x_um / 1.12 == pytest.approx(place[0], abs=0.1)
    assert particle.y_um / 1.12 == pytest.approx(place[1], abs=0.1)


@pytest.mark.parametrize("diameter_px", [8, 14, 30, 60])
def test_the_diameter_of_a_disc_is_right_within_three_stated_deviations(diameter_px: float) -> None:
    (particle,) = _measured(_discs([(128.2, 96.4)], diameter_px))
    assert abs(particle.esd_um - diameter_px * 1.12) < 3 * particle.esd_uncertainty_um


def test_a_disc_is_round_and_has_its_phase() -> None:
    (particle,) = _measured(_discs([(128, 96)], 30))
    assert particle.features["circularity"] > 0.85
    assert particle.features["aspect_ratio"] < 1.1
    assert particle.features["mean_phase_rad"] == pytest.approx(1.2, abs=0.15)
    assert particle.features["mean_amplitude"] == pytest.approx(1, abs=0.05)
    assert particle.features["touches_edge"] == 0


def test_a_particle_cut_by_the_border_says_so() -> None:
    (particle,) = _measured(_discs([(2, 96)], 20))
    assert particle.features["touches_edge"] == 1


def test_two_that_touch_are_two() -> None:
    places = [(120.0, 96.0), (129.0, 96.0)]
    found = sorted((p.x_um / 1.12, p.y_um / 1.12) for p in _measured(_discs(places, 9)))
    assert len(found) == 2
    np.testing.assert_allclose(found, places, atol=1)


def test_a_textured_grain_is_one() -> None:
    field = _discs([(128, 96)], 44, phase_rad=1.0)
    texture = scipy.ndimage.gaussian_filter(np.random.default_rng(2).standard_normal(SHAPE), 3)
    grain = np.exp(1j * np.angle(field) * (1 + 0.12 * texture / texture.std()))
    assert len(segment(grain.astype(np.complex64))) == 1


def test_tissue_is_left_whole() -> None:
    rng = np.random.default_rng(4)
    texture = scipy.ndimage.gaussian_filter(rng.standard_normal((700, 700)), 3)
    tissue = np.exp(1j * (1.5 + 0.3 * texture / texture.std()))
    tissue[:40], tissue[-40:] = 1, 1
    # More of the frame must be empty than not, for the background's level is its median.
    field = np.ones((700, 1700), np.complex64)
    field[:, :700] = tissue
    assert len(segment(field)) == 1


def test_a_grain_whose_phase_wraps_to_nothing_inside_is_one_without_a_hole() -> None:
    field = _discs([(128, 96)], 40, phase_rad=2 * np.pi, blur_px=3)
    (part,) = segment(field)
    assert part.mask[part.mask.shape[0] // 2, part.mask.shape[1] // 2]


def test_the_mask_and_the_crop_fit_the_box() -> None:
    (particle,) = _measured(_discs([(128, 96)], 21))
    _, _, width, height = particle.bbox_px
    assert particle.mask.shape == particle.field_crop.shape == (height, width)


@pytest.mark.parametrize("offset_um", [-60.0, -15.0, 0.0, 30.0, 80.0])
def test_a_particle_out_of_the_focal_plane_is_found_at_its_own_depth(offset_um: float) -> None:
    focused = _discs([(128.0, 96.0)], 16, phase_rad=1.0)
    at_sensor = propagate(focused, pitch_um=1.12, wavelength_um=0.85, distance_um=500.0 + offset_um)
    start = backpropagate((np.abs(at_sensor) ** 2).astype(np.float32), GEOMETRY)
    (part,) = segment(focused)
    depth = estimate_depth(start, focused, part, GEOMETRY)
    assert depth.z_um == pytest.approx(500.0 + offset_um, abs=5)
    assert depth.uncertainty_um > 0
