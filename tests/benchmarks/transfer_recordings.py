"""Transfer on recordings: `python -m tests.benchmarks.transfer_recordings --work DIR [--minutes 10]`.

Eight recorded frames of beads, of which nobody knows more than nominal distances, go through `holonode-calibrate transfer` (a
second look, refinement and depth as on the box make the targets) and `holonode-models finetune hidef`; scored on another slide of
the same kind, `fov1`, whose field was measured independently (11 distances). 'depths': finetune with --cpu-minutes 0, which fits
what first depths get wrong of the beads' lenses and leaves the network; 'trained': with --minutes of training as well.

Of every stage, medians over frames, tilt taken off: complex correlation; phase of single beads (mean within 2 px of the peak, less
the measured, rad) and its scatter; and of isolated beads the depth less the registered one, in depths of field, its scatter, and
the share within 1.96 stated deviations. 'look': the second look at the first depth, no iterations. 'refined': as on the box.
'passed': detections that the guard lets pass. Below, paired differences to the shipped model, 95 % bootstrap over frames.
What is made is kept in --work and not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.procedures.transfer import measure_transfer
from device.analysis.background import normalise
from device.analysis.depth import Depth, estimate_depth
from device.analysis.patches import RefineSettings
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.analysis.refine import refine
from device.analysis.segment import Segment, segment
from device.analysis.verify import verify
from device.config import load_config
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.inference.interpreter import Interpreter
from device.inference.networks import HidefNetwork
from device.inference.store import ModelBundle, ModelStore, checked
from device.instrument import Instrument, load_instrument
from device.optics.geometry import Geometry
from device.records import QARTOD_PASS
from device.rig.models import ARTEFACTS, build_pipeline, model_store
from device.transfer import write_transfer
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM, DISTANCES_UM, true_peaks
from tests.benchmarks.real_depth import MATCH_PX, UNIT_UM, isolated, places
from tests.benchmarks.real_field import correlation, levelled, measured_field
from tests.benchmarks.real_focus import registered_distance
from tests.conftest import real_data_folder

OWN = (
    "07mm/holography601", "09mm/holography1301", "11mm/holography2001", "11mm/holography2002",
    "13mm/holography2701", "13mm/holography2702", "15mm/holography3401", "17mm/holography4101",
)  # fmt: skip
STAGES = ("one pass", "look", "refined")
DEPTH_RANGE_UM = 600.0
"""Half range of what nominal distances are off by, two depths of field."""
BORDER_PX = 16
MIDDLE_PX = 2.0


def instrument() -> Instrument:
    """What is known of the recorder: pitch, wavelength and that distances are nominal."""
    other, replaced = load_instrument("flow-imx477-530nm"), msgspec.structs.replace
    return replaced(
        other,
        name="recorded-beads-532nm",
        sensor=replaced(other.sensor, pitch_um=BEAD_PITCH_UM),
        lamp=replaced(other.lamp, wavelength_um=BEAD_WAVELENGTH_UM, bandwidth_um=0.0, source_diameter_um=0.0),
        optics=replaced(
            other.optics, distance_um=12_000.0, distance_uncertainty_um=100.0, depth_um=DEPTH_RANGE_UM, magnification=1.0,
            medium_index=1.0,
        ),
    )  # fmt: skip


def calibrate(start: ModelBundle, path: Path) -> None:
    """Write the transfer file of the eight frames."""
    data = real_data_folder() / "beads_singleheight"
    intensities = [normalise(next(iter(read_frames(data / f"{name}.mat"))).pixels).intensity for name in OWN]
    distances_um = [1000.0 * int(name[:2]) for name in OWN]
    network = HidefNetwork(Interpreter(start.model), start.manifest)
    measured = measure_transfer(
        intensities, instrument(), network, distances_um=distances_um, gain=network.ring_gain, aberrations=False
    )
    print(f"transfer: {measured.outcome.values}, {measured.outcome.residuals}, {measured.outcome.reasons}")
    write_transfer(path, measured.file)


def adapt(transfer: Path, start: ModelBundle, work: Path, minutes: float) -> ModelBundle:
    """The bundle that so many minutes make of it, made once."""
    from models.recipes.hidef.transfer import TrainingBudget, finetune

    folder = work / f"adapted-{minutes:g}"
    path = folder / f"{start.manifest.name}-9.0.0.tflite"
    if not path.exists():
        found = finetune(transfer, start.model, folder, "9.0.0", work, budget=TrainingBudget(minutes=minutes))
        print(f"{minutes:g} CPU minutes asked, {found.cpu_minutes:.1f} taken")
        for check in found.checks:
            print(f"  {check.name}: {check.before:.4f} before, {check.after:.4f} after")
    return checked(path)


class Slide:
    """The measured slide: its field, its beads, and where they lie in each frame."""

    def __init__(self) -> None:
        self.folder = real_data_folder() / "beads_multiheight_gt" / "fov1"
        truth = measured_field(self.folder)
        self.field, self.raw = levelled(truth), truth
        self.peaks = true_peaks(self.folder)
        self.lone = self.peaks[isolated(self.peaks, 256)]
        self.inner = self.peaks[np.all((self.peaks >= BORDER_PX) & (self.peaks < 256 - BORDER_PX), axis=1)].astype(int)
        self.phase = self.phases(self.field)

    def phases(self, field: NDArray[np.complexfloating]) -> NDArray[np.float64]:
        """Of single beads against the background, rad, float64 [n]."""
        reach = int(MIDDLE_PX)
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
        middle = np.hypot(y, x) <= MIDDLE_PX
        background = np.median(field.real) + 1j * np.median(field.imag)
        boxes = [field[v - reach : v + reach + 1, u - reach : u + reach + 1][middle] for u, v in self.inner]
        return np.angle([box.mean() / background for box in boxes])


def score(slide: Slide, pipeline: Pipeline, nominal_mm: int) -> dict[str, list[float]]:
    """Of one frame by stage: correlation, phase bias, its scatter, depth bias, its scatter, share that holds; `passed`."""
    ready = normalise(next(iter(read_frames(slide.folder / f"holo_{nominal_mm:02d}mm.mat"))).pixels)
    true_um = registered_distance(slide.raw, ready.intensity, DISTANCES_UM[nominal_mm])
    geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, DISTANCES_UM[nominal_mm])
    result = reconstruct(Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC)), pipeline.network, whole=True)
    parts = segment(result.field, pipeline.settings.segmentation, start=result.start)
    first = [estimate_depth(result.start, result.field, part, geometry, pipeline.settings.depth) for part in parts]
    amplitude = np.sqrt(np.maximum(ready.intensity, 0), dtype=np.float32)
    runs = [
        refine(amplitude, result.field, parts, first, geometry, settings, noise=ready.noise, gain=pipeline.ring_gain)
        for settings in (RefineSettings(0), RefineSettings(pipeline.settings.refine_iterations))
    ]
    fields = [result.field, *(np.where(run.supports, run.field, result.field) for run in runs)]
    judged = [
        verify(misfit, ready.noise, pair, geometry.distance_um, pipeline.settings.verification)
        for misfit, pair in zip(runs[1].misfits, zip(first, runs[1].sought, strict=True), strict=True)
    ]
    out = {"passed": [float(np.mean([c.flag == QARTOD_PASS for c in judged]))]}
    for name, field, depths in zip(STAGES, fields, (first, first, runs[1].depths), strict=True):
        off = np.angle(np.exp(1j * (slide.phases(field) - slide.phase)))
        out[name] = [correlation(field, slide.field), *_middle(off), *_depth_figures(slide, parts, depths, true_um)]
    return out


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and scatter (1.48 times the median absolute deviation)."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))


def _depth_figures(slide: Slide, parts: list[Segment], depths: Sequence[Depth], true_um: float) -> tuple[float, float, float]:
    apart_px = np.hypot(*(slide.lone[:, None] - places(parts)[None]).transpose(2, 0, 1))
    found = [depths[int(np.argmin(row))] for row in apart_px if row.min() < MATCH_PX]
    off, stated = np.array([(d.z_um - true_um, d.uncertainty_um) for d in found]).T / UNIT_UM
    return *_middle(off), float(np.mean(np.abs(off) < 1.96 * stated))


def pipeline_of(bundle: ModelBundle) -> Pipeline:
    """The box's, with another reconstruction."""
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, classifier_model="", min_esd_um=0.0, max_esd_um=1e6)
    made, _ = build_pipeline(model_store(config), settings, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 12_000.0))
    network = HidefNetwork(Interpreter(bundle.model), bundle.manifest)
    chosen = replace(made.settings, depth=network.depth_settings)
    return replace(made, network=network, ring_gain=network.ring_gain, settings=chosen)


