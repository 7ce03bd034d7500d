"""How the optics are, from frames that are there anyway: figures that show a trend long before counts suffer.

background level     over full scale, pedestal taken off: lamp, window, exposure
saturated share      pixels at the white level
dirt                 scatter of the background around its smooth light: smears, films, fixed specks
fringe contrast      amplitude of the strongest straight fringes: faces of a cover glass, a coating that comes off
marks                where something stands out of the background, on a coarse grid: what stays there is stuck
sharpness            fringes of the particles themselves: how much their fine ones have left, given the particles' sizes

All but the last come from one frame of the background, whatever the mode, in a millisecond per megapixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.special
from numpy.typing import NDArray

from device.analysis.background import block_means, smooth_light
from device.instrument import SensorSpec
from device.optics import fft
from device.optics.coherence import visibility
from device.optics.geometry import Geometry
from device.records import Particle

__all__ = ["GRID", "BackgroundFigures", "Sharpness", "background_figures", "sharpness"]

GRID = 32
"""Cells of the map of marks along each side."""

_BLOCK_PX = 8
"""Pixels are averaged over such blocks: noise falls by as much, fringes of cover glasses are ten times wider."""
_WIDE_BLOCKS = 15
"""What is wider than this many blocks is light, not a mark."""
_MARK_SIGMAS = 6.0
_LEAST_MARK = 0.04
"""Relative departure: less than a fibre or a pollen grain makes over a block, more than a sensor's fixed pattern."""
_FINEST_FRINGES_PX, _WIDEST_FRINGES = 24.0, 4.0
"""Straight fringes have periods from so many pixels to a fourth of the frame."""


@dataclass(frozen=True)
class BackgroundFigures:
    """What one frame of the background tells."""

    level: float
    """Mean over full scale, pedestal taken off both."""
    saturated: float
    """Share of pixels at the white level."""
    dirt: float
    """Relative scatter of blocks of pixels around the smooth light, straight fringes left out."""
    fringes: float
    """Relative amplitude of the strongest straight fringes."""
    marks: NDArray[np.bool_]
    """bool [GRID, GRID], row 0 at the top: cells in which something stands out."""


def background_figures(pixels: NDArray[np.uint16] | NDArray[np.float32], sensor: SensorSpec) -> BackgroundFigures:
    """Figures of a frame [height, width] in counts of the sensor's bit depth, lamp on."""
    white = 2**sensor.bit_depth - 1
    blocks = block_means(pixels, _BLOCK_PX) - np.float32(sensor.dark_level_counts)
    level = float(blocks.mean()) / (white - sensor.dark_level_counts)
    saturated = float(np.count_nonzero(pixels >= white)) / pixels.size
    if level <= 0:
        return BackgroundFigures(level, saturated, 0.0, 0.0, frozen_map(np.zeros((GRID, GRID), np.bool_)))
    relative = blocks / smooth_light(blocks, blocks=8) - 1
    fringes, without = _straight_fringes(relative)
    return BackgroundFigures(level, saturated, float(without.std()), fringes, _marks(without))


