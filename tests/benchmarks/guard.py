"""The guard against hallucinations: does it tell faults put into what the network gave from what it got right?

Frames by multi-slice on a grid twice as fine with the sensor's noise, particles at depths over +-100 um; the shipped int8
file, segmentation, depth, refinement and guard. Then, in turn:

added     a particle's field from another frame, where nothing is
deleted   a particle taken out; scored by the region around it (unexplained_map), with it and without it
distance  a particle published at a wrong distance (refinement may bend its field to that distance, but not move it)
shape     another class's field at the same place, resized to the same size

AUROC of the guard's chi2 (deleted: of the region's excess) for faulty against right detections, 95 % by bootstrap, by size of
the particle and of the error. Right is a detection whose distance is right within 10 um and whose one-pass field correlates
with the truth by `SAME_FIELD` or more; the pipeline's own faults are scored apart. Blind spots, as rules:

  * particles under LEAST_PX pixels across, and those that the border cuts;
  * distances wrong by less than five times wavelength / NA^2, NA = wavelength / (2 pitch);
  * fields that correlate with the true one by SAME_FIELD or more: the network's own error

(models/training/blind_spots.py, which the model card prints). Below: false alarms on right detections, what refinement mends
by itself, and processor time with and without the guard, in turns.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.guard [--frames 24]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from unittest import mock

import cv2
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from device.analysis import pipeline as pipeline_module
from device.analysis import refine as refine_module
from device.analysis.depth import Depth, estimate_depth
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import Reconstruction, reconstruct
from device.analysis.refine import Misfit, Refined, RefineSettings, refine
from device.analysis.segment import Segment, segment
from device.analysis.verify import unexplained_map, verify
from device.config import load_config
from device.frames import Hologram
from device.records import QARTOD_FAIL, QARTOD_PASS, Consistency
from device.rig.models import build_pipeline, model_store
from device.twin.scene import SimulatedParticle, draw_particle
from models.recipes.hidef import evaluation as hidef_evaluation
from models.recipes.hidef.evaluation import FIELD_PX, GEOMETRY, LABELS, ScoringField, field_metrics
from models.training.blind_spots import LEAST_PX, SAME_FIELD, blind_distance_um, depth_of_field_um
from models.training.quality import wilson_interval

Complex = NDArray[np.complex64]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]

RIGHT_WITHIN_UM = 10.0
BLIND_UM = blind_distance_um(GEOMETRY)
OFFSETS_UM = (6.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0)
ELECTRONS = 0.6 * 4700.0
NOISE = math.sqrt(2 * (1 / ELECTRONS + (3 / ELECTRONS) ** 2 + (4.9 / ELECTRONS) ** 2 / 12))
BELIEVED = RefineSettings(depth_steps=0)
BLOCK_PX = 32


@dataclass(frozen=True)
class Row:
    """One judged detection or region."""

    kind: str
    esd_px: float
    score: float
    """What the guard publishes: chi2; of a region: its excess."""
    flagged: bool
    failed: bool = False
    error: float = 0.0
    """Of a distance: um. Of a shape: complex correlation with the truth."""


@dataclass(frozen=True)
class Judged:
    """One frame after refinement and guard."""

    parts: list[Segment]
    first: list[Depth]
    refined: Refined
    consistencies: list[Consistency]


@dataclass(frozen=True)
class Donor:
    """A particle as the network gave it, to be put elsewhere."""

    label: str
    frame: int
    esd_px: float
    crop: Complex
    mask: Mask


@dataclass(frozen=True)
class Frame:
    """A frame, its one pass and what the pipeline makes of it."""

    scene: ScoringField
    hologram: Hologram
    result: Reconstruction
    judged: Judged
    owners: dict[int, SimulatedParticle]
    """True particle of every part that is one."""


def scenes(count: int, seed: int, per_field: int = 8) -> Iterator[ScoringField]:
    rng = np.random.default_rng(seed)
    side_um = FIELD_PX * GEOMETRY.pitch_um
    depth_um = (GEOMETRY.distance_um - 100.0, GEOMETRY.distance_um + 100.0)
    for _ in range(count):
        particles = [
            draw_particle(
                rng, LABELS[int(rng.integers(len(LABELS)))], field_um=(side_um, side_um), depth_um=depth_um,
                voxel_um=GEOMETRY.pitch_um / 2,
            )
            for _ in range(per_field)
        ]  # fmt: skip
        yield hidef_evaluation._render(rng, particles)


def judge(
    pipeline: Pipeline, hologram: Hologram, result: Reconstruction, parts: list[Segment] | None = None,
    told: list[Depth] | None = None,
) -> Judged:  # fmt: skip
    """As the pipeline does it; `told` depths are believed."""
    if parts is None:
        parts = segment(result.field, pipeline.settings.segmentation, start=result.start)
    first = [estimate_depth(result.start, result.field, part, GEOMETRY) for part in parts]
    amplitude = np.sqrt(np.maximum(hologram.intensity, 0), dtype=np.float32)
    settings = RefineSettings(pipeline.settings.refine_iterations) if told is None else BELIEVED
    refined = refine(amplitude, result.field, parts, told or first, GEOMETRY, settings, noise=NOISE, gain=pipeline.ring_gain)
    found = zip(refined.misfits, first, refined.sought, strict=True)
    checks = [verify(m, NOISE, (before, now), GEOMETRY.distance_um, pipeline.settings.verification) for m, before, now in found]
    return Judged(parts, first, refined, checks)


def box_of(part: Segment) -> Box:
    return slice(part.y_px, part.y_px + part.mask.shape[0]), slice(part.x_px, part.x_px + part.mask.shape[1])


def esd_px(part: Segment) -> float:
    return 2 * math.sqrt(float(part.mask.sum()) / math.pi)


def owner(scene: ScoringField, part: Segment) -> SimulatedParticle | None:
    """The true particle a part is: the nearest within a third of its diameter and 3 um."""
    y_um = (part.y_px + part.mask.shape[0] / 2) * GEOMETRY.pitch_um
    x_um = (part.x_px + part.mask.shape[1] / 2) * GEOMETRY.pitch_um
    nearest = min(scene.particles, key=lambda p: np.hypot(p.x_um - x_um, p.y_um - y_um), default=None)
    if nearest is None or np.hypot(nearest.x_um - x_um, nearest.y_um - y_um) > nearest.esd_um / 3 + 3:
        return None
    return nearest


def row(kind: str, size_px: float, check: Consistency, error: float = 0.0) -> Row:
    return Row(kind, size_px, check.chi2 or 0.0, check.flag != QARTOD_PASS, check.flag == QARTOD_FAIL, error)


def region_score(pipeline: Pipeline, judged: Judged, part: Segment) -> float:
    """The largest excess of the blocks that meet a particle's box."""
    excess = unexplained_map(judged.refined, NOISE, pipeline.settings.verification, block_px=BLOCK_PX)
    half = BLOCK_PX // 2
    rows, columns = (slice(max(s.start // half - 1, 0), s.stop // half + 1) for s in box_of(part))
    return float(excess[rows, columns].max())


class Campaign:
    """Faults put in, answers written down."""

    def __init__(self, pipeline: Pipeline, frames: list[Frame], seed: int = 0) -> None:
        self.pipeline = pipeline
        self.frames = frames
        self.rng = np.random.default_rng(seed)
        self.rows: list[Row] = []
        self.mended = [0, 0]
        self.donors: list[Donor] = []
        for number, frame in enumerate(frames):
            for k, particle in frame.owners.items():
                part = frame.judged.parts[k]
                if not part.touches_edge and self._same(frame, k):
                    crop = np.where(part.mask, frame.result.field[box_of(part)], np.complex64(1))
                    self.donors.append(Donor(particle.label, number, esd_px(part), crop, part.mask))

    def _same(self, frame: Frame, k: int) -> bool:
        box = box_of(frame.judged.parts[k])
        return field_metrics(frame.result.field[box], frame.scene.truth[box])["complex_correlation"] >= SAME_FIELD

    def run(self) -> None:
        for number, frame in enumerate(self.frames):
            whole = [k for k in frame.owners if not frame.judged.parts[k].touches_edge]
            self._untouched(frame)
            for _ in range(2):
                self._added(number, frame)
            for k in self._some(whole, 3):
                self._deleted(frame, k)
            for k in self._some(whole, 4):
                self._distance(frame, k)
            for k in self._some(whole, 4):
                self._shape(frame, k)

    def _some(self, indices: Sequence[int], most: int) -> list[int]:
        return [int(k) for k in self.rng.permutation(indices)[:most]]

    def _untouched(self, frame: Frame) -> None:
        judged = frame.judged
        for k, part in enumerate(judged.parts):
            size_px, check = esd_px(part), judged.consistencies[k]
            particle = frame.owners.get(k)
            if part.touches_edge:
                self.rows.append(row("at the border", size_px, check))
            elif particle is None:
                self.rows.append(row("own: nothing there", size_px, check))
            elif abs(judged.refined.depths[k].z_um - particle.z_um) > RIGHT_WITHIN_UM:
                self.rows.append(row("own: wrong distance", size_px, check))
            elif not self._same(frame, k):
                self.rows.append(row("own: wrong shape", size_px, check))
            else:
                self.rows.append(row("right", size_px, check))
                self._region("region", judged, part)

    def _region(self, kind: str, judged: Judged, part: Segment) -> None:
        excess = region_score(self.pipeline, judged, part)
        limit = self.pipeline.settings.verification.unexplained_above
        self.rows.append(Row(kind, esd_px(part), excess, excess > limit))

    def _added(self, number: int, frame: Frame) -> None:
        others = [d for d in self.donors if d.frame != number]
        donor = others[int(self.rng.integers(len(others)))]
        height, width = donor.mask.shape
        near = cv2.dilate((np.abs(frame.scene.truth - 1) > 0.05).astype(np.uint8), np.ones((17, 17), np.uint8)).astype(bool)
        for _ in range(100):
            top, left = (int(self.rng.integers(8, FIELD_PX - 8 - n)) for n in (height, width))
            place = (slice(top, top + height), slice(left, left + width))
            if not near[place].any():
                field = frame.result.field.copy()
                field[place] = donor.crop
                self._judged_at("added", frame, field, place)
                return

    def _judged_at(self, kind: str, frame: Frame, field: Complex, place: Box, error: float = 0.0) -> None:
        """The detection that a changed field makes at a place, if it makes one."""
        judged = judge(self.pipeline, frame.hologram, replace(frame.result, field=field))
        middle = [(s.start + s.stop) / 2 for s in place]
        for part, check in zip(judged.parts, judged.consistencies, strict=True):
            if all(s.start <= m < s.stop for s, m in zip(box_of(part), middle, strict=True)):
                self.rows.append(row(kind, esd_px(part), check, error))
                return

    def _deleted(self, frame: Frame, k: int) -> None:
        parts = frame.judged.parts
        judged = judge(self.pipeline, frame.hologram, frame.result, parts[:k] + parts[k + 1 :])
        self._region("deleted", judged, parts[k])

    def _distance(self, frame: Frame, k: int) -> None:
        off_um = float(self.rng.choice(OFFSETS_UM) * self.rng.choice([-1, 1]))
        judged, part = frame.judged, frame.judged.parts[k]
        told = list(judged.refined.depths)
        told[k] = Depth(frame.owners[k].z_um + off_um, told[k].uncertainty_um)
        published = judge(self.pipeline, frame.hologram, frame.result, judged.parts, told)
        self.rows.append(row("distance", esd_px(part), published.consistencies[k], abs(off_um)))
        if abs(off_um) >= BLIND_UM:
            given = list(judged.first)
            given[k] = told[k]
            amplitude = np.sqrt(np.maximum(frame.hologram.intensity, 0), dtype=np.float32)
            settings = RefineSettings(self.pipeline.settings.refine_iterations)
            sought = refine(
                amplitude,
                frame.result.field,
                judged.parts,
                given,
                GEOMETRY,
                settings,
                noise=NOISE,
                gain=self.pipeline.ring_gain,
            )
            self.mended[0] += abs(sought.depths[k].z_um - frame.owners[k].z_um) <= RIGHT_WITHIN_UM
            self.mended[1] += 1

    def _shape(self, frame: Frame, k: int) -> None:
        part, particle = frame.judged.parts[k], frame.owners[k]
        size_px = esd_px(part)
        others = [d for d in self.donors if d.label != particle.label and 0.6 < d.esd_px / size_px < 1.6]
        if not others:
            return
        donor = others[int(self.rng.integers(len(others)))]
        scale = size_px / donor.esd_px
        height, width = (max(round(n * scale), 3) for n in donor.mask.shape)
        channels = (donor.crop.real, donor.crop.imag)
        real, imaginary = (
            cv2.resize(np.ascontiguousarray(c), (width, height), interpolation=cv2.INTER_LINEAR) for c in channels
        )
        old = box_of(part)
        top, left = (old[0].start + old[0].stop - height) // 2, (old[1].start + old[1].stop - width) // 2
        if min(top, left) < 0 or top + height > FIELD_PX or left + width > FIELD_PX:
            return
        gone = np.zeros(frame.result.field.shape, np.uint8)
        gone[old] = part.mask
        field = np.where(cv2.dilate(gone, np.ones((9, 9), np.uint8)) > 0, np.complex64(1), frame.result.field)
        place = (slice(top, top + height), slice(left, left + width))
        field[place] = np.where(np.hypot(real - 1, imaginary) > 0.02, real + 1j * imaginary, field[place])
        both = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(old, place, strict=True))
        correlation = field_metrics(field[both], frame.scene.truth[both])["complex_correlation"]
        self._judged_at("shape", frame, field, old, correlation)


def auroc(faulty: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    """Probability that a faulty one scores higher than a right one (Mann-Whitney)."""
    ranks = scipy.stats.rankdata(np.concatenate([faulty, right]))
    count = len(faulty)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(right)))


def auroc_text(faulty: Sequence[Row], right: Sequence[Row], draws: int = 500) -> str:
    if len(faulty) < 3:
        return f"({len(faulty)})"
    a, b = np.array([r.score for r in faulty]), np.array([r.score for r in right])
    rng = np.random.default_rng(0)
    spread = [auroc(rng.choice(a, len(a)), rng.choice(b, len(b))) for _ in range(draws)]
    low, high = np.percentile(spread, [2.5, 97.5])
    return f"{auroc(a, b):.3f} ({low:.3f} to {high:.3f}; {len(a)})"


SIZES = {"under 8 px": (0.0, 8.0), "8 to 16 px": (8.0, 16.0), "over 16 px": (16.0, math.inf), "8 px and more": (8.0, math.inf)}


def is_blind(fault: Row) -> bool:
    """By the rules of the module's text."""
    near = fault.kind == "distance" and fault.error < BLIND_UM
    alike = fault.kind == "shape" and fault.error >= SAME_FIELD
    return fault.esd_px < LEAST_PX or near or alike


def report(campaign: Campaign) -> None:
    rows = campaign.rows

    def of(kind: str, size: tuple[float, float] = (0.0, math.inf)) -> list[Row]:
        return [r for r in rows if r.kind == kind and size[0] <= r.esd_px < size[1]]

    groups: list[tuple[str, str, tuple[float, float]]] = [
        ("added", "added", (0, math.inf)),
        ("deleted", "deleted", (0, math.inf)),
    ]
    groups += [(f"distance {o:g} um", "distance", (o, o + 1)) for o in OFFSETS_UM]
    limit_um = BLIND_UM
    groups += [(f"distance {limit_um:.0f} um and more", "distance", (limit_um, math.inf))]
    steps = ((0.0, 0.7), (0.7, SAME_FIELD), (SAME_FIELD, 0.95), (0.95, 1.01))
    groups += [(f"shape, correlation {low:g} to {min(high, 1):g}", "shape", (low, high)) for low, high in steps]
    print("AUROC (95 %; faults) against right detections of the same size")
    print(f"{'':34s}" + "".join(f"{name:>30s}" for name in SIZES))
    for name, kind, (low, high) in groups:
        cells: list[str] = []
        for size in SIZES.values():
            faulty = [r for r in of(kind, size) if low <= r.error < high]
            cells.append(auroc_text(faulty, of("region" if kind == "deleted" else "right", size)))
        print(f"{name:34s}" + "".join(f"{cell:>30s}" for cell in cells))
    print(
        f"\noutside the blind spots ({LEAST_PX:g} px and more; distance {limit_um:.0f} um and more; correlation under {SAME_FIELD:g}); bar 0.99"
    )
    clear = (LEAST_PX, math.inf)
    seen = [r for r in rows if r.kind in {"added", "distance", "shape"} and not is_blind(r)]
    for kind in ("added", "deleted", "distance", "shape"):
        faulty = [r for r in of(kind) if not is_blind(r)]
        caught = sum(r.flagged for r in faulty)
        print(
            f"  {kind:12s}{auroc_text(faulty, of('region' if kind == 'deleted' else 'right', clear))}; flagged {caught} of {len(faulty)}"
        )
    print(f"  {'all but deleted':12s} {auroc_text(seen, of('right', clear))}")
    print("\nflags without a fault")
    for kind, size in (("right", clear), ("right", (0, LEAST_PX)), ("region", clear), ("region", (0, LEAST_PX))):
        now = of(kind, size)
        flagged, failed = sum(r.flagged for r in now), sum(r.failed for r in now)
        low, high = wilson_interval(flagged, len(now))
        which = f"{kind}, {'8 px and more' if size == clear else 'under 8 px'}"
        print(
            f"  {which:24s}{flagged} of {len(now)} flagged ({flagged / max(len(now), 1):.1%}; {low:.1%} to {high:.1%}), {failed} fail"
        )
    quantiles = np.quantile([r.score for r in of("right", clear)], [0.5, 0.9, 0.95, 0.99])
    print(
        f"  chi2 of right ones, 8 px and more: median {quantiles[0]:.2f}, 90th, 95th, 99th percentile "
        + ", ".join(f"{q:.2f}" for q in quantiles[1:])
    )
    print("\nthe pipeline's own faults, nothing put in")
    for kind in ("own: nothing there", "own: wrong distance", "own: wrong shape", "at the border"):
        now = of(kind)
        print(f"  {kind:24s}{sum(r.flagged for r in now)} of {len(now)} flagged; AUROC {auroc_text(now, of('right'))}")
    mended, tried = campaign.mended
    print(
        f"refinement, given a distance {limit_um:.0f} um and more wrong, mends it to within {RIGHT_WITHIN_UM:g} um: {mended} of {tried}"
    )


def extra_time(pipeline: Pipeline, frames: Sequence[Frame], rounds: int = 7) -> None:
    """The whole analysis with the guard and with every part of it taken out."""
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    nothing = Misfit(0.0, 0.0, 1)
    for number in range(rounds + 1):
        for name, spent in seconds.items():
            with (
                mock.patch.object(refine_module, "_misfit", refine_module._misfit if name == "with" else lambda *_: nothing),
                mock.patch.object(pipeline_module, "verify", verify if name == "with" else lambda *_: Consistency()),
                mock.patch.object(
                    pipeline_module, "unexplained_regions",
                    pipeline_module.unexplained_regions if name == "with" else lambda *_: 0,
                ),
            ):  # fmt: skip
                started = time.process_time()
                for frame in frames:
                    pipeline.analyse(frame.hologram)
                if number:
                    spent.append(time.process_time() - started)
    ratios = [a / b - 1 for a, b in zip(seconds["with"], seconds["without"], strict=True)]
    print(
        f"extra time of the guard: {np.median(ratios):+.1%} ({min(ratios):+.1%} to {max(ratios):+.1%}) of the whole analysis; bar 20 %"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24, help="of eight particles")
    parser.add_argument("--seed", type=int, default=20_261)
    args = parser.parse_args()
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    use = pipeline.models.get("reconstruction")
    frames: list[Frame] = []
    for scene in scenes(args.frames, args.seed):
        hologram = Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC))
        result = reconstruct(hologram, pipeline.network)
        judged = judge(pipeline, hologram, result)
        owners = {k: p for k, part in enumerate(judged.parts) if (p := owner(scene, part)) is not None}
        frames.append(Frame(scene, hologram, result, judged, owners))
    shipped = pipeline.analyse(frames[0].hologram).consistencies
    if list(shipped) != frames[0].judged.consistencies:
        print("this benchmark doesn't judge as the pipeline does", file=sys.stderr)
        return 4
    print(f"simulated; {use.name} {use.version}, int8" if use else "no network")
    print(f"{args.frames} frames, seed {args.seed}; depth of field {depth_of_field_um(GEOMETRY):.1f} um")
    campaign = Campaign(pipeline, frames)
    campaign.run()
    report(campaign)
    extra_time(pipeline, frames[:3])
    return 0


if __name__ == "__main__":
    sys.exit(main())
