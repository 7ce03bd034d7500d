"""Real beads, one frame at a time: `python -m tests.benchmarks.real_beads [--method hidef|backpropagate]`.

Eleven holograms of one field of polystyrene beads, each through `holonode replay` at its stated distance, one setting
for all. Truth: peaks of the independently measured phase, smoothed by a pixel, above 1.2 rad in 7 x 7 px. Beads at least
8 px from the border count; near the border neither a hit nor a false one does.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import scipy.io
import scipy.ndimage
from numpy.typing import NDArray

from tests.conftest import real_data_folder

__all__ = ["BEAD_PITCH_UM", "DISTANCES_UM", "Score", "score_all", "score_positions", "true_peaks"]

DISTANCES_UM = {
    7: 7100.0, 8: 8050.0, 9: 9000.0, 10: 10000.0, 11: 11000.0, 12: 12000.0,
    13: 12950.0, 14: 13900.0, 15: 14850.0, 16: 16100.0, 17: 17050.0,
}  # fmt: skip
"""True distances by the nominal millimetres in the file names."""

BEAD_PITCH_UM = 6.5
BEAD_WAVELENGTH_UM = 0.532
_BORDER_PX = 8
_MATCH_PX = 3.0


@dataclass(frozen=True)
class Score:
    """Hits and misses of one frame."""

    hits: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision."""
        return 2 * self.hits / max(2 * self.hits + self.false + self.missed, 1)


def true_peaks(folder: Path) -> NDArray[np.float64]:
    """(column, row) of every bead, float64 [n, 2], from the measured phase."""
    phase = scipy.io.loadmat(str(folder / "gt_phase.mat"))["gt_phase"]
    smooth = scipy.ndimage.gaussian_filter(phase, 1.0)
    peaks = (scipy.ndimage.maximum_filter(smooth, 7) == smooth) & (smooth > 1.2)
    return np.argwhere(peaks)[:, ::-1].astype(np.float64)


def score_positions(found_px: NDArray[np.float64], truth_px: NDArray[np.float64], side_px: int = 256) -> Score:
    """Match found to true places, the nearest pairs first, one to one, within 3 px."""

    def counts(places: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.all((places >= _BORDER_PX) & (places <= side_px - 1 - _BORDER_PX), axis=1)

    found_px = found_px.reshape(-1, 2)
    distance = np.hypot(*(found_px[:, None, :] - truth_px[None, :, :]).transpose(2, 0, 1))
    free_found, free_true = set(range(len(found_px))), set(range(len(truth_px)))
    pairs = np.argwhere(distance <= _MATCH_PX)
    for f, t in pairs[np.argsort(distance[tuple(pairs.T)], kind="stable")].tolist():
        if f in free_found and t in free_true:
            free_found.remove(f)
            free_true.remove(t)
    inner_true, inner_found = counts(truth_px), counts(found_px)
    missed = sum(bool(inner_true[t]) for t in free_true)
    return Score(int(inner_true.sum()) - missed, sum(bool(inner_found[f]) for f in free_found), missed)


def replayed_positions(hologram: Path, distance_um: float, method: str) -> NDArray[np.float64]:
    """What `holonode replay` finds in one file, (column, row) in pixels, float64 [n, 2]."""
    from device.cli import main

    with tempfile.TemporaryDirectory() as out:
        status = main([
            "replay", str(hologram), "--out", out, "--method", method, "--json", "--wavelength-um", str(BEAD_WAVELENGTH_UM),
            "--pitch-um", str(BEAD_PITCH_UM), "--distance-um", str(distance_um),
        ])  # fmt: skip
        if status != 0:
            raise SystemExit(status)
        lines = (Path(out) / "detections.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return np.array([[r["x_um"], r["y_um"]] for r in records], np.float64).reshape(-1, 2) / BEAD_PITCH_UM


def score_all(real_data: Path, method: str = "hidef") -> dict[int, Score]:
    """The score of every frame, by nominal millimetres."""
    folder = real_data / "beads_multiheight_gt" / "fov1"
    truth = true_peaks(folder)
    return {
        nominal: score_positions(replayed_positions(folder / f"holo_{nominal:02d}mm.mat", distance_um, method), truth)
        for nominal, distance_um in DISTANCES_UM.items()
    }


def main() -> None:
    """Print the bar's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=("hidef", "backpropagate"), default="hidef")
    scores = score_all(real_data_folder(), parser.parse_args().method)
    print("frame   F1     hits  false  missed")
    for nominal, score in scores.items():
        print(f"{nominal:2d} mm  {score.f1:.3f}   {score.hits:3d}    {score.false:3d}    {score.missed:3d}")
    values = [score.f1 for score in scores.values()]
    print(f"median F1 {median(values):.3f} (bar 0.95), least {min(values):.3f} (bar 0.90)")


if __name__ == "__main__":
    main()
