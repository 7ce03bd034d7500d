"""Recorded beads with few photons: `python -m tests.benchmarks.low_photon_beads`.

The eleven recorded holograms of tests/benchmarks/real_beads.py, thinned binomially: their own noise tells how many photons a pixel they
were taken with at least, and of those a share is kept, so that every photon is a recorded one. Through the box's pipeline, with the
model for few photons and without; truth and matching as there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import scipy.io
from numpy.typing import NDArray

from device.analysis.background import noise_level
from device.analysis.pipeline import Pipeline
from device.config import load_config
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.optics.photon_noise import equivalent_photons
from device.rig.models import build_pipeline, model_store
from models.training.quality import bootstrap_median
from tests.benchmarks.real_beads import BEAD_PITCH_UM, BEAD_WAVELENGTH_UM, DISTANCES_UM, Score, score_positions, true_peaks
from tests.conftest import real_data_folder

__all__ = ["PHOTONS", "score_all", "thinned"]

PHOTONS = (1.0, 3.0, 10.0, 30.0)
_LEAST_RECORDED = 10
"""Photons that were recorded for one that is kept: what little noise the recording has is then lost in its own."""


def thinned(recorded: NDArray[np.float64], photons: float, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """A recording of mean 1, float32 [height, width], with so many of its photons a pixel; None: it hasn't enough."""
    held = equivalent_photons(noise_level(recorded.astype(np.float32)))
    if held < _LEAST_RECORDED * photons:
        return None
    kept = rng.binomial(np.maximum(np.round(recorded * held), 0).astype(np.int64), photons / held)
    return (kept / kept.mean()).astype(np.float32)


def score_all(folder: Path, pipeline: Pipeline) -> Iterator[tuple[float, str, list[Score]]]:
    """(photons a pixel, way, score of every frame)."""
    truth = true_peaks(folder)
    ways = {"model for few photons": pipeline, "without it": replace(pipeline, low_photon=None)}
    for photons in PHOTONS:
        scores: dict[str, list[Score]] = {name: [] for name in ways}
        for nominal, distance_um in DISTANCES_UM.items():
            recorded = scipy.io.loadmat(str(folder / f"holo_{nominal:02d}mm.mat"))["holography"]
            frame = thinned(recorded / recorded.mean(), photons, np.random.default_rng(nominal))
            if frame is None:
                continue
            noise = noise_level(frame)
            geometry = Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, distance_um)
            hologram = Hologram(frame, geometry, noise, datetime(2026, 1, 1, tzinfo=UTC), photon_noise=noise)
            for name, way in ways.items():
                found = [(p.x_um / BEAD_PITCH_UM, p.y_um / BEAD_PITCH_UM) for p in way.analyse(hologram).particles]
                scores[name].append(score_positions(np.array(found, np.float64), truth))
        yield from ((photons, name, values) for name, values in scores.items())


def main() -> int:
    """Print the table; 0 where there are no recordings, too, and says so."""
    folder = real_data_folder() / "beads_multiheight_gt" / "fov1"
    if not folder.is_dir():
        print(f"no recordings at {folder}: set HOLONODE_REAL_DATA")
        return 0
    config = load_config(None)
    settings = msgspec.structs.replace(config.analysis, classifier_model="", min_esd_um=0.0, max_esd_um=1e6)
    pipeline, _ = build_pipeline(model_store(config), settings, Geometry(BEAD_WAVELENGTH_UM, BEAD_PITCH_UM, 12_000.0))
    print("| photons a pixel | way | frames | F1, median (95 %) | hits | false | missed |\n|---|---|---|---|---|---|---|")
    for photons, name, scores in score_all(folder, pipeline):
        if not scores:
            print(f"| {photons:g} | {name} | 0: the recordings hold too few photons | | | | |")
            continue
        middle, low, high = bootstrap_median([score.f1 for score in scores])
        hits, false, missed = (sum(getattr(score, key) for score in scores) for key in ("hits", "false", "missed"))
        print(
            f"| {photons:g} | {name} | {len(scores)} | {middle:.3f} ({low:.3f} to {high:.3f}) | {hits} | {false} | {missed} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
