"""Heat, wear and motion change a frame as their closed forms say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from device.cli import main
from device.config import load_config
from device.errors import InputError
from device.frames import Exposure, LampState
from device.instrument import load_instrument
from device.rig.simulated import twin_world
from device.twin.environment import OperatingConditions
from device.twin.forward import scattered_wave
from device.twin.illumination import Illumination, coherence_envelope
from device.twin.morphology import Body, make_volume
from device.twin.scene import SimulatedParticle, draw_particle
from device.twin.sensor import SENSORS, SensorModel
from device.twin.world import TwinWorld
from tests.worlds import small_instrument

LIT = LampState(0, 20.0, acknowledged=True)
LIGHT = Illumination(0.85)
FRAME_MEAN, FRAME_DEVIATION = 333.651, 18.180


def _bead(radius_um: float, contrast: float, z_um: float, voxel_um: float) -> SimulatedParticle:
    volume = make_volume([Body((0, 0, 0), (radius_um,) * 3, None, contrast, 0.0, contrast, 1.02)], voxel_um)
    return SimulatedParticle("bead", 128 * voxel_um, 128 * voxel_um, z_um, volume)


@pytest.mark.parametrize("name", sorted(SENSORS))
def test_the_photon_transfer_of_every_sensor_is_its_gain(name: str) -> None:
    """Variance over mean of a shot-noise limited pixel is the gain in counts per electron, whatever the sensor."""
    spec = msgspec.structs.replace(SENSORS[name], width_px=256, height_px=256, bayer="none")
    sensor = SensorModel(spec, np.ones((256, 256), np.float32))
    rng = np.random.default_rng(1)
    clear = np.ones((256, 256), np.float32)
    a, b = (sensor.expose(clear, Exposure(1000.0), LIT, rng).astype(float) for _ in range(2))
    gain = (2**spec.bit_depth - 1 - spec.dark_level_counts) / spec.full_well_e
    read = (spec.read_noise_e * gain) ** 2 + 1 / 12
    assert (np.var(a - b) / 2 - read) / (a.mean() - spec.dark_level_counts) == pytest.approx(gain, rel=0.03)


def test_dark_current_doubles_every_six_and_a_half_kelvin() -> None:
    spec = msgspec.structs.replace(SENSORS["IMX219"], width_px=128, height_px=128)
    off = LampState(0, 0.0, acknowledged=True)
    sensor = SensorModel.draw(spec, np.random.default_rng(1), wear=OperatingConditions(dark_current_e_s=100.0))
    levels = [
        sensor.expose(np.ones((128, 128), np.float32), Exposure(1e6), off, np.random.default_rng(2), 1.0, t).mean() - 64
        for t in (25.0, 38.0)
    ]
    assert levels[1] / levels[0] == pytest.approx(4.0, rel=0.02)


def test_hot_pixels_are_as_many_as_asked_for() -> None:
    spec = msgspec.structs.replace(SENSORS["OV9281"], width_px=512, height_px=512)
    sensor = SensorModel.draw(spec, np.random.default_rng(1), wear=OperatingConditions(hot_share=0.002))
    assert sensor.dark_e_s is not None
    assert (sensor.dark_e_s > 5).mean() == pytest.approx(0.002, rel=0.2)


def test_motion_blurs_by_the_distance_flown() -> None:
    """A stripe pattern under a box blur of length L loses contrast by sinc(L / period)."""
    stripes = (1 + 0.5 * np.cos(2 * np.pi * np.arange(256) / 16))[None, :].repeat(8, 0).astype(np.float32)
    moved = OperatingConditions(flow_um_s=5_000.0).moved(stripes, 1.0, 1_000.0)  # 5 px
    assert (moved.max() - 1) / 0.5 == pytest.approx(np.sinc(5 / 16), abs=0.01)


def test_warmth_moves_wavelength_distance_and_light() -> None:
    warm = OperatingConditions(temperature_c=45.0)
    assert warm.wavelength_drift_um == pytest.approx(0.005)
    assert warm.distance_drift_um == pytest.approx(1.0)
    assert warm.light_left == pytest.approx(0.94)


def test_a_change_is_seen_in_what_lies_on_the_window_already() -> None:
    config = load_config(None)
    world = twin_world(config, instrument=load_instrument(config.device.instrument))
    world.lamp = LIT
    rng = np.random.default_rng(3)
    field_um = (1024 * 1.12, 1024 * 1.12)
    world.deposit([draw_particle(rng, "oak", field_um=field_um, depth_um=(480, 520), voxel_um=1.12) for _ in range(3)])
    before = world.expose(Exposure(1000.0)).astype(float)
    world.change(temperature_c=60.0)
    after = world.expose(Exposure(1000.0)).astype(float)
    assert (after.mean() - 64) / (before.mean() - 64) == pytest.approx(1 - 0.003 * 35, abs=0.01)


def test_the_models_agree_on_a_weak_sphere_and_part_on_a_strong_one() -> None:
    """Multi-slice follows the exact wave where the projection no longer does."""
    apart = {}
    for contrast in (0.002, 0.11):
        bead = _bead(6.0, contrast, 400.0, 0.5)
        waves = {m: scattered_wave((256, 256), 0.5, [bead], LIGHT, m) for m in ("thin", "multislice", "lorenz-mie")}
        exact = waves["lorenz-mie"]
        apart[contrast] = {m: float(np.linalg.norm(waves[m] - exact) / np.linalg.norm(exact)) for m in ("thin", "multislice")}
    assert apart[0.002]["thin"] < 0.06
    assert apart[0.002]["multislice"] < 0.06
    assert apart[0.11]["multislice"] < 0.7 * apart[0.11]["thin"]


def test_only_beads_have_an_exact_wave() -> None:
    grain = replace(_bead(5.0, 0.05, 300.0, 1.12), label="birch")
    with pytest.raises(InputError, match="only spheres"):
        scattered_wave((64, 64), 1.12, [grain], LIGHT, "lorenz-mie")


def test_the_same_seed_gives_the_same_frame() -> None:
    """To the stated tolerance: one count in a hundred pixels may round the other way with another FFT library."""
    config = load_config(None)
    frames = []
    for _ in range(2):
        world = twin_world(config, seed=11, instrument=load_instrument(config.device.instrument))
        frames.append(list(world.frames_with_truth(1, (10, 10), Exposure(1000.0)))[1][0])
    assert (frames[0] == frames[1]).all()
    # Statistics of that frame, as first rendered: what another machine must come to.
    assert frames[0].mean() == pytest.approx(FRAME_MEAN, abs=0.05)
    assert frames[0].std() == pytest.approx(FRAME_DEVIATION, rel=0.005)


def test_a_later_run_has_the_same_sensor_and_other_particles_and_noise() -> None:
    wear = OperatingConditions(hot_share=0.01, dark_current_e_s=50.0)
    worlds = [TwinWorld(small_instrument(64), {"dust": 5e5}, 3, run, environment=wear) for run in (0, 0, 7, 8)]
    dark = [world.expose(Exposure(1e6)) for world in worlds]
    hot = [np.flatnonzero(frame > 500).tolist() for frame in dark]
    assert hot[0]
    assert hot[0] == hot[1] == hot[2] == hot[3]
    truths = []
    for world in worlds:
        ((_, particles),) = list(world.frames_with_truth(1, (8, 8), Exposure(1000.0)))[1:]
        truths.append([particle.truth() for particle in particles])
    assert truths[0] == truths[1]
    assert len({json.dumps(truth) for truth in truths}) == 3
    assert not (dark[0] == dark[2]).all()


def test_conditions_are_flags_and_stand_beside_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = tmp_path / "truth.jsonl"
    arguments = ["twin", "--out", str(tmp_path), "--truth", str(truth), "--frames", "1", "--particles", "2", "2"]
    assert main([*arguments, "--temperature-c", "40", "--fouling", "0.1", "--scattering", "multislice"]) == 0
    conditions = json.loads((tmp_path / "truth-conditions.json").read_text())
    assert conditions["scattering"] == "multislice"
    assert conditions["wavelength_drift_um"] == pytest.approx(0.00375)
    capsys.readouterr()
    assert main([*arguments, "--fouling", "3"]) == 2
    assert "fouling" in capsys.readouterr().err


def test_a_gaussian_line_damps_each_frequency_as_its_spectrum_says() -> None:
    """The average of exp(i phase) over the spectrum, summed numerically, against the envelope the twin uses."""
    wavelength_um, bandwidth_um, z_um, side, pitch_um = 0.85, 0.02, 800.0, 256, 1.12
    envelope = coherence_envelope((side, side), pitch_um, Illumination(wavelength_um, bandwidth_um), z_um)[0]
    frequency = np.fft.fftfreq(side, pitch_um)
    deviation = bandwidth_um / (2 * np.sqrt(2 * np.log(2)))
    lines = wavelength_um + deviation * np.linspace(-5, 5, 2001)
    weights = np.exp(-0.5 * np.linspace(-5, 5, 2001) ** 2)
    phase = 2 * np.pi * z_um * (np.sqrt(1 / lines[:, None] ** 2 - frequency[None, :] ** 2) - 1 / lines[:, None])
    exact = np.abs((weights[:, None] * np.exp(1j * phase)).sum(0) / weights.sum())
    assert np.abs(envelope - exact).max() < 0.01


def test_a_round_source_blurs_to_the_zero_of_its_transform() -> None:
    """van Cittert-Zernike: a disc of diameter D z / L leaves no fringe of frequency 1.2197 / diameter."""
    light = Illumination(0.85, 0.0, 200.0, 20_000.0)
    blur_um = 200.0 * 500.0 / (20_000.0 - 500.0)
    side, pitch_um = 2_000, 0.5
    envelope = coherence_envelope((1, side), pitch_um, light, 500.0)[0, : side // 2]
    frequency = np.fft.fftfreq(side, pitch_um)[: side // 2]
    assert frequency[int(np.argmax(envelope < 0))] == pytest.approx(1.2197 / blur_um, rel=0.01)
