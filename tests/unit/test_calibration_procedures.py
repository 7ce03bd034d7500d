from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from calibration.procedures.beads import FoundBead, measure_distance, measure_tilt
from calibration.procedures.counts import measure_counts
from calibration.procedures.dark import measure_dark
from calibration.procedures.flat import measure_flat
from calibration.procedures.flow import ChannelSection, measure_flow
from calibration.procedures.outcome import mean_with_uncertainty
from calibration.procedures.ruling import measure_ruled_pitch
from device.analysis.baseline import baseline
from device.analysis.efficiency import DetectionEfficiency
from device.calibration import CalibrationRecord, sealed
from device.duct_flow import Duct
from device.errors import InputError
from device.health.optics import compare_optics
from device.instrument import Instrument, SensorSpec, load_instrument

SIDE = 128


@pytest.fixture
def instrument() -> Instrument:
    return load_instrument("bioaerosol-imx219-850nm")


def electrons_per_count(sensor: SensorSpec) -> float:
    return sensor.full_well_e / (2**sensor.bit_depth - 1 - sensor.dark_level_counts)


def lit_frames(sensor: SensorSpec, level: float = 0.5, gain: float = 1.0, count: int = 8) -> list[NDArray[np.float32]]:
    """Poisson light on a sensor whose gain is `gain` times the stated one."""
    rng = np.random.default_rng(1)
    per_count = electrons_per_count(sensor) * gain
    mean_e = level * (2**sensor.bit_depth - 1 - sensor.dark_level_counts) * per_count
    electrons = rng.poisson(mean_e, (count, SIDE, SIDE)) + rng.normal(0, sensor.read_noise_e, (count, SIDE, SIDE))
    return list(np.round(electrons / per_count + sensor.dark_level_counts).astype(np.float32))


def test_dark_frames_tell_pedestal_read_noise_and_hot_pixels(instrument: Instrument) -> None:
    sensor, rng = instrument.sensor, np.random.default_rng(2)
    noise_counts = 3.0
    frames = rng.normal(sensor.dark_level_counts, noise_counts, (16, SIDE, SIDE))
    frames[:, 10, 20] += 200
    outcome = measure_dark(list(np.round(frames)), sensor)
    assert outcome.passed
    assert outcome.values["dark_level_counts"].value == pytest.approx(sensor.dark_level_counts, abs=0.1)
    assert outcome.values["read_noise_e"].value == pytest.approx(noise_counts * electrons_per_count(sensor), rel=0.03)
    assert outcome.values["hot_pixels"].value == 1


@pytest.mark.parametrize(("noise_counts", "within"), [(0.35, 0.3), (0.6, 0.06), (1.5, 0.06)])
def test_rounding_to_whole_counts_is_no_read_noise(instrument: Instrument, noise_counts: float, within: float) -> None:
    sensor, rng = instrument.sensor, np.random.default_rng(3)
    frames = np.round(rng.normal(sensor.dark_level_counts, noise_counts, (8, SIDE, SIDE)))
    found, true = measure_dark(list(frames), sensor).values["read_noise_e"], noise_counts * electrons_per_count(sensor)
    assert abs(found.value - true) < 2 * found.uncertainty
    assert found.value == pytest.approx(true, rel=within)


def test_dark_frames_with_light_fail(instrument: Instrument) -> None:
    outcome = measure_dark(lit_frames(instrument.sensor), instrument.sensor)
    assert "not dark" in outcome.reasons[0]


def test_photon_transfer_finds_a_gain_nobody_stated(instrument: Instrument) -> None:
    outcome = measure_flat(lit_frames(instrument.sensor, gain=1.3), instrument.sensor)
    assert outcome.passed
    measured = outcome.values["electrons_per_count"]
    assert measured.value == pytest.approx(1.3 * electrons_per_count(instrument.sensor), rel=0.03)


@pytest.mark.parametrize(("level", "reason"), [(0.03, "10 to 85 %"), (0.999, "saturated")])
def test_a_flat_at_the_wrong_exposure_fails(instrument: Instrument, level: float, reason: str) -> None:
    white = 2**instrument.sensor.bit_depth - 1
    frames = [np.minimum(frame, white) for frame in lit_frames(instrument.sensor, level)]
    outcome = measure_flat(frames, instrument.sensor)
    assert any(reason in text for text in outcome.reasons)


