"""The amplitude that few counts stand for, and which frames have few."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from device.analysis.background import noise_level, normalise
from device.analysis.low_photon import LowPhotonModel
from device.analysis.pipeline import Pipeline, PipelineSettings
from device.config import Config
from device.frames import Exposure, Hologram, LampState, RawFrame
from device.inference.store import ModelStore
from device.instrument import load_instrument
from device.optics.geometry import Geometry
from device.optics.photon_noise import amplitude_from_counts, band_above_noise, equivalent_photons
from device.optics.propagation import backpropagate
from device.records import ModelUse
from device.rig.models import ARTEFACTS, build_pipeline
from device.sampling.holograms import divided

GEOMETRY = Geometry(0.85, 1.12, 500.0)
SIDE = 256
LIGHTS = [(0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (3.0, 0.0), (3.0, 2.0), (10.0, 2.0), (100.0, 2.0), (3000.0, 3.0)]


def counted(electrons: float, read_e: float, intensity: float | NDArray[np.float64] = 1.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(3)
    mean = np.broadcast_to(np.asarray(intensity, float), (SIDE, SIDE)) * electrons
    return ((rng.poisson(mean) + rng.normal(0, read_e, mean.shape)) / electrons).astype(np.float32)


@pytest.mark.parametrize(("electrons", "read_e"), LIGHTS)
def test_the_amplitude_of_even_light_is_one_and_its_noise_half_the_intensitys(electrons: float, read_e: float) -> None:
    noise = float(np.hypot(electrons**-0.5, read_e / electrons))
    amplitude = amplitude_from_counts(counted(electrons, read_e), noise)
    assert amplitude.mean() == pytest.approx(1, abs=0.04)
    assert amplitude.std() == pytest.approx(noise / 2, rel=0.06)


def test_the_square_root_of_few_counts_is_neither() -> None:
    root = np.sqrt(np.maximum(counted(1.0, 0.0), 0))
    assert root.mean() == pytest.approx(0.77, abs=0.01)


@pytest.mark.parametrize("electrons", [3e4, 1e6])
def test_it_is_the_square_root_of_many_counts(electrons: float) -> None:
    fringes = 1 + 0.6 * np.sin(np.arange(SIDE) / 3.0)
    intensity = counted(electrons, 2.0, fringes)
    intensity /= intensity.mean()
    found = amplitude_from_counts(intensity, electrons**-0.5)
    np.testing.assert_allclose(found, np.sqrt(intensity), atol=6 / electrons)


def test_it_is_a_straight_line_of_few_counts() -> None:
    lone = np.ones((SIDE, SIDE), np.float32)
    lone[::64, ::64] += 0.5
    lone /= lone.mean()
    np.testing.assert_allclose(amplitude_from_counts(lone, 1e3), (1 + lone) / 2, atol=2e-3)


def test_without_a_noise_it_is_the_square_root_whatever_comes() -> None:
    intensity = counted(2.0, 3.0)
    np.testing.assert_array_equal(amplitude_from_counts(intensity, 0.0), np.sqrt(np.maximum(intensity, 0)))


def test_faint_fringes_keep_their_contrast() -> None:
    """Averaged over many rows; the root's come out a fifth too strong."""
    fringes = 1 + 0.2 * np.sin(np.arange(SIDE) / 5.0)
    intensity = counted(1.0, 0.0, fringes)
    columns = amplitude_from_counts(intensity, 1.0).mean(axis=0), np.sqrt(np.maximum(intensity, 0)).mean(axis=0)
    slopes = [float(np.polyfit(np.sqrt(fringes), values, 1)[0]) for values in columns]
    assert slopes[0] == pytest.approx(1, abs=0.1)
    assert slopes[1] > 1.15


def test_a_hologram_is_refocused_from_its_counts_where_they_are_few() -> None:
    frame = counted(1.0, 0.0)
    plain, told = backpropagate(frame, GEOMETRY), backpropagate(frame, GEOMETRY, counted=1.0)
    assert abs(told.real.mean() - 1) < 0.04 < abs(plain.real.mean() - 1)


def test_read_noise_counts_as_photons_that_are_missing() -> None:
    assert equivalent_photons(0.1) == pytest.approx(100)
    assert equivalent_photons(noise_level(counted(3.0, 2.0))) == pytest.approx(9 / 7, rel=0.05)


def test_negative_pixels_of_read_noise_are_kept_and_stray_ones_are_not() -> None:
    many = normalise(100 + 10 * counted(1.0, 1.5), dark_counts=100.0)
    assert many.intensity.min() < -1
    assert many.noise == pytest.approx(np.sqrt(1 + 1.5**2), rel=0.06)
    pixels = 100 + 10 * counted(300.0, 1.5)
    pixels[5, 5] = 40
    assert normalise(pixels, dark_counts=100.0).intensity.min() == 0


def test_a_background_of_few_photons_is_no_divisor() -> None:
    frame, before = 10 * counted(3.0, 0.0), 10 * counted(3.0, 0.0).T
    assert normalise(frame, before).noise == pytest.approx(normalise(frame).noise, rel=1e-6)
    lit = 10 * counted(3000.0, 0.0).T
    assert not np.array_equal(normalise(frame, lit).intensity, normalise(frame).intensity)


