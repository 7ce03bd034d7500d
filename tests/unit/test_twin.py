"""The digital twin behaves like an instrument."""

from __future__ import annotations

import numpy as np
import pytest

from device.errors import InputError
from device.frames import Exposure, LampState
from device.instrument import SensorSpec
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate
from device.twin.forward import multislice_hologram, object_field, thin_hologram
from device.twin.illumination import Illumination
from device.twin.morphology import MORPHOLOGIES, Body, VoxelVolume, make_volume, random_rotation
from device.twin.scene import SimulatedParticle, draw_particle
from device.twin.sensor import SensorModel

SENSOR = SensorSpec(model="test", width_px=128, height_px=96, pitch_um=1.12)
LIT = LampState(0, 20.0, acknowledged=True)


def sphere(radius_um: float, contrast: complex, voxel_um: float, x_um: float, y_um: float, z_um: float) -> SimulatedParticle:
    volume = make_volume([Body((0, 0, 0), (radius_um,) * 3, None, contrast, 0.0, contrast, 1.02)], voxel_um)
    return SimulatedParticle("bead", x_um, y_um, z_um, volume)


def test_a_voxel_sphere_has_the_projected_path_of_a_sphere() -> None:
    volume = make_volume([Body((0, 0, 0), (8.0, 8.0, 8.0), None, 0.05 + 0j, 0.0, 0.05 + 0j, 1.02)], 0.25)
    path = volume.optical_path_um.real
    middle = path.shape[0] // 2
    axis = (np.arange(path.shape[0]) - middle) * 0.25
    exact = 0.05 * 2 * np.sqrt(np.maximum(64 - axis**2, 0))
    inner = np.abs(axis) < 7
    assert np.abs(path[middle][inner] - exact[inner]).max() < 0.01
    assert volume.esd_um == pytest.approx(16.0, rel=0.02)


@pytest.mark.parametrize("name", sorted(MORPHOLOGIES))
def test_every_morphology_draws_within_its_limits(name: str) -> None:
    rng = np.random.default_rng(7)
    low, high = MORPHOLOGIES[name].limits_um
    for _ in range(5):
        diameter = MORPHOLOGIES[name].draw_diameter_um(rng)
        assert low <= diameter <= high
        volume = make_volume(MORPHOLOGIES[name].draw(rng, diameter), diameter / 12, random_rotation(rng))
        assert 0.4 * diameter < volume.esd_um < 6 * diameter
        assert np.isfinite(volume.contrast).all()
        assert volume.contrast.imag.min() >= 0


def test_an_unknown_morphology_is_one_clear_error() -> None:
    with pytest.raises(InputError, match="unknown morphology"):
        draw_particle(np.random.default_rng(0), "unicorn", field_um=(10, 10), depth_um=(1, 2), voxel_um=1)


def test_the_same_seed_draws_the_same_particle() -> None:
    pair = [
        draw_particle(np.random.default_rng(4), "ragweed", field_um=(90, 90), depth_um=(400, 600), voxel_um=1.12)
        for _ in range(2)
    ]
    assert pair[0].truth() == pair[1].truth()
    np.testing.assert_array_equal(pair[0].volume.contrast, pair[1].volume.contrast)


def test_a_weak_absorber_takes_from_the_beam_what_its_cross_section_says() -> None:
    particle = sphere(6.0, 0.01j, 1.12, 140.0, 140.0, 300.0)
    intensity = thin_hologram((256, 256), 1.12, [particle], Illumination(0.85))
    absorbed = (1 - np.exp(-4 * np.pi / 0.85 * particle.volume.optical_path_um.imag)).sum()
    assert (1 - intensity).sum() == pytest.approx(absorbed, rel=0.06)


def blob(voxel_um: float) -> SimulatedParticle:
    """A smooth, thin phase object: nothing about it depends on how it is sampled."""
    size = int(24 / voxel_um) | 1
    axis = (np.arange(size) - size // 2) * voxel_um
    bump = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 2.5**2))
    contrast = np.zeros((3, size, size), np.complex64)
    contrast[1] = 0.3 * 0.85 / (2 * np.pi) * bump / voxel_um
    return SimulatedParticle("bead", 89.6, 89.6, 250.0, VoxelVolume(contrast, voxel_um, 5.0, 5.0))