def test_too_few_frames_are_bad_input(instrument: Instrument) -> None:
    for measure in (measure_dark, measure_flat):
        with pytest.raises(InputError, match="too few frames"):
            measure(lit_frames(instrument.sensor, count=3), instrument.sensor)


def a_bead(x_um: float, y_um: float, z_um: float) -> FoundBead:
    return FoundBead(
        x_um=x_um, y_um=y_um, z_um=z_um, z_uncertainty_um=0.2, radius_um=5.0, contrast=1.0, residual=0.1
    )  # fmt: skip


def beads_on_a_plane(z_um: float, slope_x: float, slope_y: float, count: int = 12) -> list[FoundBead]:
    rng = np.random.default_rng(3)
    at = rng.uniform(-250, 250, (count, 2))
    scatter = rng.normal(0, 0.2, count)
    return [a_bead(x, y, z_um + slope_x * x + slope_y * y + s) for (x, y), s in zip(at.tolist(), scatter.tolist(), strict=True)]


def test_distance_is_that_of_the_middle_whatever_the_tilt(instrument: Instrument) -> None:
    beads = [*beads_on_a_plane(510.0, 0.01, -0.02), a_bead(0.0, 0.0, 560.0)]
    outcome = measure_distance(beads, instrument)
    assert outcome.passed
    assert outcome.values["distance_um"].value == pytest.approx(510.0, abs=0.3)


def test_distance_states_the_share_of_pitch_and_wavelength(instrument: Instrument) -> None:
    sure = msgspec.structs.replace(
        instrument,
        sensor=msgspec.structs.replace(instrument.sensor, pitch_uncertainty_um=0.0),
        lamp=msgspec.structs.replace(instrument.lamp, wavelength_uncertainty_um=0.0),
    )
    beads = beads_on_a_plane(510.0, 0.0, 0.0)
    vague = measure_distance(beads, instrument).values["distance_um"].uncertainty
    assert vague > 3 * measure_distance(beads, sure).values["distance_um"].uncertainty


def test_tilt_is_the_slope_of_the_beads(instrument: Instrument) -> None:
    values = measure_tilt(beads_on_a_plane(500.0, np.tan(np.deg2rad(0.5)), np.tan(np.deg2rad(-0.3))), instrument).values
    assert values["tilt_x_degrees"].value == pytest.approx(0.5, abs=0.05)
    assert values["tilt_y_degrees"].value == pytest.approx(-0.3, abs=0.05)


def test_few_beads_fail(instrument: Instrument) -> None:
    few = beads_on_a_plane(500.0, 0.0, 0.0, count=4)
    assert not measure_distance(few, instrument).passed
    assert not measure_tilt(few, instrument).passed


def test_a_ruling_gives_the_pitch_to_two_thousandths(instrument: Instrument) -> None:
    true_pitch_um, period_um, angle = 1.125, 40.0, 0.07
    y, x = np.mgrid[:256, :256] * true_pitch_um
    lines = np.sign(np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period_um))
    frame = 1 + 0.4 * lines + np.random.default_rng(4).normal(0, 0.05, lines.shape)
    outcome = measure_ruled_pitch(frame.astype(np.float32), instrument, period_um, 0.01)
    assert outcome.values["pitch_um"].value == pytest.approx(true_pitch_um, rel=0.002)


def test_a_frame_without_a_ruling_is_bad_input(instrument: Instrument) -> None:
    noise = np.random.default_rng(5).normal(1, 0.05, (256, 256))
    with pytest.raises(InputError, match="no ruling"):
        measure_ruled_pitch(noise, instrument, 40.0, 0.01)


