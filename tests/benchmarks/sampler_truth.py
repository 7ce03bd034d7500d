"""The simulated sampler against the twin's truth: `python -m tests.benchmarks.sampler_truth [--frames 200]`.

Fields of 5 to 200 particles, each a frame divided by a frame of the clean window, through the pipeline of the service.
A detection is right where it lies within half a diameter (at least 4 um) of a true particle. Recall is over true
particles of 8 um and more, precision over detections of 8 um and more; within 8 px of the border neither counts.
Everything here is simulated.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.config import load_config
from device.frames import Exposure, Hologram
from device.instrument import load_instrument
from device.rig.models import build_pipeline, model_store
from device.rig.simulated import twin_world
from device.twin.scene import SimulatedParticle as TrueParticle

__all__ = ["Tally", "match", "run"]

LEAST_UM = 8.0
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_BORDER_PX = 8
_LEAST_REACH_UM = 4.0


@dataclass
class Tally:
    """Sums over frames."""

    found: int = 0
    missed: int = 0
    right: int = 0
    false: int = 0
    size_ratios: list[float] = field(default_factory=list)
    depth_errors_um: list[float] = field(default_factory=list)
    depth_pulls: list[float] = field(default_factory=list)
    """Depth error over its stated uncertainty."""
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    analysis_s: float = 0.0

    @property
    def recall(self) -> float:
        return self.found / max(self.found + self.missed, 1)

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.false, 1)


def match(found: NDArray[np.float64], truth: NDArray[np.float64], reach: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (found, true), nearest first, one to one; places float64 [n, 2], `reach` float64 [true]."""
    if len(found) == 0 or len(truth) == 0:
        return []
    distance = np.hypot(*(found[:, None, :] - truth[None, :, :]).transpose(2, 0, 1))
    candidates = np.argwhere(distance <= reach[None, :])
    pairs: list[tuple[int, int]] = []
    used_found, used_true = set[int](), set[int]()
    for f, t in candidates[np.argsort(distance[tuple(candidates.T)], kind="stable")].tolist():
        if f not in used_found and t not in used_true:
            used_found.add(f)
            used_true.add(t)
            pairs.append((f, t))
    return pairs


def run(pipeline: Pipeline, frames: int, per_field: tuple[float, float], seed: int, config_file: Path | None = None) -> Tally:
    """Render, analyse and score."""
    config = load_config(config_file)
    instrument = load_instrument(config.device.instrument)
    world = twin_world(config, seed=seed)
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    pictures = world.frames_with_truth(frames, per_field, exposure)
    clean, _ = next(pictures)
    dark = instrument.sensor.dark_level_counts
    tally = Tally()
    for pixels, particles in pictures:
        ready = normalise(pixels.astype(np.float32), clean.astype(np.float32), dark_counts=dark)
        hologram = Hologram(ready.intensity, instrument.geometry, ready.noise, EPOCH)
        started = time.monotonic()
        analysis = pipeline.analyse(hologram)
        tally.analysis_s += time.monotonic() - started
        _score(tally, analysis, particles, instrument.sensor.width_px, instrument.sensor.pitch_um)
    return tally


def _score(tally: Tally, analysis: FrameAnalysis, particles: list[TrueParticle], side_px: int, pitch_um: float) -> None:
    def inner(x_um: float, y_um: float) -> bool:
        edge_um, far_um = _BORDER_PX * pitch_um, (side_px - 1 - _BORDER_PX) * pitch_um
        return edge_um <= min(x_um, y_um) and max(x_um, y_um) <= far_um

    found = np.array([[p.x_um, p.y_um] for p in analysis.particles], np.float64).reshape(-1, 2)
    # A chain's volume begins at its first spore: what is looked for is the middle of what is seen.
    middles = [p.truth() for p in particles]
    truth = np.array([[m["x_um"], m["y_um"]] for m in middles], np.float64).reshape(-1, 2)
    reach = np.array([max(p.esd_um / 2, _LEAST_REACH_UM) for p in particles])
    pairs = match(found, truth, reach)
    of_found, of_true = dict(pairs), {t: f for f, t in pairs}
    for t, particle in enumerate(particles):
        if particle.esd_um < LEAST_UM or not inner(particle.x_um, particle.y_um):
            continue
        if t not in of_true:
            tally.missed += 1
            tally.confusion[particle.label, "(missed)"] += 1
            continue
        tally.found += 1
        seen, name = analysis.particles[of_true[t]], analysis.classifications[of_true[t]]
        tally.size_ratios.append(seen.esd_um / particle.esd_um)
        tally.depth_errors_um.append(seen.z_um - particle.z_um)
        tally.depth_pulls.append((seen.z_um - particle.z_um) / seen.z_uncertainty_um)
        tally.confusion[particle.label, name.label] += 1
    for f, seen in enumerate(analysis.particles):
        if seen.esd_um < LEAST_UM or not inner(seen.x_um, seen.y_um):
            continue
        if f in of_found:
            tally.right += 1
        else:
            tally.false += 1
            tally.confusion["(nothing)", analysis.classifications[f].label] += 1


def _print_confusion(confusion: Counter[tuple[str, str]]) -> None:
    rows = sorted({t for t, _ in confusion})
    columns = sorted({n for _, n in confusion})
    print("true \\ named     " + " ".join(f"{c[:12]:>12s}" for c in columns))
    for row in rows:
        print(f"{row:16s} " + " ".join(f"{confusion[row, c]:12d}" for c in columns))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--particles", type=float, nargs=2, default=(5.0, 200.0), metavar=("LOW", "HIGH"))
    parser.add_argument("--seed", type=int, default=20260)
    parser.add_argument("--method", choices=("hidef", "backpropagate"), default="hidef")
    args = parser.parse_args()
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, reconstruction=args.method)
    geometry = load_instrument(config.device.instrument).geometry
    pipeline, _ = build_pipeline(model_store(config), settings, geometry)
    tally = run(pipeline, args.frames, tuple(args.particles), args.seed)
    ratios, depth = np.array(tally.size_ratios), np.array(tally.depth_errors_um)
    low, high = args.particles
    print(f"simulated; {args.frames} frames, {low:g} to {high:g} particles a field, seed {args.seed}")
    print(f"recall    {tally.recall:.3f} ({tally.found} of {tally.found + tally.missed}; bar 0.9)")
    print(f"precision {tally.precision:.3f} ({tally.false} false; bar 0.9)")
    print(f"size      median ratio {np.median(ratios):.3f}, median absolute error {np.median(np.abs(ratios - 1)):.1%}")
    print(f"depth     median error {np.median(depth):+.1f} um, median absolute {np.median(np.abs(depth)):.1f} um, "
          f"90th percentile {np.percentile(np.abs(depth), 90):.1f} um")  # fmt: skip
    print(f"depth     error over stated uncertainty, median absolute {np.median(np.abs(tally.depth_pulls)):.2f} (normal: 0.67)")
    print(f"analysis  {tally.analysis_s / args.frames * 1e3:.0f} ms a frame")
    _print_confusion(tally.confusion)


if __name__ == "__main__":
    main()
