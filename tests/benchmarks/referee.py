"""The off-line referee: does it tell fields that are there from fields that aren't, also where the guard is blind?

Faults and frames of `tests.benchmarks.guard` (multi-slice, the shipped int8 file), judged as they were given by
`device.analysis.referee`: added, deleted, another class's shape. AUROC by kind, for sizes and correlations inside and outside the
guard's blind spots (models/training/blind_spots.py), 95 % by bootstrap, and how often every verdict was given.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.referee [--frames 8]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from device.analysis.depth import nominal_depth
from device.analysis.reconstruct import reconstruct
from device.analysis.referee import Ruling, referee, unclaimed
from device.analysis.segment import Segment
from device.config import load_config
from device.frames import Hologram
from device.rig.models import build_pipeline, model_store
from models.recipes.hidef.evaluation import GEOMETRY
from models.training.blind_spots import LEAST_PX, SAME_FIELD
from tests.benchmarks.guard import (
    NOISE,
    Box,
    Campaign,
    Complex,
    Frame,
    Judged,
    Row,
    auroc_text,
    box_of,
    esd_px,
    judge,
    owner,
    scenes,
)


class RefereeCampaign(Campaign):
    """The guard's faults, judged by the referee."""

    verdicts: Counter[tuple[str, str]]
    spent_s: float = 0.0

    def run(self) -> None:
        """Right ones, and three kinds of faults."""
        self.verdicts = Counter()
        for number, frame in enumerate(self.frames):
            whole = [k for k in frame.owners if not frame.judged.parts[k].touches_edge]
            right = [k for k in whole if self._same(frame, k)]
            for k in self._some(right, 4):
                self._asked("right", frame, frame.result.field, frame.judged, k)
                self._region("region", frame.judged, frame.judged.parts[k])
            for _ in range(2):
                self._added(number, frame)
            for k in self._some(whole, 2):
                self._deleted(frame, k)
            for k in self._some(whole, 4):
                self._shape(frame, k)
            print(f"frame {number + 1}: {len(self.rows)} judged", file=sys.stderr, flush=True)

    def _judged_at(self, kind: str, frame: Frame, field: Complex, place: Box, error: float = 0.0) -> None:
        judged = judge(self.pipeline, frame.hologram, replace(frame.result, field=field))
        middle = [(s.start + s.stop) / 2 for s in place]
        for k, part in enumerate(judged.parts):
            if all(s.start <= m < s.stop for s, m in zip(box_of(part), middle, strict=True)):
                self._asked(kind, frame, field, judged, k, error)
                return

    def _asked(self, kind: str, frame: Frame, field: Complex, judged: Judged, k: int, error: float = 0.0) -> None:
        """Judge one particle's field as it was given, at the depth found, its neighbours refined."""
        mixed = judged.refined.field.copy()
        box, mask = box_of(judged.parts[k]), judged.parts[k].mask
        mixed[box] = np.where(mask, field[box], mixed[box])
        amplitude = np.sqrt(np.maximum(frame.hologram.intensity, 0), dtype=np.float32)
        started = time.process_time()
        (ruling,) = referee(amplitude, mixed, judged.parts, judged.refined.depths, GEOMETRY, noise=NOISE, asked=[k])
        self.spent_s += time.process_time() - started
        self.verdicts[kind, ruling.verdict] += 1
        self.rows.append(_row(kind, judged.parts[k], ruling, error))

    def _region(self, kind: str, judged: Judged, part: Segment) -> None:
        """What nothing accounts for around a particle."""
        frame = next(
            f for f in self.frames if f.judged is judged or f.judged.parts[0] in judged.parts or part in f.judged.parts
        )
        amplitude = np.sqrt(np.maximum(frame.hologram.intensity, 0), dtype=np.float32)
        z_um = nominal_depth(GEOMETRY).z_um
        left = unclaimed(
            amplitude, judged.refined.field, judged.parts, judged.refined.depths, GEOMETRY, box_of(part), z_um, noise=NOISE
        )
        self.rows.append(Row(kind, esd_px(part), left, False))


def _row(kind: str, part: Segment, ruling: Ruling, error: float) -> Row:
    return Row(kind, esd_px(part), ruling.difference, ruling.verdict != "agreed", ruling.verdict == "disputed", error)


def report(campaign: RefereeCampaign) -> None:
    """AUROC and verdicts."""
    sizes = {"under 8 px": (0.0, LEAST_PX), "8 px and more": (LEAST_PX, math.inf), "all": (0.0, math.inf)}
    groups = [("added", "added", 0.0, math.inf), ("deleted", "deleted", 0.0, math.inf), ("shape", "shape", 0.0, SAME_FIELD)]
    groups += [(f"shape, correlation {SAME_FIELD:g} and more", "shape", SAME_FIELD, math.inf)]
    print("AUROC (95 %; faults) of the referee's difference against right detections of the same size; bar 0.95")
    for name, kind, low, high in groups:
        cells: list[str] = []
        for label, (least, most) in sizes.items():
            faulty = [r for r in campaign.rows if r.kind == kind and low <= r.error < high and least <= r.esd_px < most]
            against = "region" if kind == "deleted" else "right"
            right = [r for r in campaign.rows if r.kind == against and least <= r.esd_px < most]
            cells.append(f"{label} {auroc_text(faulty, right) if right else 'none'}")
        print(f"  {name:34s}" + "   ".join(cells))
    for kind in ("right", "added", "shape"):
        told = {verdict: n for (k, verdict), n in sorted(campaign.verdicts.items()) if k == kind}
        scores = [r.score for r in campaign.rows if r.kind == kind]
        if scores:
            print(f"  {kind}: {told}; difference, median and 90th percentile {np.quantile(scores, [0.5, 0.9]).round(2)}")
    asked = sum(campaign.verdicts.values())
    print(f"  {campaign.spent_s / max(asked, 1):.1f} s of processor time a particle")


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8, help="of eight particles")
    parser.add_argument("--seed", type=int, default=20_271)
    args = parser.parse_args()
    config = load_config(None)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, GEOMETRY)
    frames: list[Frame] = []
    for scene in scenes(args.frames, args.seed):
        hologram = Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC))
        result = reconstruct(hologram, pipeline.network)
        judged = judge(pipeline, hologram, result)
        owners = {k: p for k, part in enumerate(judged.parts) if (p := owner(scene, part)) is not None}
        frames.append(Frame(scene, hologram, result, judged, owners))
    campaign = RefereeCampaign(pipeline, frames)
    campaign.run()
    report(campaign)
    return 0


if __name__ == "__main__":
    sys.exit(main())
