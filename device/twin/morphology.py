"""Particle shapes as voxel volumes of refractive-index contrast.

A particle is star-convex (a radius for every direction) or a union of such bodies. The volume holds the index contrast
to the embedding medium (real part: refraction, imaginary part: absorption) and is sampled on cubic voxels, edges
anti-aliased by their distance to the surface.

Sizes are those of palynology and mycology handbooks (typical ranges of the dry or slightly hydrated grain); index
contrasts are effective values against an adhesive of about 1.47.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError

__all__ = ["MORPHOLOGIES", "Morphology", "Volume", "make_volume", "random_rotation"]

Float = NDArray[np.float32]


@dataclass(frozen=True)
class Volume:
    """A voxelised particle."""

    contrast: NDArray[np.complex64]
    """complex64 [depth, height, width]: index minus the medium's; imaginary part is the extinction coefficient."""
    voxel_um: float
    """Edge of a voxel."""
    esd_um: float
    """Diameter of the disc that has the area of the particle's silhouette."""
    length_um: float
    """Longest extent of the silhouette's bounding box."""

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


def make_volume(
    bodies: list[Body],
    voxel_um: float,
    rotation: NDArray[np.floating] | None = None,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> Volume:
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
    for body, centre, reach in zip(bodies, centres, reaches, strict=True):
        _paint(contrast, body, centre, reach, turn, voxel_um, offset_px)
    silhouette = np.abs(contrast).max(axis=0) > 0.25 * np.abs(contrast).max()
    rows, columns = np.nonzero(silhouette)
    extent = max(np.ptp(rows), np.ptp(columns)) + 1 if rows.size else 1
    esd_um = 2 * np.sqrt(silhouette.sum() / np.pi) * voxel_um
    return Volume(contrast, voxel_um, float(esd_um), float(extent * voxel_um))


def _paint(
    contrast: NDArray[np.complex64],
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


def _bumps(directions: Float, height: float, sharpness: float) -> Callable[[Float], Float]:
    """Relief of equal bumps (or dips) in the given directions [k, 3]; sharpness is 1 / (angular width, rad)^2."""

    def relief(unit: Float) -> Float:
        cosine = unit @ directions.T
        return (height * np.exp(sharpness * (cosine - 1)).max(axis=1)).astype(np.float32)

    return relief


def _furrows(count: int, depth: float, width: float) -> Callable[[Float], Float]:
    """Relief of meridional furrows (colpi) that fade towards the poles."""
    meridians = np.arange(count) * 2 * np.pi / count

    def relief(unit: Float) -> Float:
        azimuth = np.arctan2(unit[:, 1], unit[:, 0])
        apart = np.abs(np.angle(np.exp(1j * (azimuth[:, None] - meridians[None, :])))).min(axis=1)
        equator = 1 - unit[:, 2] ** 4
        return (-depth * equator * np.exp(-((apart / width) ** 2))).astype(np.float32)

    return relief


def _rough(rng: np.random.Generator, amplitude: float, terms: int = 12, sharpness: float = 4.0) -> Callable[[Float], Float]:
    """Relief of random broad bumps and dips: broken mineral grains."""
    directions = rng.normal(size=(terms, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    heights = rng.uniform(-1, 1, terms).astype(np.float32) * amplitude

    def relief(unit: Float) -> Float:
        return (np.exp(sharpness * (unit @ directions.T - 1)) * heights).sum(axis=1).clip(-0.6, 0.6).astype(np.float32)

    return relief


def _sphere_points(count: int) -> Float:
    """Nearly even directions (Fibonacci lattice), float32 [count, 3]."""
    k = np.arange(count) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)], 1).astype(np.float32)


def _around(rng: np.random.Generator, value: float, relative: float) -> float:
    return float(value * np.exp(rng.normal(0, relative)))


_EQUATOR3 = np.array([[np.cos(a), np.sin(a), 0] for a in (0.0, 2.0944, 4.1888)], np.float32)


def _birch(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Betula: suboblate, three protruding pores on the equator, smooth."""
    r = diameter_um / 2
    relief = _bumps(_EQUATOR3, _around(rng, 0.16, 0.2), 22.0)
    contrast = _around(rng, 0.013, 0.15) + 0.0006j
    return [Body((0, 0, 0), (r, r, 0.85 * r), relief, contrast, 0.10, _around(rng, 0.055, 0.15) + 0.003j, 1.3)]


def _grass(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Poaceae: spheroidal, one annulate pore, thin wall, starch-filled."""
    r = diameter_um / 2
    relief = _bumps(np.array([[1, 0, 0]], np.float32), -_around(rng, 0.12, 0.2), 40.0)
    stretch = _around(rng, 1.0, 0.06)
    contrast = _around(rng, 0.012, 0.15) + 0.0005j
    return [Body((0, 0, 0), (r * stretch, r, r), relief, contrast, 0.05, _around(rng, 0.050, 0.15) + 0.002j, 1.1)]


def _oak(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Quercus: prolate, three deep furrows, verrucate."""
    r = diameter_um / 2
    relief = _furrows(3, _around(rng, 0.35, 0.15), 0.32)
    contrast = _around(rng, 0.014, 0.15) + 0.0008j
    return [Body((0, 0, 0), (r, r, 1.2 * r), relief, contrast, 0.12, _around(rng, 0.055, 0.15) + 0.004j, 1.1)]


def _ragweed(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Ambrosia: spheroidal, echinate, with many short conical spines and a thick wall."""
    r = diameter_um / 2 * 0.9
    relief = _bumps(_sphere_points(int(rng.integers(50, 80))), _around(rng, 0.20, 0.15), 90.0)
    contrast = _around(rng, 0.013, 0.15) + 0.0008j
    return [Body((0, 0, 0), (r, r, r), relief, contrast, 0.16, _around(rng, 0.060, 0.15) + 0.005j, 1.3)]


def _alternaria(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Alternaria: dark, club-shaped, in transverse cells that taper into a beak."""
    cells = int(rng.integers(3, 6))
    length = diameter_um * 1.9
    radius = 0.62 * length / cells
    contrast = _around(rng, 0.030, 0.15) + _around(rng, 0.009, 0.3) * 1j
    bodies: list[Body] = []
    for k in range(cells):
        taper = 1 - 0.55 * (k / (cells - 1)) ** 1.5
        x = (k / (cells - 1) - 0.5) * (length - 2 * radius)
        r = radius * taper
        bodies.append(Body((x, 0, 0), (1.05 * r, r, r), None, contrast, 0.15, contrast * 1.5, 1.05))
    return bodies


def _cladosporium(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Cladosporium: small lemon-shaped to cylindrical conidia, single or two-celled, olive."""
    r = diameter_um / 2
    aspect = _around(rng, 1.7, 0.2)
    contrast = _around(rng, 0.035, 0.15) + _around(rng, 0.004, 0.3) * 1j
    a, b = r * aspect**0.5, r / aspect**0.5
    return [Body((0, 0, 0), (a, b, b), None, contrast, 0.1, contrast * 1.4, 1.05)]


def _penicillium(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Aspergillus/Penicillium type: a chain of small round conidia."""
    r = diameter_um / 2
    contrast = _around(rng, 0.045, 0.15) + 0.002j
    bodies: list[Body] = []
    place, heading = np.zeros(3), rng.normal(size=3)
    for _ in range(int(rng.integers(2, 8))):
        bodies.append(Body((float(place[0]), float(place[1]), float(place[2])), (r, r, r), None, contrast, 0.0, contrast, 1.05))
        heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.25, 3)
        place = place + heading / np.linalg.norm(heading) * 1.9 * r
    return bodies


def _dust(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Mineral dust and soot: angular, from clear quartz to opaque."""
    r = diameter_um / 2
    axes = r * np.exp(rng.normal(0, 0.25, 3))
    opaque = rng.random() < 0.6
    contrast = complex(rng.uniform(0.04, 0.12), rng.uniform(0.03, 0.15) if opaque else rng.uniform(0, 0.004))
    shape = (float(axes[0]), float(axes[1]), float(axes[2]))
    return [Body((0, 0, 0), shape, _rough(rng, 0.45), contrast, 0.0, contrast, 1.6)]


def _bead(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Polystyrene microsphere."""
    r = diameter_um / 2
    contrast = _around(rng, 0.12, 0.05)
    return [Body((0, 0, 0), (r, r, r), None, contrast, 0.0, contrast, 1.02)]


def _cluster(rng: np.random.Generator, diameter_um: float) -> list[Body]:
    """Touching microspheres lying on the window."""
    r = diameter_um / 2
    contrast = _around(rng, 0.12, 0.05)
    places = [np.zeros(3)]
    wanted = int(rng.integers(2, 6))
    while len(places) < wanted:
        angle = rng.uniform(0, 2 * np.pi)
        candidate = places[int(rng.integers(len(places)))] + 2 * r * np.array([np.cos(angle), np.sin(angle), 0])
        if all(np.linalg.norm(candidate - other) > 1.95 * r for other in places):
            places.append(candidate)
    middle = np.mean(places, axis=0)
    return [Body(tuple((p - middle).tolist()), (r, r, r), None, contrast, 0.0, contrast, 1.02) for p in places]


MORPHOLOGIES: Mapping[str, Morphology] = MappingProxyType(
    {
        m.name: m
        for m in (
            Morphology("birch", _birch, (22.0, 0.07), (17, 28)),
            Morphology("grass", _grass, (33.0, 0.12), (22, 48)),
            Morphology("oak", _oak, (27.0, 0.08), (20, 36)),
            Morphology("ragweed", _ragweed, (19.0, 0.06), (15, 24)),
            Morphology("alternaria", _alternaria, (15.0, 0.18), (9, 26)),
            Morphology("cladosporium", _cladosporium, (6.5, 0.22), (3.5, 12)),
            Morphology("penicillium", _penicillium, (3.5, 0.12), (2.5, 5)),
            Morphology("dust", _dust, (9.0, 0.5), (3, 40)),
            Morphology("bead", _bead, (10.0, 0.03), (1, 60)),
            Morphology("cluster", _cluster, (10.0, 0.03), (1, 60)),
        )
    }
)
