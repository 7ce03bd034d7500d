"""Fibres, filaments, chains, animals and touching pairs, drawn by none of the twin's shapes.

Every body is a tube about a plane centre line, its radius a function of the place along it, painted by distance. Truth is that
of the silhouette: length along the centre line from end to end, area, width area over length, direction of the principal axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle

__all__ = ["KINDS", "TrueObject", "ball", "draw_object"]

Float = NDArray[np.float64]
Drawn = tuple[Float, Float, "complex | NDArray[np.complex128]", float, int]
"""Centre line, radius and contrast along it, length, bodies."""


@dataclass(frozen=True)
class TrueObject:
    """What was drawn: one or several bodies that touch."""

    kind: str
    particle: SimulatedParticle
    length_um: float
    """Along the centre line, end to end; 0 for what isn't long."""
    width_um: float
    """Silhouette's area over its length."""
    orientation_rad: float
    """Of the silhouette's principal axis, from x towards y, -pi/2 to pi/2."""
    count: int = 1
    """Bodies in it that should be told apart."""


def _tube_volume(line_um: Float, radius_um: Float, contrast: complex | NDArray[np.complex128], voxel_um: float) -> VoxelVolume:
    """A tube about a centre line (x, y) float64 [n, 2] finely sampled, around its middle; radius and contrast at every point."""
    half = int(np.ceil((np.abs(line_um).max() + radius_um.max()) / voxel_um)) + 2
    deep = int(np.ceil(radius_um.max() / voxel_um)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * voxel_um
    away, nearest = KDTree(line_um).query(
        np.stack([x.ravel(), y.ravel()], axis=1), distance_upper_bound=radius_um.max() + voxel_um
    )
    reached = nearest < len(line_um)
    away, nearest = np.where(reached, away, 1e3).reshape(x.shape), np.where(reached, nearest, 0).reshape(x.shape)
    own, index = radius_um[nearest], np.broadcast_to(np.asarray(contrast, np.complex128), len(line_um))[nearest]
    z = np.arange(-deep, deep + 1)[:, None, None] * voxel_um
    filled = np.clip((own - np.hypot(away, z)) / voxel_um + 0.5, 0, 1)
    silhouette = np.clip((own - away) / voxel_um + 0.5, 0, 1)
    area_um2 = float(silhouette.sum()) * voxel_um**2
    middle = (float((silhouette * x).sum() / silhouette.sum()), float((silhouette * y).sum() / silhouette.sum()))
    return VoxelVolume(
        (filled * index).astype(np.complex64), voxel_um, float(2 * np.sqrt(area_um2 / np.pi)), 2 * half * voxel_um, middle
    )


def _bent(rng: np.random.Generator, length_um: float, turn_rad: float) -> Float:
    """A centre line of a length whose direction wanders by about an angle, around its middle, float64 [n, 2]."""
    steps = max(int(length_um / 0.25), 2)
    place = np.linspace(-1, 1, steps)
    heading = rng.uniform(0, np.pi) + turn_rad * (rng.normal() * place / 2 + rng.normal() * place**2 / 2)
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * length_um / steps
    return line - (line.max(axis=0) + line.min(axis=0)) / 2


def _tube(rng: np.random.Generator, length_um: float, width_um: float, contrast: complex, turn_rad: float) -> Drawn:
    line = _bent(rng, length_um - width_um, turn_rad)
    return line, np.full(len(line), width_um / 2), contrast, length_um, 1


def _fibre(rng: np.random.Generator) -> Drawn:
    contrast = complex(rng.uniform(0.03, 0.08), rng.uniform(0, 0.003))
    return _tube(rng, rng.uniform(120, 350), rng.uniform(8, 18), contrast, 0.7)


def _filament(rng: np.random.Generator) -> Drawn:
    return _tube(rng, rng.uniform(80, 300), rng.uniform(4, 7), complex(rng.uniform(0.025, 0.06), 0), 1.0)


def _balls(line_um: Float, at_um: Float, diameter_um: Float, contrast: complex) -> Drawn:
    """Spheres in a row along a line whose points are 0.25 um apart: what lies between them is theirs."""
    along = np.arange(len(line_um)) * 0.25
    keep = np.min(np.abs(along[:, None] - at_um[None, :]), axis=1) < 0.13
    own = np.argmin(np.abs(along[keep][:, None] - at_um[None, :]), axis=1)
    length = float(at_um[-1] - at_um[0] + (diameter_um[0] + diameter_um[-1]) / 2)
    return line_um[keep], diameter_um[own] / 2, contrast, length, 1


def _chain(rng: np.random.Generator) -> Drawn:
    count, diameter = int(rng.integers(6, 15)), rng.uniform(7, 14)
    line = _bent(rng, count * diameter, 0.8)
    at = (diameter * (np.arange(count) + 0.5) * 0.97).astype(np.float64)
    return _balls(line, at, np.full(count, diameter), complex(rng.uniform(0.02, 0.05), rng.uniform(0, 0.002)))


def _animal(rng: np.random.Generator) -> Drawn:
    """A spindle, blunt in front, with grains of its own along it."""
    length = rng.uniform(80, 280)
    widest = length * rng.uniform(0.15, 0.3)
    line = _bent(rng, length, 0.4)
    place = np.linspace(0, 1, len(line))
    profile = (place ** rng.uniform(0.4, 0.6)) * ((1 - place) ** rng.uniform(0.5, 0.9))
    grains = sum(rng.uniform(-0.3, 0.6) * np.exp(-(((place - rng.uniform(0.15, 0.85)) / 0.05) ** 2)) for _ in range(5))
    contrast = rng.uniform(0.008, 0.02) * (1 + grains) + 1j * rng.uniform(0.0, 0.002)
    return line, widest / 2 * profile / profile.max(), np.asarray(contrast, np.complex128), length, 1


def _pair(rng: np.random.Generator) -> Drawn:
    diameter = rng.uniform(9, 24) * np.exp(rng.normal(0, 0.1, 2))
    line, radius, contrast, _, _ = _balls(
        _bent(rng, diameter.sum(), 0.0), np.array([diameter[0] / 2, diameter[0] + diameter[1] / 2]), diameter,
        complex(rng.uniform(0.02, 0.06), rng.uniform(0, 0.003)),
    )  # fmt: skip
    return line, radius, contrast, 0.0, 2


KINDS: dict[str, Callable[[np.random.Generator], Drawn]] = {
    "fibre": _fibre, "filament": _filament, "chain": _chain, "animal": _animal, "pair": _pair,
}  # fmt: skip


def draw_object(rng: np.random.Generator, kind: str, place_um: tuple[float, float], z_um: float, voxel_um: float) -> TrueObject:
    """One object of a kind with its box's middle at a place (x, y)."""
    line, radius, contrast, length_um, count = KINDS[kind](rng)
    volume = _tube_volume(line, radius, contrast, voxel_um)
    rows, columns = np.nonzero(np.abs(volume.contrast).max(axis=0) > 1e-4)
    (xx, xy), (_, yy) = np.cov(np.stack([columns, rows]))
    width_um = np.pi * volume.esd_um**2 / 4 / length_um if length_um else 0.0
    where = [round(p / voxel_um) * voxel_um for p in place_um]
    return TrueObject(
        kind,
        SimulatedParticle(kind, where[0], where[1], z_um, volume),
        length_um,
        width_um,
        0.5 * float(np.arctan2(2 * xy, xx - yy)),
        count,
    )


def ball(
    rng: np.random.Generator, diameter_um: float, place_um: tuple[float, float], z_um: float, voxel_um: float, *, flat: bool
) -> TrueObject:
    """A sphere, or a disc of the phase that the sphere has in its middle: 0.7 to 2.6 rad at 0.85 um."""
    thick_um = 2.0 if flat else diameter_um
    contrast = rng.uniform(0.7, 2.6) * 0.85 / (2 * np.pi * thick_um)
    half = int(np.ceil(diameter_um / 2 / voxel_um)) + 2
    z, y, x = np.mgrid[-half : half + 1, -half : half + 1, -half : half + 1] * voxel_um
    across = np.clip((diameter_um / 2 - np.hypot(x, y)) / voxel_um + 0.5, 0, 1)
    filled = (
        across * np.clip((thick_um / 2 - np.abs(z)) / voxel_um + 0.5, 0, 1)
        if flat
        else np.clip((diameter_um / 2 - np.sqrt(x**2 + y**2 + z**2)) / voxel_um + 0.5, 0, 1)
    )
    volume = VoxelVolume((filled * contrast).astype(np.complex64), voxel_um, diameter_um, diameter_um)
    where = [round(p / voxel_um) * voxel_um for p in place_um]
    return TrueObject("ball", SimulatedParticle("ball", where[0], where[1], z_um, volume), 0.0, diameter_um, 0.0)
