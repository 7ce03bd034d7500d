"""Depth of isolated beads on recorded slides: `python -m tests.benchmarks.real_depth [--unpaired] [--off-um 0]`.

All beads of a frame lie in one plane. Of `fov1` its distance is known: where the measured field, carried forward, predicts the
frame best (`real_focus`, 'registered'; 'stated' is how far the catalogue's distance lies from it). Isolated are beads 16 px and
more from the next peak of the measured phase and from the border. Frames of unpaired beads have
nominal distances only: their depths are laid against the frame's own focus (`device.optics.autofocus`, itself uncertain by 0.3);
isolated are detections 16 px and more from the next. Everything in depths of field, 4 pitch^2 / wavelength: median error, scatter
(1.48 times the median absolute deviation), root mean square, stated deviation (median), share that lies within 1.96 of it.
'one' is by each particle alone, 'frame' what is reported. '--off-um': the box is told a distance that is so much off.

Last: by what factor the stated deviation would have to grow for 95 % to lie within, of every distance and of all the others.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.depth import Depth, estimate_depth
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import Segment, segment
from device.config import load_config
from device.drivers.recorded import read_frames
from device.frames import Hologram
from device.optics.autofocus import estimate_distance
from device.optics.geometry import Geometry
from device.rig.models import build_pipeline, model_store
from models.training.blind_spots import depth_of_field_um
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM, DISTANCES_UM, true_peaks
from tests.benchmarks.real_focus import BEAD_RANGE_UM, measured_field, registered_distance
from tests.conftest import real_data_folder

ISOLATED_PX = 16.0
MATCH_PX = 4.0
UNIT_UM = depth_of_field_um(Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 10_000.0))
LEAST_PX = 12
"""Pixels of a detection: less is a speck."""


@dataclass(frozen=True)
class Row:
    """One isolated bead, in micrometres."""

    slide: str
    nominal_mm: int
    alone: Depth
    together: Depth
    true_um: float
    stated_um: float
    """By the catalogue."""

    def error(self, stage: str) -> tuple[float, float]:
        """Error and stated deviation."""
        depth = self.alone if stage == "one" else self.together
        return depth.z_um - self.true_um, depth.uncertainty_um


def places(parts: list[Segment]) -> NDArray[np.float64]:
    """Middles (column, row) in pixels, float64 [n, 2]."""
    return np.array([(p.x_px + p.mask.shape[1] / 2, p.y_px + p.mask.shape[0] / 2) for p in parts], np.float64).reshape(-1, 2)


def isolated(places_px: NDArray[np.float64], side_px: int) -> NDArray[np.bool_]:
    """Which are far from all others and from the border."""
    apart = np.hypot(*(places_px[:, None] - places_px[None]).transpose(2, 0, 1)) + np.diag(np.full(len(places_px), np.inf))
    inside = np.all((places_px > ISOLATED_PX) & (places_px < side_px - ISOLATED_PX), axis=1)
    return (apart.min(axis=1) > ISOLATED_PX) & inside


def depths(path: Path, distance_um: float, pipeline: Pipeline) -> tuple[list[Segment], list[Depth], list[Depth]]:
    """Particles of one frame, their depths by themselves and as reported."""
    ready = normalise(next(iter(read_frames(path))).pixels)
    geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um)
    result = reconstruct(Hologram(ready.intensity, geometry, ready.noise, datetime.now(UTC)), pipeline.network)
    parts = segment(result.field, pipeline.settings.segmentation, start=result.start)
    first = [estimate_depth(result.start, result.field, part, geometry, pipeline.settings.depth) for part in parts]
    amplitude = np.sqrt(np.maximum(ready.intensity, 0), dtype=np.float32)
    settings = RefineSettings(pipeline.settings.refine_iterations)
    refined = refine(amplitude, result.field, parts, first, geometry, settings, noise=ready.noise, gain=pipeline.ring_gain)
    return parts, list(refined.sought), list(refined.depths)


def known_plane(data: Path, pipeline: Pipeline, off_um: float, frames_mm: Sequence[int] = tuple(DISTANCES_UM)) -> Iterator[Row]:
    """Beads of the slide whose field was measured."""
    folder = data / "beads_multiheight_gt" / "fov1"
    peaks = true_peaks(folder)
    lone = peaks[isolated(peaks, 256)]
    truth = measured_field(folder)
    for nominal_mm in frames_mm:
        stated_um = DISTANCES_UM[nominal_mm]
        path = folder / f"holo_{nominal_mm:02d}mm.mat"
        true_um = registered_distance(truth, normalise(next(iter(read_frames(path))).pixels).intensity, stated_um)
        parts, alone, together = depths(path, stated_um + off_um, pipeline)
        apart_px = np.hypot(*(lone[:, None] - places(parts)[None]).transpose(2, 0, 1))
        for k in (int(np.argmin(row)) for row in apart_px if row.min() < MATCH_PX):
            yield Row("fov1", nominal_mm, alone[k], together[k], true_um, stated_um)


def unknown_plane(data: Path, pipeline: Pipeline, off_um: float) -> Iterator[Row]:
    """Beads of slides that were recorded once each."""
    for path in sorted((data / "beads_singleheight").glob("*mm/*.mat")):
        nominal_mm = int(path.parent.name.removesuffix("mm"))
        stated_um = 1000.0 * nominal_mm
        parts, alone, together = depths(path, stated_um + off_um, pipeline)
        chosen = [k for k in np.flatnonzero(isolated(places(parts), 256)) if parts[k].mask.sum() >= LEAST_PX]
        ready = normalise(next(iter(read_frames(path))).pixels)
        focus = estimate_distance(ready.intensity, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, stated_um), *BEAD_RANGE_UM)
        for k in chosen:
            yield Row("unpaired", nominal_mm, alone[k], together[k], focus.distance_um, stated_um)


def line(rows: list[Row], stage: str) -> str:
    """One stage's figures."""
    error, stated = np.array([row.error(stage) for row in rows]).T / UNIT_UM
    middle = np.median(error)
    scatter = 1.4826 * np.median(np.abs(error - middle))
    return (
        f"{middle:+6.2f}{scatter:6.2f}{np.sqrt(np.mean(error**2)):6.2f}{np.median(stated):6.2f}"
        f"{np.mean(np.abs(error) < 1.96 * stated):6.0%}"
    )


