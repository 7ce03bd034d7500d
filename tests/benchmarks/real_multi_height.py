"""Multi-height and single-shot retrieval on recorded beads, against the independently measured field.

The reference was recorded off-axis. Piston and tilt of a field leave no trace in in-line intensities (a tilt is a shift
that grows with distance, and shifts are free), and the reference has 0.25 rad of tilt across half its field; the column
'tilt-free' is the correlation after the best plane is taken off its phase, 'raw' the plain one. The benchmark also prints
how well the reference itself, with and without its slow phase, predicts the recorded frames.

    python -m tests.benchmarks.real_multi_height [FOLDER] [--choice]

With `--choice` alone: whether what the frames decide, sparse or dense, is the better of the two, on every recording of several
heights: beads against the measured field, the simulated stack by what it predicts of a frame that was left out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.ndimage
import scipy.optimize
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.drivers.recorded import read_frames
from device.optics.geometry import Geometry
from device.optics.multiheight import MultiHeight, retrieve_multi_height
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate, propagate
from tests.benchmarks.real_focus import BEADS, BEADS_MM, _intensity, complex_correlation, measured_field
from tests.conftest import real_data_folder

Field = NDArray[np.complexfloating]

SUBSETS = [
    (8, 16),
    (7, 12),
    (10, 17),
    (8, 12, 16),
    (7, 11, 15),
    (9, 13, 17),
    (7, 10, 13, 16),
    (7, 9, 12, 15, 17),
    tuple(range(7, 15)),
    tuple(BEADS_MM),
]
LEFT_OUT = [((0, 7), 4), ((0, 3), 7), ((2, 6), 0), ((1, 3, 5), 7), ((0, 2, 4, 6), 7)]
"""Frames of the simulated stack, and which is predicted."""
PLAIN_ITERATIONS = 20


def tilt_free_correlation(field: Field, truth: Field) -> float:
    """Complex correlation after the phase plane that raises it most."""
    y, x = (np.linspace(-1, 1, n) for n in truth.shape)

    def without(plane: NDArray[np.float64]) -> float:
        return -complex_correlation(field, truth * np.exp(-1j * (plane[0] * y[:, None] + plane[1] * x[None, :])))

    start = np.array([[0, 0], [0.3, 0], [0, 0.3]])
    return -float(scipy.optimize.minimize(without, start[0], method="Nelder-Mead", options={"initial_simplex": start}).fun)


def load(data: Path, heights: tuple[int, ...], *, sparse: bool | None = None) -> MultiHeight:
    folder = data / "beads_multiheight_gt" / "fov1"
    frames = [_intensity(folder / f"holo_{n:02d}mm.mat") for n in heights]
    return retrieve_multi_height(frames, [BEADS.at(1000 * BEADS_MM[n]) for n in heights], sparse=sparse)


def plain_alternating(data: Path, heights: tuple[int, ...]) -> Field:
    """The textbook: each frame's amplitude in turn, carried from height to height, unregistered."""
    folder = data / "beads_multiheight_gt" / "fov1"
    amplitudes = [np.sqrt(_intensity(folder / f"holo_{n:02d}mm.mat")) for n in heights]
    distances_um = [1000 * BEADS_MM[n] for n in heights]
    grid = {"pitch_um": BEADS.pitch_um, "wavelength_um": BEADS.wavelength_um}
    field, here_um = amplitudes[0].astype(np.complex64), distances_um[0]
    for _ in range(PLAIN_ITERATIONS):
        for amplitude, there_um in zip(amplitudes, distances_um, strict=True):
            field = propagate(field, distance_um=there_um - here_um, **grid)
            field = amplitude * np.exp(1j * np.angle(field))
            here_um = there_um
    return propagate(field, distance_um=-here_um, **grid)


def reference_prediction(data: Path, heights: tuple[int, ...]) -> list[tuple[str, float]]:
    """How well the reference, and our field, predict the recorded frames (correlation, shifts allowed for), mean."""
    folder = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    phase = np.angle(truth / np.median(truth))
    beads = scipy.ndimage.binary_dilation(phase > 0.5, iterations=3)
    weight = scipy.ndimage.gaussian_filter((~beads).astype(float), 20)
    slow = scipy.ndimage.gaussian_filter(np.where(beads, 0, phase), 20) / np.maximum(weight, 1e-3)
    fields = {
        "reference": truth,
        "reference without its slow phase": truth * np.exp(-1j * slow),
        "ours": load(data, heights).field,
    }
    rows: list[tuple[str, float]] = []
    for name, field in fields.items():
        scores = [_prediction(field, _intensity(folder / f"holo_{n:02d}mm.mat"), 1000 * BEADS_MM[n]) for n in heights]
        rows.append((name, float(np.mean(scores))))
    return rows


