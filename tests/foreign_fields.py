"""Fields that are no particles, recorded by a forward model of their own: sections, mats, films, suspensions, gratings, speckle,
dirt on a window, and what is too bright for the sensor; and particles for comparison.

Drawn with polygons, curves and spectra, carried to the sensor on a grid twice as fine by one transform, summed over the pixels,
with shot noise and the converter's steps: nothing of it is shared with what the networks learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Voronoi

from device.analysis.background import normalise
from device.frames import Hologram
from device.optics.geometry import Geometry

__all__ = ["FULL_FIELDS", "MARGIN_PX", "OPTICS", "FullField", "canvas_px", "particle_field", "recorded", "threads"]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
_FINE = 2
MARGIN_PX = 96
"""Of the sensor: drawn around the frame, so that fringes leave it and come in as they do."""

OPTICS = (
    Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0),
    Geometry(wavelength_um=0.53, pitch_um=1.12, distance_um=350.0),
    Geometry(wavelength_um=0.532, pitch_um=0.74, distance_um=400.0),
    Geometry(wavelength_um=0.532, pitch_um=3.45, distance_um=2000.0),
    Geometry(wavelength_um=0.532, pitch_um=6.5, distance_um=24_000.0),
)
"""Chips close to their sample, and sensors millimetres from it; all of them the networks cover."""


def section(rng: np.random.Generator, side: int) -> Complex:
    """A leaf's cells: polygons with thick walls, a fill of their own, grains within some."""
    cell_px = float(rng.uniform(24, 90))
    count = int((side / cell_px) ** 2) + 12
    seeds = rng.uniform(-0.2 * side, 1.2 * side, (2 * count, 2))
    cells = Voronoi(seeds)
    phase, density = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for region in cells.regions:
        if not region or -1 in region:
            continue
        corners = np.round(cells.vertices[region] * 16).astype(np.int32)[None]
        cv2.fillPoly(phase, corners, float(rng.normal(0.4, 0.25)), cv2.LINE_AA, 4)
        cv2.polylines(phase, corners, True, float(rng.uniform(0.8, 2.5)), int(rng.integers(2, 9)), cv2.LINE_AA, 4)
    for x, y in rng.uniform(0, side, (int(rng.integers(0, 3 * count)), 2)):
        cv2.circle(density, (int(x), int(y)), int(rng.integers(2, 7)), float(rng.uniform(0.1, 0.8)), -1)
    return _through(phase, density, 0.8)


def tissue(rng: np.random.Generator, side: int) -> Complex:
    """Stained tissue: a rough carpet, nuclei as dark ellipses, pale lumens cut out."""
    carpet = _rough(rng, side, float(rng.uniform(1.2, 2.2)))
    phase, density = 0.7 * carpet, np.clip(0.15 + 0.12 * carpet, 0, None).astype(np.float32)
    stain = float(rng.uniform(0.2, 1.2))
    for x, y in rng.uniform(0, side, (int(side * side / rng.uniform(600, 3000)), 2)):
        axes = (int(rng.integers(4, 12)), int(rng.integers(3, 9)))
        cv2.ellipse(
            density, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, stain * float(rng.uniform(0.6, 1.2)), -1
        )
    for x, y in rng.uniform(0, side, (int(rng.integers(0, 6)), 2)):
        axes = (int(rng.integers(20, 90)), int(rng.integers(15, 60)))
        for image in (phase, density):
            cv2.ellipse(image, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 0.0, -1)
    return _through(phase, density, 1.0)


def mat(rng: np.random.Generator, side: int) -> Complex:
    """Threads across the field: quadratic curves from border to border."""
    phase = np.zeros((side, side), np.float32)
    t = np.linspace(0, 1, 60)[:, None]
    for _ in range(int(rng.integers(6, 45))):
        turn = rng.uniform(0, 2 * np.pi)
        across = np.array([np.cos(turn), np.sin(turn)])
        middle = rng.uniform(0.1 * side, 0.9 * side, 2)
        start, end, pull = middle - side * across, middle + side * across, middle + rng.normal(0, 0.2 * side, 2)
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * pull + t**2 * end
        one = np.zeros_like(phase)
        cv2.polylines(one, [np.round(curve * 16).astype(np.int32)], False, 1.0, int(rng.integers(3, 16)), cv2.LINE_AA, 4)
        phase += one * float(rng.uniform(0.5, 3.0))
    return _through(phase, float(rng.uniform(0, 0.25)) * phase, 1.2)


def film(rng: np.random.Generator, side: int) -> Complex:
    """A rough film, frost or gel: a phase whose spectrum falls as a power."""
    phase = float(rng.uniform(0.4, 2.5)) * _rough(rng, side, float(rng.uniform(0.8, 2.0)))
    return _through(phase, np.zeros_like(phase), 0.8)


