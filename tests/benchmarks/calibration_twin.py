"""Calibration procedures against simulated instruments whose true figures are known.

Beads are rendered by beam propagation through voxels (multi-slice) on a grid twice as fine, three wavelengths, a source of
finite size, shot and read noise; they are fitted with the exact Lorenz-Mie hologram: another model. In every trial the true
pitch and wavelength are drawn from the instrument's own uncertainties, which a stated interval must cover too.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.calibration_twin [--trials 500]
"""

from __future__ import annotations

import argparse
import sys

import msgspec
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from calibration.procedures.beads import BeadTarget, find_beads, measure_distance, measure_pitch, measure_tilt, scan_beads
from calibration.procedures.flow import ChannelSection, measure_flow
from calibration.procedures.ruling import measure_ruled_pitch
from device.analysis.background import normalise
from device.duct_flow import Duct
from device.instrument import Instrument, load_instrument
from device.optics import fft
from device.optics.propagation import compute_transfer_function
from device.twin.forward import _exit_wave, scattered_wave
from device.twin.illumination import Illumination, coherence_envelope
from device.twin.morphology import Body, make_volume
from device.twin.scene import SimulatedParticle
from tests.benchmarks.sphere_grid import foreign_hologram

SIDE_PX, BEADS, DIAMETER_UM, CONTRAST = 512, 14, 10.0, 0.108
FILL = 0.6


def bench_instrument() -> Instrument:
    """The bioaerosol sampler, reading out a smaller region."""
    instrument = load_instrument("bioaerosol-imx219-850nm")
    sensor = msgspec.structs.replace(instrument.sensor, width_px=SIDE_PX, height_px=SIDE_PX)
    return msgspec.structs.replace(instrument, sensor=sensor)


def true_instrument(nominal: Instrument, rng: np.random.Generator) -> Instrument:
    """What the instrument really is: pitch and wavelength drawn from their uncertainties."""
    pitch_um = nominal.sensor.pitch_um + rng.normal(0, nominal.sensor.pitch_uncertainty_um)
    wavelength_um = nominal.lamp.wavelength_um + rng.normal(0, nominal.lamp.wavelength_uncertainty_um)
    return msgspec.structs.replace(
        nominal,
        sensor=msgspec.structs.replace(nominal.sensor, pitch_um=pitch_um),
        lamp=msgspec.structs.replace(nominal.lamp, wavelength_um=wavelength_um),
    )


def places(rng: np.random.Generator, count: int, apart_px: float = 48, border_px: float = 36) -> NDArray[np.float64]:
    """Rows and columns, sub-pixel, apart from each other; float64 [count, 2]."""
    found: list[NDArray[np.float64]] = []
    while len(found) < count:
        candidate = rng.uniform(border_px, SIDE_PX - border_px, 2)
        if all(np.hypot(*(candidate - other)) > apart_px for other in found):
            found.append(candidate)
    return np.array(found)


