"""A model goes to an instrument that it wasn't made for, with eight of that instrument's frames and no labels.

The instrument: 532 nm, 1 um at the object through a lens, 1.3 mm, where the shipped network was made around 850 nm, 1.12 um,
0.5 mm; its defocus number (692) lies beyond those of training (25 to 600), its pupil ends at 0.2 cycles per pixel and carries
1.4 rad of aberrations (root mean square) that no file names; its nominal distance is 2 % off. Frames by multi-slice on a grid twice as
fine, particle after particle, the aberration put on the wave before its intensity is taken, with noise, bits and uneven light
of its own. What the instrument is is known to the rows 'retrained' alone.

    shipped        the bundle as it is, at the nominal distance
    measured       the same, the optics as `holonode-calibrate transfer` measured them from the eight frames
    adapted        `holonode-models finetune hidef` on top; CPU time of both is printed
    retrained      longer training at exactly this instrument from the same start, its optics known to training and to the box

Scored on other frames, int8: particle-local complex error and correlation of one pass, and of the pass with the refinement that
the box does by default; medians with 95 % bootstrap intervals over particles. A shift of the whole image can't be told from
frames without labels and harms nobody: each row is scored at its own best one. The share of the gap is (shipped - adapted) /
(shipped - retrained) of the median complex errors, particles drawn together.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.transfer --work DIR [--retrain-minutes 25]
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.procedures.transfer import measure_transfer
from device.analysis.background import noise_level, normalise
from device.analysis.depth import estimate_depth
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import segment
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.inference.store import ModelBundle, ModelStore, checked
from device.instrument import Instrument, load_instrument
from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import asm_transfer_function, backpropagate
from device.optics.pupil import Pupil
from device.rig.models import ARTEFACTS
from device.transfer import read_transfer, write_transfer
from device.twin.forward import _exit_wave, multislice_object_field, paste, place_px
from device.twin.illumination import Illumination
from device.twin.scene import SimulatedParticle, draw_particle, snap_depths
from models.recipes.hidef.evaluation import field_metrics
from models.recipes.hidef.one_pass import field_method
from models.training.quality import bootstrap_median

Complex = NDArray[np.complex64]

WAVELENGTH_UM, PITCH_UM, DISTANCE_UM, MAGNIFICATION = 0.532, 1.0, 1300.0, 3.45
NOMINAL_DISTANCE_UM = 1.02 * DISTANCE_UM
CUTOFF_PER_PX = 0.2
TRUE_PUPIL = Pupil((0.9, -0.6, 0.6, -0.4, 0.2, 0.1, 0.5), CUTOFF_PER_PX / PITCH_UM)
SECONDARY_ASTIGMATISM_RAD = 0.15  # a term that nobody fits
DEPTH_UM = 70.0
FIELD_PX, MARGIN_PX = 512, 192
LABELS = ("birch", "grass", "oak", "ragweed", "alternaria", "cladosporium", "penicillium", "dust")
LIGHT = Illumination(WAVELENGTH_UM)
NOMINAL = Geometry(WAVELENGTH_UM, PITCH_UM * MAGNIFICATION, NOMINAL_DISTANCE_UM, MAGNIFICATION)
GEOMETRY = replace(NOMINAL, distance_um=DISTANCE_UM, pupil=TRUE_PUPIL)


@dataclass(frozen=True)
class Frame:
    """One recording of the new instrument with its truth."""

    intensity: NDArray[np.float32]
    """float32 [height, width], mean 1."""
    truth: Complex
    """Object field within the pupil, complex64 [height, width]."""
    particles: tuple[SimulatedParticle, ...]
    boxes: tuple[tuple[slice, slice], ...]


def pupil_of_the_lens(shape: tuple[int, int], pitch_um: float, *, phase: bool = True) -> Complex:
    """Aperture and aberrations, complex64 in FFT order, by polynomials of its own."""
    fy, fx = fft.fftfreq(shape[0], pitch_um)[:, None], fft.fftfreq(shape[1], pitch_um)[None, :]
    radius = np.hypot(fy, fx) * PITCH_UM / CUTOFF_PER_PX
    aperture = 1 / (1 + np.exp((radius - 1) / 0.02))
    if not phase:
        return aperture.astype(np.complex64)
    x, y = fx * PITCH_UM / CUTOFF_PER_PX, fy * PITCH_UM / CUTOFF_PER_PX
    a0, a45, cx, cy, tx, ty, s = TRUE_PUPIL.coefficients_rad
    squared = x**2 + y**2
    wave = np.sqrt(6) * (a0 * (x**2 - y**2) + a45 * 2 * x * y)
    wave = wave + np.sqrt(8) * (3 * squared - 2) * (cx * x + cy * y)
    wave = wave + np.sqrt(8) * (tx * (x**3 - 3 * x * y**2) + ty * (3 * x**2 * y - y**3))
    wave = wave + np.sqrt(5) * s * 6 * (squared**2 - squared)
    wave = wave + SECONDARY_ASTIGMATISM_RAD * np.sqrt(10) * (4 * squared - 3) * (x**2 - y**2)
    return (aperture * np.exp(1j * np.where(radius < 1.2, wave, 0))).astype(np.complex64)


def render(rng: np.random.Generator, particles: Sequence[SimulatedParticle]) -> NDArray[np.float32]:
    """Intensity at the sensor with its noise, float32 [FIELD_PX, FIELD_PX]."""
    voxel_um, side = PITCH_UM / 2, 2 * (FIELD_PX + 2 * MARGIN_PX)
    shape = (side, side)
    wave = np.ones(shape, np.complex64)
    by_depth = sorted({p.z_um for p in particles}, reverse=True)
    for z_um, next_um in zip(by_depth, [*by_depth[1:], 0.0], strict=True):
        for particle in (p for p in particles if p.z_um == z_um):
            x_px, y_px = place_px(particle, voxel_um)
            paste(wave, _exit_wave(particle.volume, WAVELENGTH_UM), x_px + 2 * MARGIN_PX, y_px + 2 * MARGIN_PX)
        transfer = asm_transfer_function(shape, voxel_um, WAVELENGTH_UM, z_um - next_um)
        if next_um == 0.0:
            half = fft.fftfreq(side)
            transfer = transfer * np.exp(-1j * np.pi * (half[:, None] + half[None, :])) * pupil_of_the_lens(shape, voxel_um)
        wave = fft.ifft2(fft.fft2(wave, overwrite_x=True) * transfer.astype(np.complex64), overwrite_x=True)
    clean = (np.abs(wave) ** 2).reshape(side // 2, 2, side // 2, 2).mean(axis=(1, 3))
    clean = clean[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    y, x = np.mgrid[0:FIELD_PX, 0:FIELD_PX] / FIELD_PX - 0.5
    light = 1 + 0.02 * x - 0.015 * y + 0.02 * np.sin(5 * x + 1) * np.cos(4 * y)
    electrons, gain = 0.6 * 8000.0, 8.0
    frame = np.round((rng.poisson(clean * light * electrons) + rng.normal(0, 4, clean.shape)) / gain)
    before = np.round((rng.poisson(electrons, clean.shape) + rng.normal(0, 4, clean.shape)) / gain)
    return (frame / np.maximum(before, 1)).astype(np.float32)


def make_frame(seed: int, per_field: int = 16) -> Frame:
    """One frame of so many particles."""
    rng = np.random.default_rng(seed)
    side_um = FIELD_PX * PITCH_UM
    drawn = [
        draw_particle(
            rng, LABELS[int(rng.integers(len(LABELS)))], field_um=(side_um, side_um),
            depth_um=(DISTANCE_UM - DEPTH_UM, DISTANCE_UM + DEPTH_UM), voxel_um=PITCH_UM / 2,
        )
        for _ in range(per_field)
    ]  # fmt: skip
    particles = snap_depths(drawn, 5)
    intensity = render(rng, particles)
    truth = multislice_object_field((FIELD_PX, FIELD_PX), PITCH_UM, particles, LIGHT)
    within = pupil_of_the_lens(truth.shape, PITCH_UM, phase=False)
    truth = (1 + fft.ifft2(fft.fft2(truth - 1) * within)).astype(np.complex64)
    boxes = tuple(_box(p) for p in particles)
    inside = [k for k, box in enumerate(boxes) if all(s.stop - s.start > 8 for s in box) and particles[k].esd_um >= 8]
    return Frame(intensity, truth, tuple(particles[k] for k in inside), tuple(boxes[k] for k in inside))


def _box(particle: SimulatedParticle, margin_px: int = 4) -> tuple[slice, slice]:
    half = particle.volume.length_um / 2 / PITCH_UM + margin_px
    places = (particle.y_um / PITCH_UM, particle.x_um / PITCH_UM)
    rows, columns = (slice(max(int(c - half), 0), min(int(c + half) + 1, FIELD_PX)) for c in places)
    return rows, columns


def frames(folder: Path, seed: int, count: int) -> list[Frame]:
    """Frames, kept in a folder of the work folder: they take a while."""
    folder.mkdir(parents=True, exist_ok=True)
    out: list[Frame] = []
    for k in range(count):
        path = folder / f"frame-{seed + k}.pickle"
        if not path.exists():
            path.write_bytes(pickle.dumps(make_frame(seed + k)))
        out.append(pickle.loads(path.read_bytes()))
    return out


def instrument() -> Instrument:
    """What its maker says of the new instrument."""
    other = load_instrument("flow-imx477-530nm")
    replaced = msgspec.structs.replace
    return replaced(
        other,
        name="benchmark-532nm",
        sensor=replaced(other.sensor, pitch_um=PITCH_UM * MAGNIFICATION),
        # A laser: `LIGHT` has neither a band nor a diameter.
        lamp=replaced(other.lamp, wavelength_um=WAVELENGTH_UM, bandwidth_um=0.0, source_diameter_um=0.0),
        optics=replaced(
            other.optics, distance_um=NOMINAL_DISTANCE_UM, distance_uncertainty_um=40.0, depth_um=DEPTH_UM,
            magnification=MAGNIFICATION, medium_index=1.0,
        ),
    )  # fmt: skip


def once(path: Path, make: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Figures of a step that takes long, made once."""
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def calibrate(given: Sequence[Frame], start: ModelBundle, path: Path) -> dict[str, float]:
    """Write the transfer file of the given frames; CPU minutes and what was found."""
    began = time.process_time()
    network = HidefNetwork(Interpreter(start.model), start.manifest)
    measured = measure_transfer(
        [normalise(frame.intensity).intensity for frame in given], instrument(), network, gain=network.ring_gain
    )
    write_transfer(path, measured.file)
    pupil = measured.file.geometry.pupil or TRUE_PUPIL
    apart = np.array(pupil.coefficients_rad) - np.array(TRUE_PUPIL.coefficients_rad)
    return {
        "cpu_minutes": (time.process_time() - began) / 60,
        "aberrations_off_rad": float(np.linalg.norm(apart)),
        "distance_off_um": measured.file.geometry.distance_um - DISTANCE_UM,
        "passed": float(measured.outcome.passed),
        **measured.outcome.residuals,
    }