def growth(rows: list[Row]) -> float:
    """Factor on the stated deviation by which 95 % lie within 1.96 of it (split conformal)."""
    error, stated = np.array([row.error("frame") for row in rows]).T
    level = min(np.ceil((len(rows) + 1) * 0.95) / len(rows), 1.0)
    return float(np.quantile(np.abs(error) / stated, level) / 1.96)


def report(rows: list[Row]) -> None:
    """Print the tables."""
    print(f"{'':16s}{'n':>4s}  stated   {'one: bias scatter rms stated within':36s}frame: the same")
    by_frame: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        by_frame[row.slide, row.nominal_mm].append(row)
    for (slide, nominal_mm), some in by_frame.items():
        stated = np.median([row.stated_um - row.true_um for row in some]) / UNIT_UM
        print(f"{slide:8s}{nominal_mm:5d} mm{len(some):4d}{stated:+8.2f}   {line(some, 'one'):36s}{line(some, 'frame')}")
    for slide in dict.fromkeys(row.slide for row in rows):
        some = [row for row in rows if row.slide == slide]
        print(f"{slide:8s}{'all':>8s}{len(some):4d}{'':8s}   {line(some, 'one'):36s}{line(some, 'frame')}")
    known = [row for row in rows if row.slide == "fov1"]
    print("\nfactor for 95 %, by distance: from the others, and what would then lie within")
    for nominal_mm in DISTANCES_UM:
        others = [row for row in known if row.nominal_mm != nominal_mm]
        factor = growth(others)
        errors = np.array([row.error("frame") for row in known if row.nominal_mm == nominal_mm])
        print(f"{nominal_mm:4d} mm  {factor:.2f}  {np.mean(np.abs(errors[:, 0]) < 1.96 * factor * errors[:, 1]):.0%}")


def main() -> int:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--off-um", type=float, default=0.0)
    parser.add_argument("--unpaired", action="store_true", help="frames of unpaired beads too")
    args = parser.parse_args()
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, classifier_model="", min_esd_um=0.0, max_esd_um=1e6)
    pipeline, _ = build_pipeline(model_store(config), settings, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 12_000.0))
    data = real_data_folder()
    rows = list(known_plane(data, pipeline, args.off_um))
    if args.unpaired:
        rows += unknown_plane(data, pipeline, args.off_um)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
