"""One hologram in, particles with names out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from device.analysis.crops import CROP_CHANNELS, CROP_PX
from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.reconstruct import fitted_tile, reconstruct, tile_starts
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.propagation import propagate
from device.records import Classification, ModelUse

GEOMETRY = Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0)
SIDE = 640
PLACES = [(100.0, 80.0), (320.0, 200.0), (500.0, 560.0)]


def _object_field() -> NDArray[np.complex64]:
    """Three dark, slightly blurred discs 16 px across."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    density = sum(expit((8 - np.hypot(x - column, y - row)) / 0.6) for column, row in PLACES)
    return (1 - 0.9 * density).astype(np.complex64)


def _hologram(field: NDArray[np.complex64], noise: float = 0.01) -> Hologram:
    at_sensor = propagate(field, pitch_um=1.12, wavelength_um=0.85, distance_um=500.0)
    intensity = np.abs(at_sensor) ** 2 * (1 + noise * np.random.default_rng(1).standard_normal(field.shape))
    return Hologram(intensity.astype(np.float32), GEOMETRY, noise, datetime(2026, 1, 1, tzinfo=UTC))


class _Names:
    """A classifier that calls everything by the number of crops it was shown."""

    def classify(self, crops: NDArray[np.float32], reject_below: float = 0.0) -> list[Classification]:
        assert crops.shape[1:] == (CROP_PX, CROP_PX, len(CROP_CHANNELS))
        name = f"of {len(crops)}"
        return [Classification(name, 0.9, {name: 0.9, "other": 0.1}, (name,))] * len(crops)


class _Identity:
    """A network that gives back what it is given and counts its tiles."""

    tile_px = 256
    margin_px = 48

    def __init__(self, multiple_px: int = 0) -> None:
        self.multiple_px = multiple_px
        self.tiles = 0

    def run(self, tile: NDArray[np.complex64]) -> NDArray[np.complex64]:
        assert tile.shape == (256, 256) if not self.multiple_px else all(n % self.multiple_px == 0 for n in tile.shape)
        self.tiles += 1
        return tile


def _pipeline(**settings: float) -> Pipeline:
    return Pipeline(PipelineSettings(**settings), None, _Names(), {})


def test_particles_are_found_where_they_are_and_all_of_them_are_named() -> None:
    analysis = _pipeline(min_esd_um=8).analyse(_hologram(_object_field()))
    found = sorted((p.x_um / 1.12, p.y_um / 1.12) for p in analysis.particles)
    assert len(found) == 3
    np.testing.assert_allclose(found, PLACES, atol=1)
    assert [name.label for name in analysis.classifications] == ["of 3"] * 3


def test_the_same_hologram_gives_the_same_particles() -> None:
    hologram = _hologram(_object_field())
    one, other = (_pipeline().analyse(hologram) for _ in range(2))
    assert [(p.x_um, p.z_um, p.features) for p in one.particles] == [(p.x_um, p.z_um, p.features) for p in other.particles]


def test_an_empty_frame_is_left_at_the_gate() -> None:
    analysis = _pipeline().analyse(_hologram(np.ones((SIDE, SIDE), np.complex64)))
    assert analysis.reconstruction is None
    assert analysis.analysed
    assert analysis.particles == analysis.classifications == ()


def test_a_frame_that_something_large_blocks_is_not_searched() -> None:
    hologram = _hologram(_object_field())
    intensity = np.array(hologram.intensity)
    intensity[:, :300] *= 0.02
    analysis = _pipeline(max_esd_um=150).analyse(replace(hologram, intensity=intensity))
    assert not analysis.analysed
    assert analysis.obstructed == pytest.approx(300 / SIDE, rel=0.05)
    assert analysis.particles == ()


def test_sizes_out_of_range_are_left_out() -> None:
    assert _pipeline(min_esd_um=100).analyse(_hologram(_object_field())).particles == ()
    assert _pipeline(max_esd_um=5).analyse(_hologram(_object_field())).particles == ()


def test_nothing_is_named_in_a_field_that_is_none_of_particles() -> None:
    rough = gaussian_filter(np.random.default_rng(3).standard_normal((SIDE, SIDE)), 3)
    film = np.exp(0.25j * rough / rough.std()).astype(np.complex64)
    film[:, 250:] = 1
    analysis = _pipeline().analyse(_hologram(film * _object_field()))
    assert analysis.scene is not None
    assert analysis.scene.fails
    assert len(analysis.classifications) > 0
    assert {(name.label, name.score) for name in analysis.classifications} == {("unknown", None)}
    assert all("not one of particles" in (name.unnamed or "") for name in analysis.classifications)


def test_without_a_classifier_everything_is_a_particle() -> None:
    analysis = Pipeline(PipelineSettings(), None, None, {}).analyse(_hologram(_object_field()))
    assert {name.label for name in analysis.classifications} == {"particle"}


def test_without_a_network_depth_is_the_nominal_one_and_says_how_uncertain_it_is() -> None:
    analysis = Pipeline(PipelineSettings(), None, None, {}).analyse(_hologram(_object_field()))
    assert {p.z_um for p in analysis.particles} == {500.0}
    assert all(p.z_uncertainty_um > 50 for p in analysis.particles)


def test_the_id_follows_settings_and_models_and_nothing_else() -> None:
    plain = _pipeline()
    assert plain.id == _pipeline().id
    assert plain.id != _pipeline(reject_below=0.6).id
    assert plain.id != replace(plain, models={"reconstruction": ModelUse("hidef", "1.0.0", "ab" * 32)}).id


@pytest.mark.parametrize("length", [512, 513, 640, 1000, 1024, 2464])
def test_tiles_cover_the_frame_with_two_margins_of_overlap(length: int) -> None:
    starts = tile_starts(length, 512, 48)
    assert starts[0] == 0
    assert starts[-1] + 512 == length
    assert all(b - a <= 512 - 2 * 48 for a, b in pairwise(starts))


@pytest.mark.parametrize("length", [200, 512, 577, 1000, 2464, 3280])
def test_fitted_tiles_overlap_least(length: int) -> None:
    side = fitted_tile(length, _Identity(multiple_px=16))
    starts = tile_starts(length, side, 48)
    assert side % 16 == 0
    assert side <= 576
    assert all(b - a <= side - 2 * 48 for a, b in pairwise(starts))
    assert len(starts) * (side - 96) < (length - 96) + 16 * len(starts) or len(starts) == 1
    assert fitted_tile(length, _Identity()) == 256


@pytest.mark.parametrize("multiple_px", [0, 16])
@pytest.mark.parametrize("shape", [(200, 300), (512, 512), (640, 1000)])
def test_tiling_leaves_no_seam(shape: tuple[int, int], multiple_px: int) -> None:
    rng = np.random.default_rng(3)
    intensity = (1 + 0.2 * rng.standard_normal(shape)).astype(np.float32)
    network = _Identity(multiple_px)
    result = reconstruct(Hologram(intensity, GEOMETRY, 0.01, datetime(2026, 1, 1, tzinfo=UTC)), network, whole=True)
    np.testing.assert_allclose(result.field, result.start, atol=1e-5)


def test_only_tiles_that_hold_something_are_run() -> None:
    field = np.ones((1600, 1600), np.complex64)
    field[:SIDE, :SIDE] = _object_field()
    network = _Identity()
    result = reconstruct(_hologram(field, noise=0.001), network)
    assert 0 < result.tiles < 40
    assert network.tiles == result.tiles
    assert np.all(result.field[1300:, 1300:] == 1)