def test_counting_intervals_hold_the_true_efficiency_as_often_as_they_say() -> None:
    rng, held = np.random.default_rng(6), 0
    for _ in range(400):
        true_per_ml = 1000 * (1 + rng.normal(0, 0.05))
        outcome = measure_counts(
            int(rng.poisson(0.8 * true_per_ml)), volume_ml=1.0, concentration_per_ml=1000, relative_uncertainty=0.05
        )
        efficiency = outcome.values["detection_efficiency"]
        held += abs(efficiency.value - 0.8) <= 1.96 * efficiency.uncertainty
    assert 0.92 <= held / 400 <= 0.98


def test_an_efficiency_for_a_size_class_carries_it_in_its_name() -> None:
    outcome = measure_counts(
        400, volume_ml=1.0, concentration_per_ml=500, relative_uncertainty=0.02, size_class_um=(4, 8)
    )  # fmt: skip
    found = DetectionEfficiency.of({name: (q.value, q.uncertainty) for name, q in outcome.values.items()})
    assert found is not None
    assert (found.of_size(6.0).low_um, found.of_size(6.0).high_um, found.of_size(6.0).value) == (4, 8, 0.8)
    with pytest.raises(InputError, match="no size lies"):
        measure_counts(400, volume_ml=1.0, concentration_per_ml=500, relative_uncertainty=0.02, size_class_um=(8, 4))


def test_too_few_counts_fail() -> None:
    assert not measure_counts(20, volume_ml=1.0, concentration_per_ml=25, relative_uncertainty=0.05).passed


def test_what_a_blank_gives_is_no_efficiency() -> None:
    outcome = measure_counts(500, volume_ml=1.0, concentration_per_ml=500, relative_uncertainty=0.02, background=100.0)
    assert outcome.values["detection_efficiency"].value == pytest.approx(0.8)


def test_a_ruling_behind_a_lens_gives_the_sensors_pitch(instrument: Instrument) -> None:
    lens = msgspec.structs.replace(instrument, optics=msgspec.structs.replace(instrument.optics, magnification=4.0))
    x = np.arange(256)[None, :] * (1.12 / 4)
    frame = 1 + 0.4 * np.sin(2 * np.pi * x / 10.0) + np.random.default_rng(4).normal(0, 0.02, (256, 256))
    outcome = measure_ruled_pitch(frame.astype(np.float32), lens, 10.0, 0.01)
    assert outcome.values["pitch_um"].value == pytest.approx(1.12, rel=0.005)


def test_a_mean_of_few_values_is_as_uncertain_as_students_t_says() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    mean, uncertainty, scatter, count = mean_with_uncertainty(values)
    assert (mean, count, scatter) == (3.0, 5, pytest.approx(np.std(values, ddof=1)))
    half_of_95_percent = scipy.stats.t.interval(0.95, 4, mean, scatter / 5**0.5)[1] - mean
    assert 1.96 * uncertainty == pytest.approx(half_of_95_percent, rel=1e-3)


@pytest.mark.parametrize("count", [5, 9, 20])
def test_twice_the_uncertainty_of_a_mean_covers_it_19_times_in_20_however_few_the_values(count: int) -> None:
    rng, covered = np.random.default_rng(8), 0
    for _ in range(1500):
        mean, uncertainty, _, _ = mean_with_uncertainty(rng.normal(5.0, 1.0, count))
        covered += abs(mean - 5.0) <= 1.96 * uncertainty
    assert 0.93 <= covered / 1500 <= 0.97


def test_a_value_far_off_the_others_does_not_move_their_mean() -> None:
    values = np.array([4.9, 5.1, 5.0, 4.8, 5.2, 5.05, 4.95, 9.0])
    mean, uncertainty, _, count = mean_with_uncertainty(values)
    assert (mean, count) == (pytest.approx(5.0), 7)
    assert uncertainty < 0.1