def report(scores: dict[str, dict[int, dict[str, list[float]]]]) -> None:
    """Print the tables."""
    print(
        f"{'':12s}{'':10s}{'correlation':>12s}{'phase bias':>12s}{'scatter':>9s}{'depth bias':>12s}{'scatter':>9s}{'within':>8s}"
    )
    rng = np.random.default_rng(0)
    for name, frames in scores.items():
        for stage in STAGES:
            median = np.median([frame[stage] for frame in frames.values()], axis=0)
            print(f"{name:12s}{stage:10s}{median[0]:12.3f}{median[1]:+12.3f}{median[2]:9.3f}{median[3]:+12.2f}{median[4]:9.2f}{median[5]:8.0%}")  # fmt: skip
        print(f"{name:12s}passed    {np.median([frame['passed'] for frame in frames.values()]):12.0%}")
    print(
        "\npaired with the shipped model, median over frames (95 %): correlation, |phase bias| rad, |depth bias| depths of field"
    )
    for name, frames in list(scores.items())[1:]:
        for stage in STAGES:
            before, after = (np.array([f[stage] for f in s.values()]) for s in (scores["shipped"], frames))
            pairs = np.stack([after[:, 0] - before[:, 0], *(np.abs(after[:, k]) - np.abs(before[:, k]) for k in (1, 3))])
            draws = np.median(pairs[:, rng.integers(pairs.shape[1], size=(2000, pairs.shape[1]))], axis=2)
            cells = [
                f"{np.median(row):+.3f} ({np.percentile(draw, 2.5):+.3f} to {np.percentile(draw, 97.5):+.3f})"
                for row, draw in zip(pairs, draws, strict=True)
            ]
            print(f"{name:12s}{stage:10s}  " + "   ".join(cells))


def main() -> int:
    """Make what is missing, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is made; what is there isn't made again")
    parser.add_argument("--minutes", type=float, default=0.0, help="CPU minutes of training as well (default: none)")
    args = parser.parse_args()
    work: Path = args.work
    work.mkdir(parents=True, exist_ok=True)
    start = ModelStore(ARTEFACTS).find("hidef")
    transfer = work / f"{start.model.stem}.npz"
    if not transfer.exists():
        calibrate(start, transfer)
    bundles = {"shipped": start, "depths": adapt(transfer, start, work, 0.0)}
    print(f"weak lens: {bundles['depths'].manifest.weak_lens}")
    if args.minutes:
        bundles["trained"] = adapt(transfer, start, work, args.minutes)
    slide = Slide()
    scores: dict[str, dict[int, dict[str, list[float]]]] = {}
    for name, bundle in bundles.items():
        pipeline = pipeline_of(bundle)
        scores[name] = {nominal_mm: score(slide, pipeline, nominal_mm) for nominal_mm in DISTANCES_UM}
    (work / "scores.json").write_text(json.dumps(scores))
    report(scores)
    return 0


if __name__ == "__main__":
    sys.exit(main())