def frozen_map(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Read-only."""
    cells.setflags(write=False)
    return cells


def _straight_fringes(relative: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Relative amplitude of the strongest plane wave in the background's departure, and the departure without it.

    A wedge between two reflecting faces gives straight fringes of one period: one peak of the spectrum. Rings and smears
    spread theirs. The Hann window keeps the light's slow rest out of it; its mean makes up for it.
    """
    height, width = relative.shape
    window = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    spectrum = fft.fft2(relative * window)
    fy, fx = np.meshgrid(fft.fftfreq(height), fft.fftfreq(width), indexing="ij")
    frequency = np.hypot(fy, fx)
    low, high = _WIDEST_FRINGES / min(height, width), _BLOCK_PX / _FINEST_FRINGES_PX
    power = np.where((frequency >= low) & (frequency <= high) & (fx >= 0), np.abs(spectrum), 0)
    row, column = np.unravel_index(int(np.argmax(power)), power.shape)
    y, x = np.ogrid[:height, :width]
    best_y, best_x = _peak(power, int(row), int(column), fy, fx)
    wave = np.exp(-2j * np.pi * (best_y * y + best_x * x))
    amplitude = 2 * complex(np.sum(relative * window * wave)) / float(window.sum())
    straight = (amplitude * np.conj(wave)).real.astype(np.float32)
    return abs(amplitude), relative - straight


def _peak(
    power: NDArray[np.floating], row: int, column: int, fy: NDArray[np.float64], fx: NDArray[np.float64]
) -> tuple[float, float]:
    """Frequency of a peak between bins, by the weights of its neighbours."""
    rows = [(row + k) % power.shape[0] for k in (-1, 0, 1)]
    columns = [(column + k) % power.shape[1] for k in (-1, 0, 1)]
    near = np.ix_(rows, columns)
    weights = power[near] ** 2
    total = max(float(weights.sum()), 1e-30)
    return float((weights * fy[near]).sum()) / total, float((weights * fx[near]).sum()) / total


def _marks(relative: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Cells in which a block stands out of its wider surroundings."""
    slow = cv2.blur(relative, (_WIDE_BLOCKS, _WIDE_BLOCKS), borderType=cv2.BORDER_REFLECT)
    departure = np.abs(relative - slow)
    scatter = 1.4826 * float(np.median(departure))
    standing = (departure > max(_LEAST_MARK, _MARK_SIGMAS * scatter)).astype(np.float32)
    cells = cv2.resize(standing, (GRID, GRID), interpolation=cv2.INTER_AREA) if min(standing.shape) >= GRID else standing
    if cells.shape != (GRID, GRID):
        cells = cv2.resize(standing, (GRID, GRID), interpolation=cv2.INTER_NEAREST)
    return frozen_map(cells > 0)


_PATCH_PX = 160
"""Around a particle: fringes of half the pixels' band at a distance of half a millimetre."""
_ALONE_PX = 100
"""To the next particle, along rows and columns: fringes of a neighbour are finer, the farther it is."""
_MOST_PATCHES = 10
_BANDS = ((0.25, 0.45), (0.6, 0.9))
"""Coarse and fine fringes, as shares of the finest that a patch holds."""
_LEAST_SIGNAL = 0.05
"""Of the noise's power: fine fringes weaker than this tell nothing."""


@dataclass(frozen=True)
class Sharpness:
    """What the particles' fringes tell."""

    value: float
    """Amplitude of fine fringes over coarse ones, over the same for discs of the particles' sizes under the lamp's nominal
    coherence: falls where the source is wider, its spectrum broader, something moved or the sensor is out of place."""
    particles: int
    """That were looked at."""


def sharpness(
    intensity: NDArray[np.float32], particles: Sequence[Particle], geometry: Geometry, noise: float
) -> Sharpness | None:
    """From a hologram [height, width], 1 where nothing is, and what was found in it; None where that is too little.

    Particles of other shapes than discs have other fringes: the figure is to be compared with its own past.
    """
    places = _patches(intensity.shape, particles, geometry)
    if not places:
        return None
    window = np.outer(np.hanning(_PATCH_PX), np.hanning(_PATCH_PX)).astype(np.float32)
    axis = fft.fftfreq(_PATCH_PX, geometry.object_pitch_um)
    bands = _bands(np.hypot(axis[:, None], axis[None, :]), geometry)
    measured, predicted = np.zeros(2), np.zeros(2)
    for (row, column), particle in places:
        patch = intensity[row : row + _PATCH_PX, column : column + _PATCH_PX] - 1
        power = np.abs(fft.fft2(patch * window)) ** 2
        measured += [float(power[band].mean()) for band in bands]
        predicted += _disc_power(particle, geometry)
    floor = len(places) * noise**2 * float((window**2).sum())
    measured -= floor
    if measured[1] < _LEAST_SIGNAL * floor or measured[0] <= 0:
        return None
    ratio = (measured[1] / measured[0]) / (predicted[1] / predicted[0])
    return Sharpness(float(np.sqrt(ratio)), len(places))


def _patches(
    shape: tuple[int, ...], particles: Sequence[Particle], geometry: Geometry
) -> list[tuple[tuple[int, int], Particle]]:
    """First rows and columns of patches in the frame, around particles that lie alone; the largest, whose fringes are strongest,
    first."""
    half, pitch_um = _PATCH_PX // 2, geometry.object_pitch_um
    places = np.array([(p.y_um, p.x_um) for p in particles]).reshape(-1, 2) / pitch_um
    found: list[tuple[tuple[int, int], Particle]] = []
    for k in sorted(range(len(particles)), key=lambda k: -particles[k].esd_um):
        row, column = (round(float(at)) - half for at in places[k])
        inside = row >= 0 and column >= 0 and row + _PATCH_PX <= shape[0] and column + _PATCH_PX <= shape[1]
        near = np.abs(places - places[k]).max(axis=1) < _ALONE_PX
        if inside and int(near.sum()) == 1:
            found.append(((row, column), particles[k]))
    return found[:_MOST_PATCHES]


def _finest_per_um(geometry: Geometry) -> float:
    """The finest fringes that a patch holds: at its edge, or the pixels' band."""
    pitch_um = geometry.object_pitch_um
    at_edge = _PATCH_PX / 2 * pitch_um / (geometry.wavelength_medium_um * geometry.distance_um)
    return min(at_edge, 0.5 / pitch_um)


def _bands(frequency_per_um: NDArray[np.float64], geometry: Geometry) -> list[NDArray[np.bool_]]:
    finest = _finest_per_um(geometry)
    return [(frequency_per_um >= low * finest) & (frequency_per_um < high * finest) for low, high in _BANDS]


def _disc_power(particle: Particle, geometry: Geometry) -> list[float]:
    """Power of a disc's fringes in each band, in arbitrary units, as the lamp's coherence leaves them."""
    frequency = np.abs(fft.fftfreq(_PATCH_PX, geometry.object_pitch_um))
    argument = np.maximum(np.pi * particle.esd_um * frequency, 1e-6)
    amplitude = particle.esd_um**2 * 2 * scipy.special.j1(argument) / argument
    light = geometry.coherence
    if light is not None:
        source_um, z_um = light.source_distance_um, particle.z_um
        amplitude *= visibility(
            (1, _PATCH_PX), geometry.object_pitch_um, geometry.wavelength_medium_um, z_um,
            bandwidth_um=light.bandwidth_um / geometry.medium_index,
            blur_um=light.source_diameter_um * z_um / (source_um - z_um) if source_um else 0.0,
        )[0]  # fmt: skip
    # A cut through the middle stands for rings, which grow with the frequency.
    return [
        float((amplitude[band] ** 2 * frequency[band]).sum() / frequency[band].sum()) for band in _bands(frequency, geometry)
    ]
