"""Distances of recordings whose labels are nominal, by ways that have nothing in common with the focus search.

beads       The wave behind a bead is known: `fov1`'s field was measured by another instrument. Its lone beads' mean, round about
            the centre, is carried forward and laid over every place of a frame; where a dozen places look most like it is the
            distance. On `fov1` itself that lies within 2 % of where the measured field predicts the frame
            (`python -m tests.benchmarks.focus_references`).
paramecia   The authors published a picture of each animal in focus. Where our refocused amplitude looks most like it, at any
            scale within a tenth, is the distance *in the geometry that is stated*; theirs differs by that scale.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import normalise
from device.drivers.recorded import read_frames
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from tests.benchmarks.real_beads import true_peaks
from tests.benchmarks.real_depth import isolated
from tests.benchmarks.real_focus import ANIMALS, BEADS, BEADS_MM, SOURCE_TO_SENSOR_UM, measured_field, registered_distance
from tests.conftest import real_data_folder

Real = NDArray[np.float32]

PICTURES = {"upper": "published_upper_z2p8.tif", "middle": "published_middle_z6p8.tif", "lower": "published_lower_z5p6.tif"}

_REACH_PX = 11
_CANVAS_PX, _PATCH_PX = 256, 40
_PLACES = 12
_REACH = 0.2  # of the nominal distance, either way
_SCALES = (0.9, 0.95, 1.0, 1.05, 1.1)
_BLUR_PX = 1.5


@cache
def bead_wave(data: Path) -> NDArray[np.complex64]:
    """The mean wave behind a lone bead of `fov1`, complex64 [256, 256] about the middle, 1 far from it."""
    folder = data / "beads_multiheight_gt" / "fov1"
    field, peaks = measured_field(folder), true_peaks(folder)
    field = field / (np.median(np.abs(field)) * np.exp(1j * np.median(np.angle(field))))
    down, across = np.mgrid[-_REACH_PX : _REACH_PX + 1, -_REACH_PX : _REACH_PX + 1]
    radii = np.arange(0.5, 10.5, 0.5)
    profiles: list[NDArray[np.complex128]] = []
    for x, y in peaks[isolated(peaks, len(field))].astype(int).tolist():
        crop = field[y - _REACH_PX : y + _REACH_PX + 1, x - _REACH_PX : x + _REACH_PX + 1]
        weight = np.clip(np.angle(crop), 0, None) * (np.hypot(down, across) < 7)
        middle = [float((weight * places).sum() / weight.sum()) for places in (down, across)]
        radius = np.hypot(down - middle[0], across - middle[1])
        profiles.append(np.array([crop[np.abs(radius - r) < 0.5].mean() for r in radii]))
    mean = np.mean(profiles, axis=0)
    down, across = np.mgrid[-_CANVAS_PX // 2 : _CANVAS_PX // 2, -_CANVAS_PX // 2 : _CANVAS_PX // 2]
    radius = np.hypot(down, across)
    wave = np.interp(radius, radii, mean.real, right=1) + 1j * np.interp(radius, radii, mean.imag, right=0)
    return (1 + (wave - 1) * np.clip((9 - radius) / 2, 0, 1)).astype(np.complex64)


def by_bead_wave(data: Path, frame: Real, nominal_um: float) -> float:
    """Distance (um) at which beads of the measured kind make this frame; intensity float32 [height, width]."""
    amplitude, wave = np.sqrt(np.maximum(frame, 0)).astype(np.float32), bead_wave(data)
    middle = slice(_CANVAS_PX // 2 - _PATCH_PX, _CANVAS_PX // 2 + _PATCH_PX + 1)
    tried = np.arange((1 - _REACH) * nominal_um, (1 + _REACH) * nominal_um, 50.0)
    scores: list[float] = []
    for distance_um in tried:
        carried = propagate(wave, pitch_um=BEADS.pitch_um, wavelength_um=BEADS.wavelength_um, distance_um=float(distance_um))
        alike = cv2.matchTemplate(amplitude, np.abs(carried[middle, middle]).astype(np.float32), cv2.TM_CCOEFF_NORMED)
        summits = alike[alike == cv2.dilate(alike, np.ones((9, 9)))]
        scores.append(float(np.mean(np.sort(summits)[-_PLACES:])))
    return _summit(tried, scores)


def by_published_picture(data: Path, name: str, stated_um: float) -> float:
    """Distance (um) of one of the ANIMALS, from sample to sensor."""
    folder = data / "paramecium_dlhm"
    frame, reference = (next(iter(read_frames(folder / n))).pixels for n in ("hologram.bmp", "reference.bmp"))
    intensity = normalise(frame, reference).intensity
    picture = _smooth(next(iter(read_frames(folder / PICTURES[name]))).pixels.astype(np.float32))
    (column, row, width, height), _ = ANIMALS[name]
    there = picture[max(row - 60, 0) : row + height + 60, max(column - 60, 0) : column + width + 60]
    tried = np.arange(0.92 * stated_um, min(1.12 * stated_um, 0.98 * SOURCE_TO_SENSOR_UM), 100.0)
    scores: list[float] = []
    for distance_um in tried:
        geometry = Geometry(0.532, 6.9, float(distance_um), source_distance_um=SOURCE_TO_SENSOR_UM)
        part = _smooth(np.abs(backpropagate(intensity, geometry)))[
            row + height // 5 : row + height - height // 5, column + width // 5 : column + width - width // 5
        ]
        sizes = (cv2.resize(part, None, fx=s, fy=s) for s in _SCALES)
        scores.append(max(float(cv2.matchTemplate(there, s, cv2.TM_CCOEFF_NORMED).max()) for s in sizes))
    return _summit(tried, scores)


def _smooth(picture: Real) -> Real:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), _BLUR_PX), np.float32)


def _summit(tried: NDArray[np.float64], scores: list[float]) -> float:
    best = int(np.clip(np.argmax(scores), 1, len(scores) - 2))
    left, top, right = scores[best - 1 : best + 2]
    return float(tried[best] + (tried[1] - tried[0]) * 0.5 * (left - right) / (left - 2 * top + right))


def main() -> int:
    """How well the beads' wave finds the eleven distances that are known."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else real_data_folder()
    folder = data / "beads_multiheight_gt" / "fov1"
    truth = measured_field(folder)
    print(f"{'':10s}{'registered um':>14s}{'by the wave':>13s}{'off':>7s}")
    for nominal, stated_mm in BEADS_MM.items():
        frame = normalise(next(iter(read_frames(folder / f"holo_{nominal:02d}mm.mat"))).pixels).intensity
        registered = registered_distance(truth, frame, 1000 * stated_mm)
        found = by_bead_wave(data, frame, 1000.0 * nominal)
        print(f"{nominal:2d} mm     {registered:14.0f}{found:13.0f}{found / registered - 1:+7.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