def bead_frame(
    truth: Instrument,
    at_px: NDArray[np.float64],
    z_um: NDArray[np.float64],
    rng: np.random.Generator,
    diameter_um: float = DIAMETER_UM,
) -> NDArray[np.float32]:
    """Normalised frame float32 [SIDE_PX, SIDE_PX] of beads at places and depths."""
    pitch_um, lamp, finer = truth.sensor.pitch_um, truth.lamp, 2
    voxel_um = pitch_um / finer
    waves = np.zeros((3, SIDE_PX * finer, SIDE_PX * finer), np.complex64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(3)
    for (row, column), z in zip(at_px, z_um, strict=True):
        # The centre of pixel (0, 0) lies half a voxel from the centre of voxel (0, 0).
        y, x = finer * row + 0.5, finer * column + 0.5
        sub = (x - round(x), y - round(y))
        volume = make_volume(
            [Body((0, 0, 0), (diameter_um / 2,) * 3, None, CONTRAST, 0.0, CONTRAST, 1.02)], voxel_um, None, sub
        )
        for k, node in enumerate(nodes):
            wavelength_um = lamp.wavelength_um + node * lamp.bandwidth_um / (2 * np.sqrt(2 * np.log(2)))
            _carry(waves[k], _exit_wave(volume, wavelength_um) - 1, round(y), round(x), voxel_um, wavelength_um, float(z))
    intensity = sum(w * np.abs(1 + wave) ** 2 for w, wave in zip(weights / weights.sum(), waves, strict=True))
    light = Illumination(lamp.wavelength_um, 0.0, lamp.source_diameter_um, lamp.source_distance_um or 1e9)
    blur = coherence_envelope(intensity.shape, voxel_um, light, float(np.mean(z_um)), temporal=False)
    intensity = fft.ifft2(fft.fft2(intensity.astype(np.float32)) * blur).real
    pixels = intensity.reshape(SIDE_PX, finer, SIDE_PX, finer).mean((1, 3))
    return normalise(recorded(pixels, truth, rng)).intensity


def _carry(
    canvas: NDArray[np.complex64],
    patch: NDArray[np.complex64],
    row: int,
    column: int,
    voxel_um: float,
    wavelength_um: float,
    z_um: float,
) -> None:
    reach = int(0.42 * z_um / voxel_um)
    size = fft.next_fast_len(patch.shape[0] + 2 * reach)
    wave = np.zeros((size, size), np.complex64)
    lead = size // 2 - patch.shape[0] // 2
    wave[lead : lead + patch.shape[0], lead : lead + patch.shape[1]] = patch
    transfer = compute_transfer_function((size, size), voxel_um, wavelength_um, z_um)
    wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * transfer, overwrite_x=True)
    top, left = row - size // 2, column - size // 2
    t, le = max(top, 0), max(left, 0)
    b, r = min(top + size, canvas.shape[0]), min(left + size, canvas.shape[1])
    canvas[t:b, le:r] += wave[t - top : b - top, le - left : r - left]


def recorded(intensity: NDArray[np.floating], truth: Instrument, rng: np.random.Generator) -> NDArray[np.float32]:
    """Counts less pedestal, with shot and read noise and quantisation."""
    sensor = truth.sensor
    white = 2**sensor.bit_depth - 1 - sensor.dark_level_counts
    electrons = rng.poisson(np.maximum(intensity, 0) * FILL * sensor.full_well_e) + rng.normal(
        0, sensor.read_noise_e, intensity.shape
    )
    return np.clip(np.round(electrons * white / sensor.full_well_e), 0, white).astype(np.float32)


def distance_and_tilt(trial: int) -> tuple[float, float, float, float, float, float]:
    """Error and uncertainty of the distance (um), and of both tilts (degrees)."""
    rng = np.random.default_rng(10_000 + trial)
    nominal = bench_instrument()
    truth = true_instrument(nominal, rng)
    distance_um = nominal.optics.distance_um + rng.normal(0, nominal.optics.distance_uncertainty_um)
    tilt = np.tan(np.deg2rad(rng.uniform(-0.5, 0.5, 2)))
    at_px = places(rng, BEADS)
    offsets_um = (at_px - (SIDE_PX - 1) / 2) * truth.sensor.pitch_um
    z_um = distance_um + tilt[0] * offsets_um[:, 1] + tilt[1] * offsets_um[:, 0] + rng.normal(0, 0.3, BEADS)
    frame = bead_frame(truth, at_px, z_um, rng)
    beads = find_beads(frame, nominal, BeadTarget(DIAMETER_UM, 0.05, index=1 + CONTRAST))
    distance = measure_distance(beads, nominal).values["distance_um"]
    tilts = measure_tilt(beads, nominal).values
    found = [tilts[name] for name in ("tilt_x_degrees", "tilt_y_degrees")]
    return (
        distance.value - distance_um, distance.uncertainty,
        found[0].value - float(np.rad2deg(np.arctan(tilt[0]))), found[0].uncertainty,
        found[1].value - float(np.rad2deg(np.arctan(tilt[1]))), found[1].uncertainty,
    )  # fmt: skip


