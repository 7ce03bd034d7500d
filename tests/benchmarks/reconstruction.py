"""What one pass of the network and a few iterations of physics give, beside classical methods that are told the answer.

Fields by multi-slice on a grid twice as fine, with the sensor's noise (models/recipes/hidef/evaluation.py); the shipped int8
file through the pipeline's own segmentation and depths. Particle-local: amplitude PSNR (mean), complex error and complex
correlation (medians), by defocus; the 95 % bootstrap interval of the complex error over all depths; cost a particle in int8
passes per megapixel. 'oracle' is told each particle's true depth (and outline, where it says so). Eight heights: 60 um apart,
registered, each particle at its true depth. Below: what is lost by quantisation is in the card; misses, ghosts and depth
errors of particles of 8 um and more.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.reconstruction [--fields 4] [--heights]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth, estimate_depth
from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import Reconstruction, reconstruct
from device.analysis.refine import Refined, RefineSettings, refine
from device.analysis.segment import Segment, segment
from device.config import load_config
from device.frames import Hologram
from device.optics.multiheight import retrieve_multi_height
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate, propagate
from device.rig.models import build_pipeline, model_store
from device.twin.forward import multislice_hologram
from device.twin.scene import SimulatedParticle
from models.recipes.hidef.evaluation import BORDER_PX, FIELD_PX, GEOMETRY, LIGHT, ScoringField, field_metrics, scoring_fields
from models.training.quality import bootstrap_median

Complex = NDArray[np.complex64]
OFFSETS_UM = (-150.0, -100.0, -50.0, 0.0, 50.0, 100.0, 150.0)
NOISE = 0.03
SOMETHING = 0.1
"""Least |field - 1| of a true particle."""
HEIGHTS_UM = tuple(60.0 * k for k in range(8))
PITCH_UM = GEOMETRY.pitch_um


class Tally:
    """Scores by (method, defocus); depth errors by stage; counts."""

    def __init__(self) -> None:
        self.scores: dict[tuple[str, float], list[dict[str, float]]] = defaultdict(list)
        self.depth_errors_um: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.true = self.missed = self.ghosts = self.fragments = 0

    def add(self, name: str, offset_um: float, scene: ScoringField, boxes: list[Complex], cost: float) -> None:
        for box, field, inner in zip(scene.boxes, boxes, scene.inner, strict=True):
            if inner:
                self.scores[name, offset_um].append(field_metrics(field, scene.truth[box]) | {"cost": cost})


def matched(scene: ScoringField, parts: list[Segment]) -> Iterator[tuple[int, SimulatedParticle]]:
    """Indices of parts with the true particle each is: the nearest silhouette's middle within a third of its diameter and 3 um."""
    for k, part in enumerate(parts):
        y_um = (part.y_px + part.mask.shape[0] / 2) * PITCH_UM
        x_um = (part.x_px + part.mask.shape[1] / 2) * PITCH_UM
        off_um = [np.hypot(float(t["x_um"]) - x_um, float(t["y_um"]) - y_um) for t in (p.truth() for p in scene.particles)]
        nearest = int(np.argmin(off_um))
        if off_um[nearest] < scene.particles[nearest].esd_um / 3 + 3:
            yield k, scene.particles[nearest]


def is_inner(part: Segment) -> bool:
    """Whether the part lies away from the border, as what is scored does."""
    middle = (part.y_px + part.mask.shape[0] / 2, part.x_px + part.mask.shape[1] / 2)
    return all(BORDER_PX <= m <= FIELD_PX - BORDER_PX for m in middle)


def refocused(field: Complex, scene: ScoringField) -> list[Complex]:
    """Every particle's box at that particle's true depth, from a field at the focal plane."""
    out: list[Complex] = []
    for particle, box in zip(scene.particles, scene.boxes, strict=True):
        off_um = GEOMETRY.distance_um - particle.z_um
        moved = propagate(field, pitch_um=PITCH_UM, wavelength_um=GEOMETRY.wavelength_um, distance_um=off_um, margin_px=0)
        out.append(moved[box])
    return out


def told_parts(scene: ScoringField) -> tuple[list[Segment], list[Depth]]:
    """True outlines and depths."""
    parts = [Segment(box[1].start, box[0].start, np.abs(scene.truth[box] - 1) > 0.1, touches_edge=False) for box in scene.boxes]
    return parts, [Depth(p.z_um, 1.0) for p in scene.particles]


def eight_heights(scene: ScoringField, rng: np.random.Generator) -> Complex:
    """The field at the focal plane from eight noisy holograms."""
    frames, geometries = [], []
    for more_um in HEIGHTS_UM:
        raised = [replace(p, z_um=p.z_um + more_um) for p in scene.particles]
        clean = multislice_hologram((FIELD_PX, FIELD_PX), PITCH_UM, raised, LIGHT, margin_px=160)
        frames.append((clean * (1 + NOISE / 2 * rng.standard_normal(clean.shape))).astype(np.float32))
        geometries.append(GEOMETRY.at(GEOMETRY.distance_um + more_um))
    return retrieve_multi_height(frames, geometries).field


def count(scene: ScoringField, parts: list[Segment], depths: dict[str, list[Depth]], tally: Tally) -> None:
    pairs = dict(matched(scene, parts))
    large = [p for p, inner in zip(scene.particles, scene.inner, strict=True) if inner and p.esd_um >= 8]
    tally.true += len(large)
    tally.missed += sum(all(p is not q for q in pairs.values()) for p in large)
    for part in (part for k, part in enumerate(parts) if k not in pairs and is_inner(part)):
        there = scene.truth[part.y_px : part.y_px + part.mask.shape[0], part.x_px : part.x_px + part.mask.shape[1]]
        if (np.abs(there - 1)[part.mask] > SOMETHING).mean() > 0.5:
            tally.fragments += 1
        else:
            tally.ghosts += 1
    for k, particle in pairs.items():
        if particle.esd_um >= 8 and is_inner(parts[k]):
            for name, estimates in depths.items():
                error_um = estimates[k].z_um - particle.z_um
                tally.depth_errors_um[name].append((error_um, error_um / estimates[k].uncertainty_um))


