"""What a classifier is shown: the particle alone, at a pitch that fits it, with its size."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.crops import CROP_CHANNELS, CROP_PITCHES_UM, CROP_PX, classifier_crops
from device.analysis.depth import nominal_depth
from device.analysis.measure import measure
from device.analysis.segment import segment
from device.optics.geometry import Geometry
from device.records import Particle

PITCH_UM = 1.12
GEOMETRY = Geometry(0.85, PITCH_UM, 500.0)


def field_of(discs: list[tuple[float, float, float]], side: int = 256, value: complex = 0.2 + 0.3j) -> np.ndarray:
    """Discs (x, y, radius) in pixels, their edges a little soft."""
    y, x = np.mgrid[0:side, 0:side]
    field = np.ones((side, side), np.complex64)
    for column, row, radius in discs:
        inside = np.clip(radius - np.hypot(x - column, y - row) + 0.5, 0, 1)
        field += (inside * (value - 1)).astype(np.complex64)
    return field


def found(field: np.ndarray) -> list[Particle]:
    return [measure(field, part, nominal_depth(GEOMETRY), GEOMETRY) for part in segment(field)]


def test_a_crop_holds_the_particle_in_its_middle_with_its_size_and_pitch() -> None:
    field = field_of([(100.0, 80.0, 9.0)])
    [particle] = found(field)
    [crop] = classifier_crops(field, [particle], PITCH_UM)
    assert crop.image.shape == (CROP_PX, CROP_PX, len(CROP_CHANNELS))
    assert crop.image.dtype == np.float32
    middle = crop.image[CROP_PX // 2, CROP_PX // 2]
    np.testing.assert_allclose(middle[:2], (-0.8, 0.3), atol=0.02)
    assert middle[2] == pytest.approx(np.log2(particle.esd_um) / 4, abs=0.02)
    assert crop.image[0, 0, 2] == 0
    np.testing.assert_allclose(crop.image[..., 3], np.log2(crop.pitch_um) / 4)
    rows, columns = np.nonzero(crop.image[..., 0] < -0.4)
    assert rows.mean() == pytest.approx((CROP_PX - 1) / 2, abs=0.5)
    assert columns.mean() == pytest.approx((CROP_PX - 1) / 2, abs=0.5)


@pytest.mark.parametrize("radius", [3, 8, 16, 40, 80])
def test_a_particle_of_any_size_fits_its_crop(radius: int) -> None:
    field = field_of([(128.0, 128.0, radius)])
    [particle] = found(field)
    [crop] = classifier_crops(field, [particle], PITCH_UM)
    assert crop.pitch_um in CROP_PITCHES_UM
    area_um2 = float((crop.image[..., 0] < -0.4).sum()) * crop.pitch_um**2
    assert area_um2 == pytest.approx(np.pi * (radius * PITCH_UM) ** 2, rel=0.12)
    edge = np.concatenate([crop.image[0], crop.image[-1], crop.image[:, 0], crop.image[:, -1]])
    assert np.abs(edge[:, :3]).max() < 0.05


def test_neighbours_are_blank() -> None:
    field = field_of([(100.0, 100.0, 7.0), (118.0, 100.0, 7.0)])
    particles = found(field)
    assert len(particles) == 2
    for crop in classifier_crops(field, particles, PITCH_UM):
        far = np.hypot(*(np.mgrid[0:CROP_PX, 0:CROP_PX] - (CROP_PX - 1) / 2)) * crop.pitch_um > 11 * PITCH_UM
        assert np.abs(crop.image[far][:, :2]).max() < 0.1


def test_a_particle_at_the_border_is_cut_off_not_refused() -> None:
    field = field_of([(1.0, 254.0, 9.0)])
    [particle] = found(field)
    [crop] = classifier_crops(field, [particle], PITCH_UM)
    assert np.isfinite(crop.image).all()
    assert (crop.image[..., 2] > 0).any()
