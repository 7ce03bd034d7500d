"""Particle shapes as voxel volumes of refractive-index contrast: the engine that species draw with.

A particle is star-convex (a radius for every direction) or a union of such bodies. The volume holds the index contrast
to the embedding medium (real part: refraction, imaginary part: absorption) and is sampled on cubic voxels, edges
anti-aliased by their distance to the surface.

Contrast is the particle's index less the medium's, over the index of the medium that the light travels through to the
sensor (1 for a window in air, where particles lie in an adhesive of about 1.47; 1.33 for a water channel): the phase it
makes is 2 pi over the wavelength in that medium.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError

__all__ = [
    "Body",
    "Morphology",
    "VoxelVolume",
    "around",
    "bumps",
    "extent_um",
    "furrows",
    "make_volume",
    "random_rotation",
    "rough",
    "sphere_points",
]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class VoxelVolume:
    """A voxelised particle."""

    contrast: NDArray[np.complex64]
    """complex64 [depth, height, width]: index minus the medium's; imaginary part is the extinction coefficient."""
    voxel_um: float
    """Edge of a voxel."""
    esd_um: float
    """Diameter of the disc that has the area of the particle's silhouette."""
    length_um: float
    """Longest extent of the silhouette's bounding box."""
    centroid_um: tuple[float, float] = (0.0, 0.0)
    """Middle of the silhouette (x, y), from the middle of the volume."""

    @property
    def optical_path_um(self) -> NDArray[np.complex64]:
        """complex64 [height, width]: contrast integrated along the optical axis."""
        return (self.contrast.sum(axis=0) * self.voxel_um).astype(np.complex64)


@dataclass(frozen=True)
class Body:
    """One star-convex body in its own frame."""

    centre_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """x, y, z."""
    semi_axes_um: tuple[float, float, float] = (5.0, 5.0, 5.0)
    """Half lengths along x, y, z."""
    relief: Callable[[Float], Float] | None = None
    """Unit directions [n, 3] -> relative change of the radius [n]; None: smooth."""
    contrast: complex = 0.04
    """Index contrast inside."""
    wall: float = 0.0
    """Relative thickness of an outer wall, 0 to 0.3."""
    wall_contrast: complex = 0.06
    """Index contrast of the wall."""
    reach: float = 1.15
    """Largest relative radius that `relief` makes."""


@dataclass(frozen=True)
class Morphology:
    """A species or material: how one of its particles is drawn at random."""

    name: str
    """Label."""
    draw: Callable[[np.random.Generator, float], list[Body]]
    """(rng, diameter_um) -> bodies."""
    diameter_um: tuple[float, float]
    """Mean and relative standard deviation of the diameter."""
    limits_um: tuple[float, float]
    """Smallest and largest diameter."""
    flat: bool = False
    """Lies on the window as it is drawn, instead of turned at random."""

    def draw_diameter_um(self, rng: np.random.Generator) -> float:
        """Log-normal around the mean, within the limits."""
        mean, relative = self.diameter_um
        return float(np.clip(mean * np.exp(rng.normal(0, relative)), *self.limits_um))


def random_rotation(rng: np.random.Generator) -> Float:
    """A rotation matrix, float32 [3, 3], uniform over orientations (Shoemake's quaternions)."""
    u = rng.random(3)
    a, b = np.sqrt(1 - u[0]), np.sqrt(u[0])
    w, x = a * np.sin(2 * np.pi * u[1]), a * np.cos(2 * np.pi * u[1])
    y, z = b * np.sin(2 * np.pi * u[2]), b * np.cos(2 * np.pi * u[2])
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        dtype=np.float32,
    )


def extent_um(bodies: list[Body]) -> float:
    """Diameter of the ball about the origin that holds all bodies, relief apart."""
    return 2 * max(float(np.linalg.norm(body.centre_um)) + max(body.semi_axes_um) for body in bodies)