class Spy:
    """A network that gives back what it gets and remembers what it was told."""

    tile_px, multiple_px, margin_px = 256, 16, 32

    def __init__(self) -> None:
        self.noises: list[float] = []

    def for_noise(self, noise: float) -> Spy:
        self.noises.append(noise)
        return self

    def run(self, tile: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return np.ones_like(tile)


def hologram(electrons: float, explained: float = 1.0) -> Hologram:
    frame = counted(electrons, 0.0)
    noise = noise_level(frame)
    return Hologram(frame, GEOMETRY, noise, datetime(2026, 1, 1, tzinfo=UTC), photon_noise=noise * explained)


def pipeline(few: Spy, opened: list[int], low: tuple[float, float] = (0.3, 30.0)) -> Pipeline:
    def network() -> Spy:
        opened.append(1)
        return few

    use = ModelUse("few", "1.0.0", "f" * 64)
    usual = {"reconstruction": ModelUse("usual", "1.0.0", "0" * 64), "classifier": ModelUse("names", "1.0.0", "1" * 64)}
    return Pipeline(PipelineSettings(refine_iterations=2), Spy(), None, usual, low_photon=LowPhotonModel(low, use, network))


def test_a_frame_of_few_photons_is_taken_by_its_own_model_and_says_so() -> None:
    few, opened = Spy(), list[int]()
    analysis = pipeline(few, opened).analyse(hologram(3.0))
    assert few.noises == [pytest.approx(3**-0.5, rel=0.05)]
    assert analysis.models is not None
    assert analysis.models["reconstruction"].name == "few"
    assert analysis.scene is not None
    assert not analysis.scene.verdicts
    assert analysis.scene.way == "network for few photons"


def test_counts_of_next_to_no_photons_are_suspect() -> None:
    scene = pipeline(Spy(), []).analyse(hologram(1.0)).scene
    assert scene is not None
    assert [(v.level, "photons a pixel" in v.reason) for v in scene.verdicts] == [("suspect", True)]


@pytest.mark.parametrize("frame", [hologram(300.0), hologram(3.0, explained=0.5), hologram(3.0, explained=0.0), hologram(0.1)])
def test_other_frames_are_analysed_as_ever_and_the_model_stays_closed(frame: Hologram) -> None:
    """Well lit; noisier than its light explains, which is speckle; of an unknown sensor; with less light than was learnt."""
    few, opened = Spy(), list[int]()
    with_it = pipeline(few, opened)
    analysis, plain = with_it.analyse(frame), replace(with_it, low_photon=None).analyse(frame)
    assert not opened
    assert analysis.models is None
    assert replace(analysis, elapsed_s=0, scene=None, reconstruction=None) == replace(
        plain, elapsed_s=0, scene=None, reconstruction=None
    )
    assert analysis.scene is not None
    assert plain.scene is not None
    assert [v.reason for v in analysis.scene.verdicts] == [v.reason for v in plain.scene.verdicts]


def test_the_shipped_model_is_opened_by_the_first_frame_of_few_photons() -> None:
    analysis = msgspec.structs.replace(Config().analysis, refine_iterations=0)
    shipped, _ = build_pipeline(ModelStore(ARTEFACTS), analysis, GEOMETRY)
    assert "low_photon" not in shipped.models
    lit = shipped.lit_as(hologram(3.0))
    assert lit.models["reconstruction"].name == "hidef-low-photon"
    assert (lit.classifier, "classifier" in lit.models) == (None, False)
    start = backpropagate(hologram(3.0).intensity, GEOMETRY, counted=3**-0.5)
    field = lit.network.run(start) if lit.network else start
    assert np.abs(field - 1).max() < 0.5
    assert shipped.lit_as(hologram(300.0)) is shipped
    off = msgspec.structs.replace(analysis, low_photon_model="")
    assert build_pipeline(ModelStore(ARTEFACTS), off, GEOMETRY)[0].low_photon is None


def test_the_exposure_tells_how_much_of_the_noise_is_the_lights() -> None:
    instrument = load_instrument("bioaerosol-imx219-850nm")
    sensor = instrument.sensor
    electrons, gain = 4.0, 16.0
    a_count_e = sensor.full_well_e / (2**sensor.bit_depth - 1 - sensor.dark_level_counts) / gain
    read = counted(electrons, sensor.read_noise_e) * electrons
    pixels = np.clip(np.round(read / a_count_e + sensor.dark_level_counts), 0, 1023).astype(np.uint16)
    lamp = LampState(0, 5.0, acknowledged=True)
    frame = RawFrame(pixels, sensor.bit_depth, Exposure(10.0, gain), lamp, 0, datetime(2026, 1, 1, tzinfo=UTC))
    found = divided(instrument, frame, None)
    expected = np.sqrt(electrons + sensor.read_noise_e**2 + a_count_e**2 / 12) / electrons
    assert found.photon_noise == pytest.approx(expected, rel=0.02)
    assert found.noise == pytest.approx(found.photon_noise, rel=0.1)
    assert divided(instrument, replace(frame, bit_depth=8), None).photon_noise == 0


def test_noise_alone_is_left_out_and_fringes_keep_their_strength() -> None:
    rng = np.random.default_rng(2)
    noise = (0.5 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)
    fringe = 0.2 * np.cos(2 * np.pi * 12 * np.arange(SIDE) / SIDE, dtype=np.float32) + np.zeros_like(noise)
    alone = band_above_noise((1 + noise).astype(np.complex64), 1.0)
    assert np.mean(np.abs(alone - 1) ** 2) < 0.1 * np.mean(noise**2)
    seen = band_above_noise((1 + noise + fringe).astype(np.complex64), 1.0) - 1
    strength = float(np.vdot(fringe, seen).real / np.vdot(fringe, fringe))
    assert strength == pytest.approx(1, abs=0.1)
    assert np.mean(np.abs(seen - fringe) ** 2) < 0.25 * np.mean(noise**2)


def test_nothing_is_left_out_where_every_ring_stands_above_the_noise() -> None:
    rng = np.random.default_rng(2)
    field = (1 + 0.2 * rng.standard_normal((96, 128)) + 0.1j * rng.standard_normal((96, 128))).astype(np.complex64)
    np.testing.assert_allclose(band_above_noise(field, 0.05), field, atol=1e-5)
