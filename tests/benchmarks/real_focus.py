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
from device.optics.autofocus import estimate_distance, region
from device.optics.geometry import Geometry
from device.optics.lorenz_mie import Light
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.propagation import backpropagate, propagate
from device.optics.sphere_fit import SphereFit, find_sphere, hologram_centre
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


def registered_distance(truth: NDArray[np.complexfloating], frame: NDArray[np.float32], around_um: float) -> float:
    """Where the measured field, carried forward and allowed to shift sideways, looks most like the frame (um)."""
    inner = (slice(40, -40),) * 2
    amplitude = np.sqrt(frame)[inner]
    spectrum = np.fft.fft2(amplitude - amplitude.mean())
    distances = around_um + np.arange(-900.0, 901.0, 60.0)
    scores: list[float] = []
    for distance_um in distances:
        carried = np.abs(
            propagate(truth, pitch_um=BEADS.pitch_um, wavelength_um=BEADS.wavelength_um, distance_um=float(distance_um))
        )[inner]
        theirs = np.fft.fft2(carried - carried.mean())
        # The correlation over all shifts, between pixels too: the spectrum is padded threefold.
        product = np.fft.fftshift(np.conj(theirs) * spectrum)
        padded = np.pad(product, [(n, n) for n in product.shape])
        scores.append(float(np.fft.ifft2(np.fft.ifftshift(padded)).real.max() / np.linalg.norm(theirs)))
    best = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    left, top, right = scores[best - 1 : best + 2]
    return float(distances[best] + 60.0 * 0.5 * (left - right) / (left - 2 * top + right))


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


# Boxes around the three animals (column, row, width, height) and their source to sample distances as the authors name them.
ANIMALS = {
    "upper": ((640, 30, 260, 260), 2_800.0),
    "middle": ((560, 235, 180, 180), 6_800.0),
    "lower": ((260, 455, 220, 220), 5_600.0),
}
SOURCE_TO_SENSOR_UM = 20_000.0


def paramecia(data: Path) -> list[tuple[str, float, float, float]]:
    """Name, stated and found source to sample distance, uncertainty (um) of each animal."""
    folder = data / "paramecium_dlhm"
    frame = normalise(_pixels(folder / "hologram.bmp"), _pixels(folder / "reference.bmp")).intensity
    geometry = Geometry(0.532, 6.9, 15_000.0, source_distance_um=SOURCE_TO_SENSOR_UM)
    rows: list[tuple[str, float, float, float]] = []
    for name, (box_px, stated_um) in ANIMALS.items():
        found = estimate_distance(region(frame, box_px), geometry, 11_000, 18_500)
        rows.append((name, stated_um, SOURCE_TO_SENSOR_UM - found.distance_um, found.uncertainty_um))
    return rows


def colloid_by_lorenz_mie(data: Path) -> SphereFit:
    """The same sphere by the exact hologram: distance, radius and index free."""
    folder = data / "colloid_holopy"
    background = np.mean([_pixels(folder / f"bg0{i}.jpg") for i in (1, 2, 3)], axis=0)
    frame = normalise(_pixels(folder / "image01.jpg"), background).intensity
    centre = hologram_centre(frame, (255.0, 255.0), reach_px=200, search_px=60)
    return find_sphere(
        frame, Light(0.66, 1.33), 0.0851, centre, z_range_um=(5.0, 30.0), radius_range_um=(0.3, 0.8), index=1.58,
        free=("row_px", "column_px", "z_um", "radius_um", "contrast"), radius_px=180,
    )  # fmt: skip


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
    folder = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    print("'registered': where the measured field predicts the frame best once lateral shifts are allowed for")
    print(
        f"{'beads, eleven heights':24s}{'stated um':>10s}{'registered':>11s}{'found um':>10s}{'+-':>6s}{'to stated':>10s}"
        f"{'to registered':>14s}   ({seconds:.1f} s each)"
    )
    errors: list[tuple[float, float]] = []
    for name, true, found, uncertainty in rows:
        registered = registered_distance(truth, _intensity(folder / name), true)
        errors.append((abs(found - true), abs(found - registered)))
        print(
            f"{name:24s}{true:10.0f}{registered:11.0f}{found:10.0f}{uncertainty:6.0f}{found - true:10.0f}{found - registered:14.0f}"
        )
    for words, column in (("stated", 0), ("registered", 1)):
        values = np.array(errors)[:, column]
        print(
            f"to the {words} distance: {(values < 150).sum()} of {len(rows)} within 150 um; largest error {values.max():.0f} um"
        )
    print()
    singles = single_height_errors(data)
    for name, error in singles:
        print(f"{name:30s} found less nominal {error:6.0f} um")
    print(f"unpaired beads, median |found less nominal|: {np.median(np.abs([e for _, e in singles])):.0f} um\n")
    true, found, uncertainty = tissue(data)
    section = data / "tissue_gt" / "colon"
    registered = registered_distance(measured_field(section), _intensity(section / "holo_26mm.mat"), true)
    print(f"colon section: {found:.0f} +- {uncertainty:.0f} um, stated {true:.0f} um, registered {registered:.0f} um")
    for name, stated, animal, deviation in paramecia(data):
        print(
            f"paramecium, {name:7s} source to sample {animal:.0f} +- {deviation:.0f} um, stated {stated:.0f} um "
            f"({100 * (animal / stated - 1):+.1f} %; bar 3 %)"
        )
    found, uncertainty = colloid(data)
    fit = colloid_by_lorenz_mie(data)
    print(
        f"sphere in water: {found:.2f} +- {uncertainty:.2f} um; Lorenz-Mie fit {fit.sphere.z_um:.2f} um (radius "
        f"{fit.sphere.radius_um:.3f} um at index 1.58, unexplained {fit.residual:.0%}); bar 1 um apart\n"
    )


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