def make_volume(
    bodies: list[Body],
    voxel_um: float,
    rotation: NDArray[np.floating] | None = None,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> VoxelVolume:
    """Voxelise bodies.

    Parameters: `voxel_um` edge of a voxel; `rotation` [3, 3] from body to laboratory axes (x, y, z); `offset_px` a
    sub-voxel shift (x, y). Returns a Volume centred on its middle voxel.
    """
    if not bodies:
        raise InputError("a particle needs at least one body")
    turn = np.eye(3, dtype=np.float32) if rotation is None else rotation.astype(np.float32)
    centres = [turn @ np.asarray(body.centre_um, np.float32) for body in bodies]
    reaches = [max(body.semi_axes_um) * body.reach for body in bodies]
    half_um = max(float(np.abs(c).max()) + r for c, r in zip(centres, reaches, strict=True))
    half = int(np.ceil(half_um / voxel_um)) + 2
    contrast = np.zeros((2 * half + 1,) * 3, dtype=np.complex64)
    filled = np.zeros(contrast.shape, np.float32)
    for body, centre, reach in zip(bodies, centres, reaches, strict=True):
        _paint(contrast, filled, body, centre, reach, turn, voxel_um, offset_px)
    # Voxels at the edge count by how far they are filled: a small sphere keeps its area on coarse voxels.
    silhouette = filled.max(axis=0)
    area = float(silhouette.sum())
    rows, columns = np.nonzero(silhouette > 0.5)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1 if rows.size else 1
    away = np.arange(2 * half + 1) - half
    centroid = [float((silhouette.sum(axis=axis) * away).sum() / max(area, 1e-9)) * voxel_um for axis in (0, 1)]
    esd_um = 2 * np.sqrt(area / np.pi) * voxel_um
    return VoxelVolume(contrast, voxel_um, float(esd_um), float(extent * voxel_um), (centroid[0], centroid[1]))


def _paint(
    contrast: NDArray[np.complex64],
    filled: NDArray[np.float32],
    body: Body,
    centre: Float,
    reach_um: float,
    turn: Float,
    voxel_um: float,
    offset_px: tuple[float, float],
) -> None:
    """Add one body to the volume, over what was there (bodies overlap, they don't add up)."""
    half = contrast.shape[0] // 2
    shift = np.array([offset_px[0], offset_px[1], 0.0], np.float32)
    low = np.maximum(np.floor((centre - reach_um) / voxel_um + shift).astype(int) - 1 + half, 0)
    high = np.minimum(np.ceil((centre + reach_um) / voxel_um + shift).astype(int) + 2 + half, contrast.shape[0])
    axes = [np.arange(low[k], high[k], dtype=np.float32) - half - shift[k] for k in range(3)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij", copy=False)
    points = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1) * np.float32(voxel_um) - centre
    local = points @ turn
    scaled = local / np.asarray(body.semi_axes_um, np.float32)
    radius = np.sqrt((scaled * scaled).sum(axis=1))
    surface = np.ones_like(radius)
    if body.relief is not None:
        near = (radius > 2 - body.reach - 0.45) & (radius < body.reach + 0.2)
        surface[near] += body.relief(scaled[near] / np.maximum(radius[near], 1e-6)[:, None])
    # Voxels from the surface: change of the relative radius over its gradient.
    gradient = np.linalg.norm(scaled / np.asarray(body.semi_axes_um, np.float32), axis=1) / np.maximum(radius, 1e-6)
    voxels = 1 / (np.maximum(gradient, 1e-6) * voxel_um)
    inside = np.clip((surface - radius) * voxels + 0.5, 0, 1)
    value = np.full(radius.shape, body.contrast, dtype=np.complex64)
    if body.wall > 0:
        in_wall = np.clip((radius - surface * (1 - body.wall)) * voxels + 0.5, 0, 1)
        value += (body.wall_contrast - body.contrast) * in_wall
    view = contrast[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    share = inside.reshape(view.shape)
    view *= 1 - share
    view += share * value.reshape(view.shape)
    occupied = filled[low[2] : high[2], low[1] : high[1], low[0] : high[0]]
    np.maximum(occupied, share, out=occupied)


def bumps(directions: Float, height: float, sharpness: float) -> Callable[[Float], Float]:
    """Relief of equal bumps (or dips) in the given directions [k, 3]; sharpness is 1 / (angular width, rad)^2."""

    def relief(unit: Float) -> Float:
        cosine = unit @ directions.T
        return (height * np.exp(sharpness * (cosine - 1)).max(axis=1)).astype(np.float32)

    return relief


def furrows(count: int, depth: float, width: float) -> Callable[[Float], Float]:
    """Relief of meridional furrows (colpi) that fade towards the poles."""
    meridians = np.arange(count) * 2 * np.pi / count

    def relief(unit: Float) -> Float:
        azimuth = np.arctan2(unit[:, 1], unit[:, 0])
        apart = np.abs(np.angle(np.exp(1j * (azimuth[:, None] - meridians[None, :])))).min(axis=1)
        equator = 1 - unit[:, 2] ** 4
        return (-depth * equator * np.exp(-((apart / width) ** 2))).astype(np.float32)

    return relief


def rough(rng: np.random.Generator, amplitude: float, terms: int = 12, sharpness: float = 4.0) -> Callable[[Float], Float]:
    """Relief of random broad bumps and dips: broken mineral grains."""
    directions = rng.normal(size=(terms, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heights = rng.uniform(-1, 1, terms).astype(np.float32) * amplitude

    def relief(unit: Float) -> Float:
        return (np.exp(sharpness * (unit @ directions.T - 1)) * heights).sum(axis=1).clip(-0.6, 0.6).astype(np.float32)

    return relief


def sphere_points(count: int) -> Float:
    """Nearly even directions (Fibonacci lattice), float32 [count, 3]."""
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1).astype(np.float32)


def around(rng: np.random.Generator, value: float, relative: float) -> float:
    """Log-normal around a value."""
    return float(value * np.exp(rng.normal(0, relative)))