def adapt(transfer: Path, start: ModelBundle, work: Path, minutes: float) -> dict[str, float]:
    """Fine-tune; CPU minutes and what was compared."""
    from models.recipes.hidef.transfer import TrainingBudget, finetune

    found = finetune(transfer, start.model, work / "out", "9.0.0", work, budget=TrainingBudget(minutes=minutes))
    figures = {"cpu_minutes": found.cpu_minutes}
    for check in found.checks:
        figures |= {f"{check.name}, before": check.before, f"{check.name}, after": check.after}
    return figures


def retrain(start: ModelBundle, work: Path, minutes: float) -> dict[str, float]:
    """Train at the true optics; an int8 file without a bundle's manifest of its own."""
    from models.recipes.hidef.transfer import TrainingBudget, instrument_scenes, learn, quantised

    began = time.process_time()
    scenes = instrument_scenes(GEOMETRY, DEPTH_UM, (3000.0, 8000.0), 0.05)
    budget = TrainingBudget(minutes=minutes, rendering=0.36, finishing=0.02, rehearsal=0.0, peak_rate=7e-4)
    none = np.zeros((0, 256, 256, 5), np.float32)
    pool = learn(work, start.model, scenes, none, budget, seed=77)
    (work / "retrained.tflite").write_bytes(quantised(work, pool, none, 77))
    return {"cpu_minutes": (time.process_time() - began) / 60}


