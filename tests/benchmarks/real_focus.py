"""Distances and single-shot retrieval on recorded holograms, file by file.

python -m tests.benchmarks.real_focus [FOLDER OF HOLOGRAMS]
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.drivers.recorded import read_frames
from device.optics.autofocus import estimate_distance
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate
from tests.conftest import real_data_folder

# True distances as the catalogue of the recordings states them: the measured field carried forward matches best there.
BEADS_MM = {7: 7.10, 8: 8.05, 9: 9.00, 10: 10.00, 11: 11.00, 12: 12.00, 13: 12.95, 14: 13.90, 15: 14.85, 16: 16.10, 17: 17.05}
BEADS = Geometry(0.532, 6.5, 10_000.0)
BEAD_RANGE_UM = (5_000.0, 20_000.0)
BORDER_PX = 16


def _pixels(path: Path) -> NDArray[np.float32]:
    return next(iter(read_frames(path))).pixels


def _intensity(path: Path) -> NDArray[np.float32]:
    return normalise(_pixels(path)).intensity


def bead_distances(data: Path) -> list[tuple[str, float, float, float]]:
    """Name, true, found, uncertainty (um) of the eleven heights."""
    rows: list[tuple[str, float, float, float]] = []
    for nominal, true_mm in BEADS_MM.items():
        path = data / "beads_multiheight_gt" / "fov1" / f"holo_{nominal:02d}mm.mat"
        found = estimate_distance(_intensity(path), BEADS, *BEAD_RANGE_UM)
        rows.append((path.name, 1000 * true_mm, found.distance_um, found.uncertainty_um))
    return rows


def single_height_errors(data: Path) -> list[tuple[str, float]]:
    """Name and found less nominal distance (um) of every unpaired bead frame."""
    rows: list[tuple[str, float]] = []
    for path in sorted((data / "beads_singleheight").glob("*mm/*.mat")):
        found = estimate_distance(_intensity(path), BEADS, *BEAD_RANGE_UM)
        rows.append((f"{path.parent.name}/{path.name}", found.distance_um - 1000 * float(path.parent.name.removesuffix("mm"))))
    return rows


def tissue(data: Path) -> tuple[float, float, float]:
    """True, found, uncertainty (um) of the colon section."""
    frame = _intensity(data / "tissue_gt" / "colon" / "holo_26mm.mat")
    found = estimate_distance(frame, BEADS, 15_000, 35_000)
    return 26_200.0, found.distance_um, found.uncertainty_um


def colloid(data: Path) -> tuple[float, float]:
    """Found, uncertainty (um) of one sphere in water, divided by the mean of three backgrounds."""
    folder = data / "colloid_holopy"
    background = np.mean([_pixels(folder / f"bg0{i}.jpg") for i in (1, 2, 3)], axis=0)
    frame = normalise(_pixels(folder / "image01.jpg"), background).intensity
    found = estimate_distance(frame, Geometry(0.66, 0.0851, 17.0, medium_index=1.33), 5, 30)
    return found.distance_um, found.uncertainty_um


def complex_correlation(field: NDArray[np.complexfloating], truth: NDArray[np.complexfloating]) -> float:
    """Mean removed, border left out."""
    inner = (slice(BORDER_PX, -BORDER_PX),) * 2
    a, b = field[inner] - field[inner].mean(), truth[inner] - truth[inner].mean()
    return float(abs(np.vdot(a, b)) / (np.linalg.norm(a) * np.linalg.norm(b)))


def measured_field(folder: Path) -> NDArray[np.complex128]:
    """The independently measured field at the object plane."""
    amplitude, phase = (
        np.asarray(scipy.io.loadmat(folder / f"{key}.mat")[key], np.float64) for key in ("gt_amplitude", "gt_phase")
    )
    return amplitude * np.exp(1j * phase)


def correlations_with_the_measured_field(data: Path) -> list[tuple[str, float, float]]:
    """Name, complex correlation of plain back-propagation and of single-shot retrieval, at the true distance."""
    folder = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    rows: list[tuple[str, float, float]] = []
    for nominal, true_mm in BEADS_MM.items():
        path = folder / f"holo_{nominal:02d}mm.mat"
        frame, geometry = _intensity(path), BEADS.at(1000 * true_mm)
        plain, retrieved = backpropagate(frame, geometry), retrieve_single_shot(frame, geometry)
        rows.append((path.name, complex_correlation(plain, truth), complex_correlation(retrieved, truth)))
    return rows


def _print_distances(data: Path) -> None:
    started = time.perf_counter()
    rows = bead_distances(data)
    seconds = (time.perf_counter() - started) / len(rows)
    print(f"{'beads, eleven heights':24s}{'true um':>9s}{'found um':>10s}{'+-':>6s}{'error':>7s}   ({seconds:.1f} s each)")
    for name, true, found, uncertainty in rows:
        print(f"{name:24s}{true:9.0f}{found:10.0f}{uncertainty:6.0f}{found - true:7.0f}")
    errors = np.array([abs(found - true) for _, true, found, _ in rows])
    print(f"within 300 um: {(errors < 300).sum()} of {len(rows)}; largest error {errors.max():.0f} um\n")
    singles = single_height_errors(data)
    for name, error in singles:
        print(f"{name:30s} found less nominal {error:6.0f} um")
    print(f"unpaired beads, median |found less nominal|: {np.median(np.abs([e for _, e in singles])):.0f} um\n")
    true, found, uncertainty = tissue(data)
    print(f"colon section: {found:.0f} +- {uncertainty:.0f} um, true {true:.0f} um")
    found, uncertainty = colloid(data)
    print(f"sphere in water: {found:.2f} +- {uncertainty:.2f} um, catalogue 15 to 17.5 um\n")


def main() -> int:
    """Print every figure."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else real_data_folder()
    _print_distances(data)
    print(f"{'complex correlation':24s}{'back-propagated':>16s}{'retrieved':>11s}")
    for name, plain, retrieved in correlations_with_the_measured_field(data):
        print(f"{name:24s}{plain:16.3f}{retrieved:11.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