@pytest.mark.parametrize("finer", [1, 2, 3])
def test_multislice_agrees_with_thin_for_a_thin_particle_on_every_grid(finer: int) -> None:
    light = Illumination(0.85, bandwidth_um=0.008)
    thin = thin_hologram((160, 160), 1.12, [blob(1.12)], light)
    sliced = multislice_hologram((160, 160), 1.12, [blob(1.12 / finer)], light, finer=finer, margin_px=96)
    assert np.corrcoef(thin.ravel(), sliced.ravel())[0, 1] > 0.999


def test_multislice_parts_from_thin_for_a_ball_that_focuses() -> None:
    light = Illumination(0.85)
    thin = thin_hologram((160, 160), 1.12, [sphere(10.0, 0.1, 1.12, 89.6, 89.6, 250.0)], light)
    ball = sphere(10.0, 0.1, 1.12 / 3, 89.6, 89.6, 250.0)
    sliced = multislice_hologram((160, 160), 1.12, [ball], light, finer=3, margin_px=96)
    assert np.corrcoef(thin.ravel(), sliced.ravel())[0, 1] < 0.97


def test_a_particle_comes_back_into_focus_where_the_truth_says() -> None:
    particle = sphere(5.0, 0.02 + 0.03j, 1.12, 112.0, 67.2, 400.0)
    intensity = thin_hologram((128, 192), 1.12, [particle], Illumination(0.85))
    field = np.abs(backpropagate(intensity, Geometry(0.85, 1.12, 400.0)) - 1)
    row, column = np.unravel_index(np.argmax(field), field.shape)
    assert np.hypot(row - 60, column - 100) <= 4.5
    truth = object_field((128, 192), [particle], Illumination(0.85))
    assert np.abs(truth - 1)[60, 100] > 0.5


def test_bandwidth_damps_outer_fringes_and_leaves_the_mean() -> None:
    particle = [sphere(4.0, 0.05, 1.12, 143.36, 143.36, 500.0)]
    narrow = thin_hologram((256, 256), 1.12, particle, Illumination(0.85))
    broad = thin_hologram((256, 256), 1.12, particle, Illumination(0.85, bandwidth_um=0.04))
    assert broad[:40].std() < 0.3 * narrow[:40].std()
    assert broad.mean() == pytest.approx(narrow.mean(), abs=0.01)


def test_the_sensor_is_dark_when_the_lamp_is_off_or_unacknowledged() -> None:
    rng = np.random.default_rng(0)
    sensor = SensorModel.draw(SENSOR, rng)
    even = np.ones((96, 128), np.float32)
    for lamp in (LampState(0, 0.0, acknowledged=True), LampState(0, 20.0, acknowledged=False)):
        frame = sensor.expose(even, Exposure(2000.0), lamp, rng)
        assert abs(frame.mean() - SENSOR.dark_level_counts) < 1
    assert sensor.expose(even, Exposure(2000.0), LIT, rng).mean() > 400


def test_the_sensor_saturates_when_over_exposed() -> None:
    rng = np.random.default_rng(0)
    frame = SensorModel.draw(SENSOR, rng, dirt=0).expose(np.ones((96, 128), np.float32), Exposure(20000.0), LIT, rng)
    assert frame.max() == 1023
    assert (frame > 1015).mean() > 0.5


def test_shot_noise_is_that_of_the_electrons() -> None:
    rng = np.random.default_rng(0)
    sensor = SensorModel(SENSOR, np.ones((96, 128), np.float32))
    frame = sensor.expose(np.ones((96, 128), np.float32), Exposure(2000.0), LIT, rng).astype(float) - 64
    electrons = 0.6 * SENSOR.full_well_e
    expected = np.sqrt(1 / electrons + (SENSOR.read_noise_e / electrons) ** 2)
    assert frame.std() / frame.mean() == pytest.approx(expected, rel=0.05)