def suspension(rng: np.random.Generator, side: int) -> Complex:
    """So many grains that they lie on one another: a third of the field and more."""
    phase, density = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    radius_px = float(rng.uniform(4, 14))
    count = int(rng.uniform(0.4, 1.5) * side**2 / (np.pi * radius_px**2))
    strength, dark = float(rng.uniform(0.5, 2.5)), float(rng.uniform(0, 0.5))
    for x, y in rng.uniform(0, side, (count, 2)):
        one = np.zeros((64, 64), np.float32)
        cv2.circle(one, (32, 32), round(radius_px * float(rng.uniform(0.6, 1.5))), 1.0, -1, cv2.LINE_AA)
        top, left = int(y) - 32, int(x) - 32
        there = slice(max(top, 0), max(top, 0) + 64), slice(max(left, 0), max(left, 0) + 64)
        part = one[: phase[there].shape[0], : phase[there].shape[1]]
        phase[there] += strength * part
        density[there] += dark * part
    return _through(phase, density, 1.0)


def grating(rng: np.random.Generator, side: int) -> Complex:
    """Ruled lines, straight or bent, crossed or not: a filter, a woven cloth, a structured chip."""
    down, across = np.mgrid[:side, :side].astype(np.float32)
    lines = np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        turn, period_px = float(rng.uniform(0, np.pi)), float(rng.uniform(10, 80))
        along = across * np.cos(turn) + down * np.sin(turn) + 20 * float(rng.uniform(0, 1)) * np.sin(2 * np.pi * down / side)
        lines += ((along / period_px) % 1 < float(rng.uniform(0.2, 0.8))).astype(np.float32)
    return _through(float(rng.uniform(0.3, 2.5)) * lines, float(rng.uniform(0, 0.8)) * lines, 1.0)


def speckle(rng: np.random.Generator, side: int) -> Complex:
    """Ground glass in the beam: a rough phase of several waves."""
    phase = float(rng.uniform(4.0, 12.0)) * _rough(rng, side, float(rng.uniform(0.5, 1.5)))
    return _through(phase, np.zeros_like(phase), 0.6)


def thick(rng: np.random.Generator, side: int) -> Complex:
    """Large strong lenses side by side: foam, drops, fat."""
    down, across = np.mgrid[:side, :side].astype(np.float32)
    phase = np.zeros((side, side), np.float32)
    radius_px = float(rng.uniform(20, 60))
    for y, x in rng.uniform(0, side, (int(rng.uniform(0.4, 1.2) * side**2 / (np.pi * radius_px**2)), 2)):
        squared = ((down - y) ** 2 + (across - x) ** 2) / (radius_px * float(rng.uniform(0.7, 1.3))) ** 2
        phase += float(rng.uniform(4, 15)) * np.sqrt(np.clip(1 - squared, 0, None))
    return _through(phase, np.zeros_like(phase), 0.6)


def dirt(rng: np.random.Generator, side: int) -> Complex:
    """Opaque flakes, many; meant for a window near the sensor."""
    density = np.zeros((side, side), np.float32)
    for x, y in rng.uniform(0, side, (int(rng.integers(25, 120)), 2)):
        corners = np.array([x, y]) + rng.normal(0, float(rng.uniform(4, 16)), (int(rng.integers(3, 8)), 2))
        cv2.fillPoly(density, [cv2.convexHull(np.round(corners * 16).astype(np.int32))], 3.0, cv2.LINE_AA, 4)
    return _through(np.zeros_like(density), density, 0.8)


def threads(rng: np.random.Generator, side: int) -> Complex:
    """One to three lint fibres in an else clean field, with crossings and kinks."""
    phase, density = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        kinks = rng.uniform(0.05 * side, 0.95 * side, (int(rng.integers(2, 5)), 2))
        width, strength = int(rng.integers(6, 26)), float(rng.uniform(1.0, 3.0))
        course = _smooth_course(kinks)
        cv2.polylines(phase, [np.round(course * 16).astype(np.int32)], False, strength, width, cv2.LINE_AA, 4)
        cv2.polylines(
            density, [np.round(course * 16).astype(np.int32)], False, float(rng.uniform(0, 1.0)), width, cv2.LINE_AA, 4
        )
    return _through(phase, density, 1.5)


def canvas_px(side_px: int) -> int:
    """Side of the fine grid that a frame of this side is cut from."""
    return _FINE * (side_px + 2 * MARGIN_PX)