def score(scene: ScoringField, pipeline: Pipeline, offset_um: float, tally: Tally, *, heights: bool) -> None:
    hologram = Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC))
    amplitude = np.sqrt(np.maximum(scene.intensity, 0))
    started = time.perf_counter()
    result: Reconstruction = reconstruct(hologram, pipeline.network, whole=True)
    pass_s_per_mpx = (time.perf_counter() - started) / FIELD_PX**2 * 1e6
    start = backpropagate(scene.intensity, GEOMETRY)
    tally.add("back-propagation, oracle depth", offset_um, scene, refocused(start, scene), 0.0)
    sparse = retrieve_single_shot(scene.intensity, GEOMETRY)
    tally.add("sparse iterative, focal plane", offset_um, scene, [sparse[box] for box in scene.boxes], 0.0)
    tally.add("sparse iterative, oracle depth", offset_um, scene, refocused(sparse, scene), 0.0)
    parts, depths = told_parts(scene)
    settings = RefineSettings(60, depth_steps=0, support_margin_px=1)
    told = refine(amplitude, np.ones_like(start), parts, depths, GEOMETRY, settings)
    tally.add("iterative, oracle depth, outline", offset_um, scene, [told.field[box] for box in scene.boxes], 0.0)
    if heights:
        field = eight_heights(scene, np.random.default_rng(int(offset_um) + 1000))
        tally.add("eight heights, oracle depth", offset_um, scene, refocused(field, scene), 0.0)
    tally.add("network, one pass", offset_um, scene, [result.field[box] for box in scene.boxes], 0.0)
    parts = segment(result.field, pipeline.settings.segmentation, start=result.start)
    first = [estimate_depth(result.start, result.field, part, GEOMETRY) for part in parts]
    true = list(first)
    for k, particle in matched(scene, parts):
        true[k] = Depth(particle.z_um, 1.0)
    gain = pipeline.ring_gain
    runs = [("and 8 iterations, no look", first, RefineSettings(), None)]
    if gain:
        runs += [
            ("second look", first, RefineSettings(0), gain),
            ("second look, told the depth", true, RefineSettings(0), gain),
        ]
    runs += [("and 4 iterations", first, RefineSettings(4), gain), ("and 8 iterations", first, RefineSettings(), gain)]
    runs += [("and 8, told the depth", true, RefineSettings(depth_steps=0), gain)]
    refined: Refined | None = None
    for name, given, settings, looked in runs:
        started = time.perf_counter()
        now = refine(amplitude, result.field, parts, given, GEOMETRY, settings, gain=looked)
        cost = (time.perf_counter() - started) / max(len(parts), 1) / pass_s_per_mpx
        tally.add(name, offset_um, scene, [now.field[box] for box in scene.boxes], cost)
        refined = now if name == "and 8 iterations" else refined
    if abs(offset_um) <= 100 and refined is not None:
        count(scene, parts, {"first": first, "sought": list(refined.sought), "refined": list(refined.depths)}, tally)


def report(tally: Tally) -> None:
    print("PSNR dB / complex error / complex correlation, by defocus in um")
    print(f"{'':34s}" + "".join(f"{o:>+22.0f}" for o in OFFSETS_UM) + f"{'+-100: error (95 %)':>26s}{'cost':>8s}")
    for name in dict.fromkeys(key[0] for key in tally.scores):
        cells: list[str] = []
        for offset_um in OFFSETS_UM:
            rows = tally.scores[name, offset_um]
            psnr = np.mean([r["amplitude_psnr_db"] for r in rows])
            error, correlation = (np.median([r[k] for r in rows]) for k in ("complex_error", "complex_correlation"))
            cells.append(f"{f'{psnr:.1f} / {error:.3f} / {correlation:.3f}':>22s}")
        inside = [r for o in OFFSETS_UM if abs(o) <= 100 for r in tally.scores[name, o]]
        middle, low, high = bootstrap_median([r["complex_error"] for r in inside])
        cost = np.mean([r["cost"] for r in inside])
        print(f"{name:34s}" + "".join(cells) + f"{f'{middle:.3f} ({low:.3f} to {high:.3f})':>26s}{cost:8.3f}")
    print(
        f"\nwithin 100 um, 8 um and more: {tally.true} particles, {tally.missed} missed, {tally.ghosts} ghosts "
        f"(nothing there), {tally.fragments} fragments (a piece of a particle)"
    )
    for name, errors in tally.depth_errors_um.items():
        error, relative = np.array(errors).T
        print(
            f"depth {name:8s} median error {np.median(np.abs(error)):.2f} um, 90th percentile {np.quantile(np.abs(error), 0.9):.1f}, "
            f"bias {np.median(error):+.2f}; within 1 and 2 stated deviations {np.mean(np.abs(relative) < 1):.2f}, "
            f"{np.mean(np.abs(relative) < 2):.2f} of {len(error)}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=4, help="fields of 16 particles at each depth")
    parser.add_argument("--heights", action="store_true", help="eight heights too: ten times as long")
    args = parser.parse_args()
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    tally = Tally()
    for offset_um in OFFSETS_UM:
        for scene in scoring_fields(args.fields, 4_040 + round(offset_um), offset_um):
            score(scene, pipeline, offset_um, tally, heights=args.heights)
    report(tally)
    return 0


if __name__ == "__main__":
    sys.exit(main())