def fields(frame: Frame, geometry: Geometry, network: HidefNetwork) -> tuple[Complex, Complex]:
    """(one pass, pass and refinement) of one frame."""
    intensity = normalise(frame.intensity).intensity
    start = backpropagate(intensity, geometry)
    one = field_method(network)(start)
    parts = segment(one, start=start)
    depths = [estimate_depth(start, one, part, geometry).equivalent(geometry) for part in parts]
    amplitude = np.sqrt(np.maximum(intensity, 0))
    refined = refine(amplitude, one, parts, depths, geometry, RefineSettings(), noise=noise_level(intensity))
    return one, np.where(refined.supports, refined.field, one)


def registered(
    made: Sequence[Complex], frames_: Sequence[Frame], reach_px: int = 4
) -> tuple[list[dict[str, float]], tuple[int, int]]:
    """Metrics of every particle at the one shift, common to all frames, that is best for the median complex error."""
    best: tuple[float, list[dict[str, float]], tuple[int, int]] | None = None
    for dy in range(-reach_px, reach_px + 1):
        for dx in range(-reach_px, reach_px + 1):
            rows = [
                field_metrics(np.roll(field, (dy, dx), (0, 1))[box], frame.truth[box])
                for field, frame in zip(made, frames_, strict=True)
                for box in frame.boxes
            ]
            median = float(np.median([row["complex_error"] for row in rows]))
            if best is None or median < best[0]:
                best = median, rows, (dy, dx)
    assert best is not None
    return best[1], best[2]