def pitch_of_beads(trial: int) -> tuple[float, float]:
    """Relative error and relative uncertainty; the beads' holograms by the independent Lorenz-Mie library.

    Not by beam propagation: its beads look 1 % larger to an exact fit, which is that model's own error.
    """
    rng = np.random.default_rng(20_000 + trial)
    nominal = bench_instrument()
    truth = true_instrument(nominal, rng)
    pitch_um = nominal.sensor.pitch_um * (1 + rng.uniform(-0.005, 0.005))
    diameter_um = DIAMETER_UM * (1 + rng.normal(0, 0.0005))
    intensity = np.ones((SIDE_PX, SIDE_PX))
    for row, column in places(rng, 8, apart_px=90, border_px=60):
        lengths = {"wavelength_um": truth.lamp.wavelength_um, "pitch_um": pitch_um, "medium": 1.0, "side_px": SIDE_PX}
        intensity += foreign_hologram(diameter_um / 2, rng.uniform(480, 520), (row, column), 1 + CONTRAST, **lengths) - 1
    frame = normalise(recorded(intensity, nominal, rng)).intensity
    sharp = msgspec.structs.replace(
        nominal, lamp=msgspec.structs.replace(nominal.lamp, bandwidth_um=0.0, source_diameter_um=0.0)
    )
    target = BeadTarget(DIAMETER_UM, 0.0005 * DIAMETER_UM, index=1 + CONTRAST)
    found = measure_pitch(frame, sharp, target, find_beads(frame, sharp, target)).values["pitch_um"]
    return found.value / pitch_um - 1, found.uncertainty / found.value


def pitch_of_ruling(trial: int) -> tuple[float, float]:
    """Relative error and relative uncertainty, a chromium ruling of 40 um out of contact and turned."""
    rng = np.random.default_rng(30_000 + trial)
    nominal = bench_instrument()
    truth = true_instrument(nominal, rng)
    finer, period_um, angle = 4, 40.0 * (1 + rng.normal(0, 0.0002)), rng.uniform(-0.1, 0.1)
    at_um = (np.arange(SIDE_PX * finer) - (finer - 1) / 2) * truth.sensor.pitch_um / finer
    across = at_um[None, :] * np.cos(angle) + at_um[:, None] * np.sin(angle)
    lines = (0.5 + 0.5 * np.tanh(np.sin(2 * np.pi * across / period_um + rng.uniform(0, 6)) * 8)).astype(np.complex64)
    transfer = compute_transfer_function(lines.shape, truth.sensor.pitch_um / finer, truth.lamp.wavelength_um, 500.0)
    intensity = np.abs(fft.ifft2(fft.fft2(lines) * transfer)) ** 2
    pixels = intensity.reshape(SIDE_PX, finer, SIDE_PX, finer).mean((1, 3))
    frame = recorded(pixels, truth, rng)
    found = measure_ruled_pitch(frame / frame.mean(), nominal, 40.0, 0.008).values["pitch_um"]
    return found.value / truth.sensor.pitch_um - 1, found.uncertainty / found.value