@dataclass(frozen=True)
class FullField:
    """How a kind of full field is drawn and recorded."""

    draw: Callable[[np.random.Generator, int], Complex]
    """The object, on a square grid."""
    off_dof: tuple[float, float] = (0.0, 0.0)
    """Range by which the true distance is farther than the believed one, in depths of field, on either side of it."""
    nearer: tuple[float, float] = (0.0, 0.0)
    """Range by which it is nearer, as a share of the distance: on a window."""
    brightness: tuple[float, float] = (0.4, 0.4)
    """Range of the mean light, as a share of the sensor's white."""


FULL_FIELDS: dict[str, FullField] = {
    "section": FullField(section, off_dof=(0, 5)),
    "tissue": FullField(tissue, off_dof=(0, 5)),
    "mat": FullField(mat, off_dof=(0, 5)),
    "film": FullField(film, off_dof=(0, 5)),
    "suspension": FullField(suspension),
    "grating": FullField(grating, off_dof=(0, 5)),
    "speckle": FullField(speckle),
    "defocused": FullField(tissue, off_dof=(15, 60)),
    "thick": FullField(thick, off_dof=(0, 5)),
    "dirt": FullField(dirt, nearer=(0.4, 0.85)),
    "saturated": FullField(tissue, brightness=(0.8, 1.4)),
}


def particle_field(rng: np.random.Generator, side: int, count: int, radius_px: tuple[float, float] = (2.5, 6.0)) -> Complex:
    """Round grains of a little absorption, none on another; what a count is for."""
    phase, density = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    placed: list[tuple[float, float]] = []
    while len(placed) < count:
        border = _FINE * (MARGIN_PX + 2 * radius_px[1])
        at = tuple(rng.uniform(border, side - border, 2))
        if all(math.dist(at, other) > 6 * _FINE * radius_px[1] for other in placed):
            radius = _FINE * float(rng.uniform(*radius_px))
            depth = np.sqrt(np.clip(1 - ((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2, 0, None))
            phase += float(rng.uniform(1.5, 3.0)) * depth
            density += float(rng.uniform(0, 0.3)) * depth
            placed.append(at)
    return _through(phase, density, 0.6)


def recorded(
    field: Complex, geometry: Geometry, rng: np.random.Generator, *, electrons: float = 3000.0, bits: int = 8,
    offset_um: float = 0.0, brightness: float = 0.4,
) -> Hologram:  # fmt: skip
    """What the sensor makes of an object field on the fine grid, less MARGIN_PX on every side, with the geometry that is believed:
    the true distance is farther by `offset_um`. `brightness` is the mean light as a share of the sensor's white."""
    pitch_um, distance_um = geometry.pitch_um / _FINE, geometry.distance_um + offset_um
    frequency = np.fft.fftfreq(field.shape[0], pitch_um)
    squared = np.maximum(1 / geometry.wavelength_um**2 - frequency[:, None] ** 2 - frequency[None, :] ** 2, 0)
    wave = np.fft.ifft2(np.fft.fft2(field) * np.exp(2j * np.pi * distance_um * np.sqrt(squared)))
    whole = (np.abs(wave) ** 2).reshape(field.shape[0] // _FINE, _FINE, field.shape[1] // _FINE, _FINE).mean(axis=(1, 3))
    light = whole[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    counts = rng.poisson(np.maximum(light / light.mean(), 0) * electrons) / electrons
    top = 2**bits - 1
    pixels = np.clip(np.round(counts * brightness * top), 0, top).astype(np.float32)
    ready = normalise(pixels, None, white_counts=float(top))
    return Hologram(ready.intensity, geometry, ready.noise, datetime(2026, 11, 27, tzinfo=UTC))


def _through(phase: Real, density: Real, sigma_px: float) -> Complex:
    smooth = [cv2.GaussianBlur(image, (0, 0), sigma_px) for image in (phase, density)]
    return np.exp(1j * smooth[0] - smooth[1]).astype(np.complex64)


def _rough(rng: np.random.Generator, side: int, power: float) -> Real:
    """Unit variance, amplitude spectrum falling as frequency to the minus `power`, nothing slower than a sixth of the side."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    shape = np.where(frequency > 6 / side, np.maximum(frequency, 1e-9) ** -power, 0) * np.exp(-((frequency / 0.2) ** 2))
    image = np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) * shape).real
    return (image / image.std()).astype(np.float32)


def _smooth_course(kinks: NDArray[np.float64]) -> NDArray[np.float64]:
    """A curve through the places by Chaikin's corner cutting."""
    for _ in range(4):
        cut = np.empty((2 * (len(kinks) - 1), 2))
        cut[0::2], cut[1::2] = 0.75 * kinks[:-1] + 0.25 * kinks[1:], 0.25 * kinks[:-1] + 0.75 * kinks[1:]
        kinks = np.concatenate([kinks[:1], cut, kinks[-1:]])
    return kinks