def _prediction(field: Field, frame: NDArray[np.float32], distance_um: float) -> float:
    inner = (slice(40, -40),) * 2
    best = -1.0
    for more_um in (-100.0, -50.0, 0.0, 50.0, 100.0):
        carried = propagate(
            field, pitch_um=BEADS.pitch_um, wavelength_um=BEADS.wavelength_um, distance_um=distance_um + more_um
        )
        amplitude = np.abs(carried)
        for shift in itertools.product(np.arange(-0.8, 0.81, 0.2), repeat=2):
            moved = scipy.ndimage.shift(amplitude, shift, order=1, mode="nearest")[inner]
            best = max(best, float(np.corrcoef(moved.ravel(), np.sqrt(frame[inner]).ravel())[0, 1]))
    return best


def print_choices(data: Path) -> None:
    """What was chosen, and the score of either."""
    truth = measured_field(data / "beads_multiheight_gt" / "fov1")
    print(f"{'':34s}{'chosen':>8s}{'sparse':>9s}{'dense':>9s}")
    for heights in SUBSETS:
        found = {sparse: load(data, heights, sparse=sparse) for sparse in (None, True, False)}
        scores = {sparse: complex_correlation(one.field, truth) for sparse, one in found.items()}
        _print_choice(f"beads {' '.join(map(str, heights))} mm", found[None], scores)
    stack = {int(path.stem[0]): path for path in (data / "simulated_multiheight").glob("*.tif")}
    frames = {k: normalise(next(iter(read_frames(path))).pixels).intensity for k, path in stack.items()}
    geometries = {k: Geometry(0.532, 1.12, float(path.stem.split("_")[1])) for k, path in stack.items()}
    for used, left_out in LEFT_OUT:
        given = [frames[k] for k in used], [geometries[k] for k in used]
        found = {sparse: retrieve_multi_height(*given, sparse=sparse) for sparse in (None, True, False)}
        scores = {sparse: _predicts(one.field, frames[left_out], geometries[left_out]) for sparse, one in found.items()}
        _print_choice(f"stack {' '.join(map(str, used))}, predicting {left_out}", found[None], scores)


def _print_choice(name: str, found: MultiHeight, scores: dict[bool | None, float]) -> None:
    better = max(True, False, key=lambda sparse: scores[sparse])
    said = "sparse" if found.sparse else "dense"
    print(
        f"{name:34s}{said:>8s}{scores[True]:9.3f}{scores[False]:9.3f}{'' if better == found.sparse else '  the other is better'}",
        flush=True,
    )


def _predicts(field: Field, frame: NDArray[np.float32], geometry: Geometry) -> float:
    """Correlation with a frame that had no part in the field, away from the border."""
    inner = (slice(64, -64),) * 2
    there = propagate(field, pitch_um=geometry.pitch_um, wavelength_um=geometry.wavelength_um, distance_um=geometry.distance_um)
    return float(np.corrcoef(np.abs(there[inner]).ravel(), np.sqrt(frame[inner]).ravel())[0, 1])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=real_data_folder())
    parser.add_argument("--choice", action="store_true", help="sparse or dense alone")
    args = parser.parse_args(arguments)
    data: Path = args.data
    if args.choice:
        print_choices(data)
        return 0
    folder = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    print(f"{'frames':34s}{'plain raw':>10s}{'raw':>8s}{'tilt-free':>10s}  largest shift px, spread of 1 mm steps um")
    for heights in SUBSETS:
        found = load(data, heights)
        plain = complex_correlation(plain_alternating(data, heights), truth)
        shifts = max(np.hypot(*p.shift_px) for p in found.placements)
        steps = [p.distance_um - 1000 * n for p, n in zip(found.placements, heights, strict=True)]
        print(
            f"{' '.join(map(str, heights)) + ' mm':34s}{plain:10.3f}{complex_correlation(found.field, truth):8.3f}"
            f"{tilt_free_correlation(found.field, truth):10.3f}  {shifts:.2f}, {np.std(steps):.0f}"
        )
    print("\none frame, at the stated distance: raw (tilt-free)")
    print(f"{'mm':>4s}{'back-propagated':>18s}{'sparse projections':>20s}{'sparse Gauss-Newton':>21s}")
    columns: list[list[float]] = []
    for n in BEADS_MM:
        frame, geometry = _intensity(folder / f"holo_{n:02d}mm.mat"), BEADS.at(1000 * BEADS_MM[n])
        fields = (backpropagate(frame, geometry), retrieve_single_shot(frame, geometry), load(data, (n,)).field)
        pairs = [(complex_correlation(f, truth), tilt_free_correlation(f, truth)) for f in fields]
        columns.append([raw for raw, _ in pairs])
        print(
            f"{n:4d}"
            + "".join(f"{f'{raw:.3f} ({free:.3f})':>{w}s}" for (raw, free), w in zip(pairs, (18, 20, 21), strict=True))
        )
    print("median, raw:", " ".join(f"{v:.3f}" for v in np.median(columns, axis=0)))
    print("\nprediction of the recorded amplitudes, correlation")
    for name, score in reference_prediction(data, (7, 11, 15)):
        print(f"{name:34s}{score:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
