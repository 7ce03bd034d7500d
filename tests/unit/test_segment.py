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


def test_what_is_faint_counts_where_neither_noise_nor_a_strong_neighbour_would_make_it() -> None:
    faint = _discs([(40, 96)], 12, phase_rad=0.3)
    assert segment(faint) == []
    assert len(segment(faint, noise=0.005, reach_px=40)) == 1
    assert segment(faint, noise=0.02, reach_px=40) == []
    strong = faint + _discs([(90, 96)], 12, phase_rad=2) - 1
    assert len(segment(strong, noise=0.005, reach_px=40)) == 1
    assert len(segment(strong, noise=0.005, reach_px=0)) == 2


def test_what_back_propagation_does_not_show_beside_a_strong_body_is_its_ghost() -> None:
    field = _discs([(60, 96)], 20, phase_rad=3) + _discs([(140, 96)], 12, phase_rad=0.8) - 1
    start = ((1 + _discs([(60, 96)], 20, phase_rad=3)) / 2).astype(np.complex64)
    assert len(segment(field, start=field, noise=0.02, reach_px=100)) == 2
    assert len(segment(field, start=start, noise=0.02, reach_px=100)) == 1
    assert len(segment(field, start=start, noise=0.02, reach_px=30)) == 2


def test_two_spheres_that_touch_are_two_whatever_their_rings() -> None:
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    phase = sum(5 * np.sqrt(np.maximum(1 - ((x - at) ** 2 + (y - 96) ** 2) / 81, 0)) for at in (110, 126.5))
    field = np.exp(1j * scipy.ndimage.gaussian_filter(phase, 1)).astype(np.complex64)
    assert len(segment(field)) == 2


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


def _thread(length_px: float, width_px: float, turn_rad: float, ripple_rad: float, phase_rad: float = 1.6) -> np.ndarray:
    """A straight phase thread with round ends whose phase goes up and down along it, complex64."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    along = (x - 128) * np.cos(turn_rad) + (y - 96) * np.sin(turn_rad)
    away = np.hypot(along - np.clip(along, -(length_px - width_px) / 2, (length_px - width_px) / 2),
                    (y - 96) * np.cos(turn_rad) - (x - 128) * np.sin(turn_rad))  # fmt: skip
    inside = np.clip(width_px / 2 - away + 0.5, 0, 1)
    return (1 + inside * (np.exp(1j * (phase_rad + ripple_rad * np.cos(along / 3))) - 1)).astype(np.complex64)


@pytest.mark.parametrize(("length_px", "width_px"), [(120, 5), (150, 9), (100, 24)])
def test_a_thread_is_one_whatever_its_texture_with_its_length_width_and_direction(length_px: float, width_px: float) -> None:
    (found,) = _measured(_thread(length_px, width_px, 0.4, ripple_rad=0.9))
    features = found.features
    assert features["length_um"] == pytest.approx(length_px * 1.12, rel=0.05)
    area_um2 = (np.pi / 4 * width_px**2 + (length_px - width_px) * width_px) * 1.12**2
    assert features["width_um"] == pytest.approx(area_um2 / (length_px * 1.12), rel=0.1)
    assert features["orientation_rad"] == pytest.approx(0.4, abs=0.02)
    ends = np.array([[features[f"skeleton_{k}_{axis}_um"] for axis in "xy"] for k in (1, 3, 5)]) / 1.12
    assert ends[1] == pytest.approx([128, 96], abs=3)
    assert np.hypot(*(ends[2] - ends[0])) == pytest.approx(length_px, rel=0.06)


def test_a_chain_of_many_is_one_and_three_that_touch_are_three() -> None:
    chain = _discs([(40.0 + 11 * k, 96.0) for k in range(9)], 11)
    assert len(_measured(chain)) == 1
    assert len(_measured(_discs([(100.0 + 11 * k, 96.0) for k in range(3)], 11))) == 3


def test_round_bodies_of_uneven_contrast_are_parted_at_their_neck() -> None:
    field = _discs([(100.0, 96.0), (132.0, 96.0)], 32)
    # As bright at the neck as anywhere.
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    field[np.hypot(y - 96, x - 116) < 3] = np.exp(1.2j)
    places = sorted(p.x_um / 1.12 for p in _measured(field))
    assert places == [pytest.approx(100, abs=1), pytest.approx(132, abs=1)]


@pytest.mark.parametrize("diameter_px", [6, 9, 16, 40])
@pytest.mark.parametrize("phase_rad", [0.8, 2.4])
def test_a_disc_as_sharp_as_its_pixels_has_its_diameter(diameter_px: float, phase_rad: float) -> None:
    (particle,) = _measured(_discs([(128.2, 96.4)], diameter_px, phase_rad=phase_rad, blur_px=0.25))
    # A step over one pixel is that step blurred: its outline lies a little outside.
    assert particle.esd_um / 1.12 == pytest.approx(diameter_px, abs=0.05 * diameter_px + 0.25)