def flow(trial: int) -> tuple[float, float]:
    """Relative error and relative uncertainty of a flow in a channel of 0.8 x 5 mm, twenty beads of 20 um."""
    rng = np.random.default_rng(40_000 + trial)
    nominal = load_instrument("flow-imx296-530nm")
    nominal = msgspec.structs.replace(
        nominal, sensor=msgspec.structs.replace(nominal.sensor, width_px=SIDE_PX, height_px=SIDE_PX)
    )
    section = ChannelSection(nominal.fluidics.channel_height_um, 5_000.0)
    true_ml_min = rng.uniform(0.5, 3.0)
    mean_um_s = true_ml_min / (section.height_um * section.width_um * 60e-12)
    interval_s = 60.0 * nominal.sensor.pitch_um / mean_um_s
    at_px = places(rng, 20, apart_px=48, border_px=60)
    z_um = nominal.geometry.propagation_um + rng.uniform(-0.85, 0.85, 20) * section.height_um / 2
    across_um = (at_px[:, 0] - (SIDE_PX - 1) / 2) * nominal.sensor.pitch_um
    profile = Duct(section.width_um, section.height_um).relative_speed(across_um, z_um - nominal.geometry.propagation_um)
    speed = profile * mean_um_s
    moved_px = speed * interval_s / nominal.sensor.pitch_um
    frames = [_flow_frame(nominal, at_px + np.stack([0 * m, m], axis=1), z_um, rng) for m in (0 * moved_px, moved_px)]
    target = BeadTarget(20.0, 0.1, index=1.33 + 0.02, search_um=420.0)
    beads = scan_beads(frames[0], nominal, target)
    found = measure_flow(frames[0], frames[1], beads, nominal, section, interval_s=interval_s, reach_px=110).values[
        "flow_ml_min"
    ]
    return found.value / true_ml_min - 1, found.uncertainty / found.value


def _flow_frame(
    instrument: Instrument, at_px: NDArray[np.float64], z_um: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float32]:
    pitch_um, lamp = instrument.sensor.pitch_um, instrument.lamp
    light = Illumination(
        lamp.wavelength_um / 1.33, lamp.bandwidth_um / 1.33, lamp.source_diameter_um, lamp.source_distance_um or 1e9
    )
    particles = []
    for (row, column), z in zip(at_px, z_um, strict=True):
        sub = (column - round(column), row - round(row))
        volume = make_volume([Body((0, 0, 0), (10.0,) * 3, None, 0.02 / 1.33, 0.0, 0.02 / 1.33, 1.02)], pitch_um, None, sub)
        particles.append(SimulatedParticle("bead", column * pitch_um, row * pitch_um, float(z), volume, sub))
    wave = scattered_wave((SIDE_PX, SIDE_PX), pitch_um, particles, light)
    return normalise(recorded(np.abs(1 + wave) ** 2, instrument, rng)).intensity


def _summary(
    name: str, errors: NDArray[np.float64], deviations: NDArray[np.float64], unit: str, bar: str, scale: float = 1.0
) -> str:
    n = len(errors)
    covered = int((np.abs(errors) <= 1.96 * deviations).sum())
    interval = scipy.stats.binomtest(covered, n).proportion_ci()
    error = float(np.std(errors, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return (
        f"{name:24s} bias {scale * errors.mean():+8.3f} +- {scale * error:.3f} {unit}, rms {scale * np.sqrt(np.mean(errors**2)):.3f}, worst "
        f"{scale * np.abs(errors).max():.3f}; 95 % intervals cover {covered / n:.1%} ({interval.low:.1%} to {interval.high:.1%}) of {n}  [{bar}]"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--few", type=int, default=20, help="trials of pitch and flow")
    args = parser.parse_args()
    rows = np.array([distance_and_tilt(k) for k in range(args.trials)])
    print(_summary("distance", rows[:, 0], rows[:, 1], "um", "bias < 2 um, 93 to 97 %"), flush=True)
    tilts = np.concatenate([rows[:, 2:4], rows[:, 4:6]])
    print(_summary("tilt", tilts[:, 0], tilts[:, 1], "degrees", "0.05 degrees"), flush=True)
    for name, trial, bar in (
        ("pitch, ruled target", pitch_of_ruling, "0.2 %"), ("pitch, beads", pitch_of_beads, "0.2 %"), ("flow", flow, "1 %"),
    ):  # fmt: skip
        pairs = np.array([trial(k) for k in range(args.few)])
        print(_summary(name, pairs[:, 0], pairs[:, 1], "%", bar, 100.0), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