def share_of_gap(
    shipped: NDArray[np.float64], adapted: NDArray[np.float64], retrained: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(share, low, high) of the gap that was closed, from errors of the same particles; 95 % bootstrap."""
    rng = np.random.default_rng(0)

    def share(which: NDArray[np.int64]) -> float:
        s, a, r = (float(np.median(errors[which])) for errors in (shipped, adapted, retrained))
        return (s - a) / max(s - r, 1e-9)

    every = np.arange(len(shipped))
    draws = [share(rng.integers(len(every), size=len(every))) for _ in range(2000)]
    return share(every), float(np.percentile(draws, 2.5)), float(np.percentile(draws, 97.5))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder of frames and trainings; what is there isn't made again"
    )
    parser.add_argument("--start-from", default="hidef", help="bundle that both trainings start from")
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes of calibration and fine-tuning together")
    parser.add_argument("--retrain-minutes", type=float, default=25.0)
    parser.add_argument("--test-frames", type=int, default=10)
    parser.add_argument("--only", choices=["calibrate", "adapt", "retrain"], help="one step, no table")
    args = parser.parse_args()
    work: Path = args.work
    start = ModelStore(ARTEFACTS).find(args.start_from)
    given, test = frames(work / "given", 100, 8), frames(work / "test", 900, args.test_frames)
    transfer = work / f"{start.model.stem}.npz"
    figures: dict[str, dict[str, float]] = {}
    if args.only != "retrain":
        figures["calibrate"] = once(work / f"calibrate-{start.model.stem}.json", lambda: calibrate(given, start, transfer))
    if args.only in (None, "adapt"):
        left = args.minutes - figures["calibrate"]["cpu_minutes"]
        folder = work / f"adapted-{start.model.stem}"
        folder.mkdir(parents=True, exist_ok=True)
        figures["adapt"] = once(folder / "figures.json", lambda: adapt(transfer, start, folder, left))
    retrained = work / f"retrained-{start.model.stem}"
    if args.only in (None, "retrain"):
        retrained.mkdir(parents=True, exist_ok=True)
        figures["retrain"] = once(retrained / "figures.json", lambda: retrain(start, retrained, args.retrain_minutes))
    print(f"start: {start.model.stem}")
    for name, found in figures.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
    if args.only is None:
        table(start, checked(work / f"adapted-{start.model.stem}" / "out" / "hidef-9.0.0.tflite"), retrained, transfer, test)
    return 0


def table(start: ModelBundle, adapted: ModelBundle, retrained: Path, transfer: Path, test: Sequence[Frame]) -> None:
    """Score and print all rows."""
    measured = read_transfer(transfer).geometry
    rows: dict[str, tuple[Geometry, Path, ModelBundle]] = {
        "shipped": (NOMINAL, start.model, start),
        "measured": (measured, start.model, start),
        "adapted": (measured, adapted.model, adapted),
        "retrained": (GEOMETRY, retrained / "retrained.tflite", start),
    }
    errors: dict[tuple[str, str], NDArray[np.float64]] = {}
    print(f"{'':12s}{'':12s}{'complex error (95 %)':>28s}{'complex correlation (95 %)':>32s}   shift px   particles")
    for name, (geometry, file, like) in rows.items():
        network = HidefNetwork(Interpreter(file), like.manifest)
        both = [fields(frame, geometry, network) for frame in test]
        for k, stage in enumerate(("one pass", "refined")):
            found, shift = registered([pair[k] for pair in both], test)
            cells: list[str] = []
            for metric in ("complex_error", "complex_correlation"):
                middle, low, high = bootstrap_median([row[metric] for row in found])
                cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
            errors[name, stage] = np.array([row["complex_error"] for row in found])
            print(f"{name:12s}{stage:12s}{cells[0]:>28s}{cells[1]:>32s}   {shift!s:10s} {len(found)}", flush=True)
    for stage in ("one pass", "refined"):
        for name in ("measured", "adapted"):
            value, low, high = share_of_gap(errors["shipped", stage], errors[name, stage], errors["retrained", stage])
            print(f"share of the gap closed, {stage}, {name}: {100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})")


if __name__ == "__main__":
    sys.exit(main())