def test_flow_is_told_from_how_far_rings_went_at_their_depths() -> None:
    instrument, side = load_instrument("flow-imx296-530nm"), 512
    # 4 mm/s through 2.8 mm2 are 11.2 uL a second.
    fluidics = msgspec.structs.replace(instrument.fluidics, flow_ml_min=0.0112 * 60)
    instrument = msgspec.structs.replace(instrument, fluidics=fluidics)
    pitch_um, interval_s, mean_um_s = instrument.geometry.object_pitch_um, 0.016, 4000.0
    section = ChannelSection(800.0, 3500.0)
    places = [(96 + 64 * (k % 6), 96 + 64 * (k // 6)) for k in range(12)]
    offsets_um = np.linspace(-300, 300, len(places))
    across_um = (np.array([row for row, _ in places]) - (side - 1) / 2) * pitch_um
    speeds_um_s = mean_um_s * Duct(section.width_um, section.height_um).relative_speed(across_um, offsets_um)
    moved_px = speeds_um_s * interval_s / pitch_um
    first, second = (
        np.sum(
            [ring(side, k, row, column + step) for k, ((row, column), step) in enumerate(zip(places, steps, strict=True))],
            axis=0,
        )
        for steps in (np.zeros(len(places)), moved_px)
    )
    middle = (side - 1) / 2
    beads = [
        a_bead((column - middle) * pitch_um, (row - middle) * pitch_um, instrument.geometry.propagation_um + float(offset))
        for (row, column), offset in zip(places, offsets_um, strict=True)
    ]
    outcome = measure_flow(first, second, beads, instrument, section, interval_s=interval_s, reach_px=45)
    assert outcome.passed
    assert outcome.values["velocity_um_s"].value == pytest.approx(mean_um_s, rel=0.02)
    assert outcome.values["flow_ml_min"].value == pytest.approx(0.0112 * 60, rel=0.02)


@pytest.mark.parametrize(("interval_s", "told"), [(0.02, False), (0.05, True)])
def test_an_interval_in_which_particles_go_out_of_reach_is_told_with_one_that_fits(interval_s: float, told: bool) -> None:
    instrument, frame = load_instrument("flow-imx296-530nm"), np.zeros((64, 64))
    # 1.5 mL/min through 3.2 mm2: 7.8 mm/s, the fastest 3,397 pixels a second.
    outcome = measure_flow(frame, frame, [], instrument, ChannelSection(800.0, 4000.0), interval_s=interval_s, reach_px=110)
    assert not outcome.passed
    said = "; ".join(outcome.reasons)
    assert ("the fastest go 170 pixels" in said) is told
    assert ("take --interval-s 0.032 or less" in said) is told


def ring(side: int, kind: int, row: float, column: float) -> NDArray[np.float64]:
    """A ring pattern at a place, each kind unlike the others."""
    rows, columns = np.mgrid[:side, :side]
    distance = np.hypot(rows - row, columns - column)
    return np.cos(distance**2 / (15 + 5 * kind) + kind) * np.exp(-((distance / 12) ** 2))


def flat_record(instrument: Instrument, frames: list[NDArray[np.float32]]) -> CalibrationRecord:
    outcome = measure_flat(frames, instrument.sensor)
    now = datetime.now(UTC)
    return sealed(
        CalibrationRecord(
            instrument_id=instrument.id, made_at=now, procedure="flat", values=outcome.values, verdict="pass",
            valid_until=now + timedelta(days=9),
        )
    )  # fmt: skip


def test_optics_that_have_not_changed_pass_the_comparison(instrument: Instrument) -> None:
    frames = lit_frames(instrument.sensor)
    assert {c.status for c in compare_optics(baseline(frames, instrument.sensor), flat_record(instrument, frames))} == {"ok"}


def test_a_lamp_at_a_third_of_its_light_is_named(instrument: Instrument) -> None:
    record = flat_record(instrument, lit_frames(instrument.sensor))
    checks = compare_optics(baseline(lit_frames(instrument.sensor, level=0.16), instrument.sensor), record)
    assert {c.name: c.status for c in checks}["background level"] == "warning"


def test_dirt_on_the_window_is_named(instrument: Instrument) -> None:
    record = flat_record(instrument, lit_frames(instrument.sensor))
    dirty = lit_frames(instrument.sensor)
    for frame in dirty:
        frame[::9, ::9] *= 0.6
    checks = {c.name: c.status for c in compare_optics(baseline(dirty, instrument.sensor), record)}
    assert checks["background contrast"] == "warning"
    assert checks["odd pixels"] == "warning"
