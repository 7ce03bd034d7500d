"""What a few iterations of physics add to one pass of the network: by defocus, on a foreign forward model.

Fields by multi-slice on a grid twice as fine, with the sensor's noise (models/recipes/hidef_evaluation.py); the shipped int8
file through the pipeline's own segmentation and depths, no oracle, but for the last row, which is told the true depth.
Particle-local: amplitude PSNR (mean), complex error and complex correlation (medians); the 95 % bootstrap interval of the
complex error over all depths. Cost in int8 passes per megapixel, a particle.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.refinement [--fields 4]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime

import numpy as np

from device.analysis.pipeline import Pipeline
from device.analysis.reconstruct import reconstruct
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import Segment, segment
from device.app import build_pipeline, model_store
from device.config import load_config
from device.frames import Hologram
from models.recipes.hidef_evaluation import FIELD_PX, GEOMETRY, ScoringField, field_metrics, scoring_fields
from models.training.quality import bootstrap_median

OFFSETS_UM = (-100.0, -50.0, 0.0, 50.0, 100.0)
ITERATIONS = (2, 4, 8)


def true_depths(scene: ScoringField, parts: list[Segment], depths: list[float]) -> list[float]:
    """Of the nearest true particle within 15 pixels, else the estimate."""
    answer: list[float] = []
    for part, depth in zip(parts, depths, strict=True):
        y, x = part.y_px + part.mask.shape[0] / 2, part.x_px + part.mask.shape[1] / 2
        away = [np.hypot(p.x_um / GEOMETRY.pitch_um - x, p.y_um / GEOMETRY.pitch_um - y) for p in scene.particles]
        nearest = int(np.argmin(away))
        answer.append(scene.particles[nearest].z_um if away[nearest] < 15 else depth)
    return answer


def score(
    scene: ScoringField, pipeline: Pipeline, offset_um: float, table: dict[tuple[str, float], list[dict[str, float]]]
) -> None:
    hologram = Hologram(scene.intensity, GEOMETRY, 0.03, datetime.now(UTC))
    started = time.perf_counter()
    result = reconstruct(hologram, pipeline.network, whole=True)
    pass_s_per_mpx = (time.perf_counter() - started) / FIELD_PX**2 * 1e6
    parts = segment(result.field, pipeline.settings.segmentation, start=result.start)
    depths = [pipeline._depth(result, part, GEOMETRY).z_um for part in parts]
    amplitude = np.sqrt(scene.intensity)
    fields = {"network alone": (result.field, 0.0)}
    told = true_depths(scene, parts, depths)
    runs = [(f"and {n} iterations", depths, n) for n in ITERATIONS] + [("and 4, told the depth", told, 4)]
    for name, distances, iterations in runs:
        started = time.perf_counter()
        refined = refine(amplitude, result.field, parts, distances, GEOMETRY, RefineSettings(iterations))
        cost = (time.perf_counter() - started) / max(len(parts), 1) / pass_s_per_mpx
        fields[name] = (refined.field, cost)
    for name, (field, cost) in fields.items():
        for box in scene.boxes:
            table[name, offset_um].append(field_metrics(field[box], scene.truth[box]) | {"cost": cost})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=4, help="fields of eight particles at each depth")
    args = parser.parse_args()
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    table: dict[tuple[str, float], list[dict[str, float]]] = defaultdict(list)
    for offset_um in OFFSETS_UM:
        for scene in scoring_fields(args.fields, 4_040, offset_um):
            score(scene, pipeline, offset_um, table)
    print("PSNR dB / complex error / complex correlation, by defocus in um")
    print(f"{'':24s}" + "".join(f"{o:>+22.0f}" for o in OFFSETS_UM) + f"{'all: error (95 %)':>26s}{'cost':>8s}")
    for name in dict.fromkeys(key[0] for key in table):
        cells: list[str] = []
        for offset_um in OFFSETS_UM:
            rows = table[name, offset_um]
            psnr = np.mean([r["amplitude_psnr_db"] for r in rows])
            error, correlation = (np.median([r[k] for r in rows]) for k in ("complex_error", "complex_correlation"))
            cells.append(f"{f'{psnr:.1f} / {error:.3f} / {correlation:.3f}':>22s}")
        everything = [r for o in OFFSETS_UM for r in table[name, o]]
        middle, low, high = bootstrap_median([r["complex_error"] for r in everything])
        cost = np.mean([r["cost"] for r in everything])
        print(f"{name:24s}" + "".join(cells) + f"{f'{middle:.3f} ({low:.3f} to {high:.3f})':>26s}{cost:8.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
