"""What no classifier has a name for: procedural shapes of many kinds, to learn to say 'unknown' from.

Outlier exposure (Hendrycks, Mazeika and Dietterich 2019, arXiv:1812.04606): a network that has seen a wide range of other
things tells those it has never seen too. No kind here is a smooth round ball, nor equal balls that touch, nor a long cylinder:
those are kept for scoring.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from device.twin.morphology import Body, Morphology
from device.twin.morphology.shapes import bumps, extent_um, rough, sphere_points

__all__ = ["strangers"]

Float = NDArray[np.float32]
Reals = NDArray[np.floating]
"""Of either precision."""
_MOST_EXTENT = 1.6
"""Of a stranger, over the largest diameter."""

Draw = Callable[[np.random.Generator, float, complex], list[Body]]


def strangers(modulus: tuple[float, float], diameter_um: tuple[float, float] = (3.0, 60.0)) -> Morphology:
    """Shapes of index contrasts of `modulus`, log-uniform, one in eight of the other sign, one in three absorbing."""
    middle = float(np.sqrt(diameter_um[0] * diameter_um[1]))

    def draw(rng: np.random.Generator, size_um: float) -> list[Body]:
        real = float(np.exp(rng.uniform(*np.log(modulus)))) * (-1 if rng.random() < 0.12 else 1)
        imaginary = float(np.exp(rng.uniform(np.log(0.002), np.log(0.1)))) if rng.random() < 0.33 else 0.0
        kind = _KINDS[int(rng.integers(len(_KINDS)))]
        # A long one of the largest would fill the memory with its volume.
        while extent_um(bodies := kind(rng, size_um, complex(real, imaginary))) > _MOST_EXTENT * diameter_um[1]:
            pass
        return bodies

    return Morphology("other", draw, (middle, float(np.log(diameter_um[1] / middle) / 2)), diameter_um)


def _body(
    place: Reals, axes: Reals, contrast: complex, relief: Callable[[Float], Float] | None = None, reach: float = 1.05
) -> Body:
    centre = (float(place[0]), float(place[1]), float(place[2]))
    return Body(centre, (float(axes[0]), float(axes[1]), float(axes[2])), relief, contrast, 0.0, contrast, reach)


_ORIGIN = np.zeros(3, np.float32)


def _rod_or_plate(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """Smooth, long or flat; never round."""
    aspect = float(rng.uniform(1.9, 6.0))
    short = 0.5 * size_um / np.sqrt(aspect)
    axes = np.array([short * aspect, short, short if rng.random() < 0.5 else short * aspect * rng.uniform(0.5, 1)], np.float32)
    return [_body(_ORIGIN, axes, contrast)]


def _egg(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """Smooth ellipsoid of three unlike axes, with a core of another index in it."""
    axes = 0.5 * size_um * np.array([rng.uniform(1.25, 1.7), 1.0, rng.uniform(0.6, 0.85)])
    core = contrast * complex(rng.uniform(0.2, 2.5), 0)
    inner = _body(rng.uniform(-0.25, 0.25, 3) * axes, axes * rng.uniform(0.25, 0.6), core)
    return [_body(_ORIGIN, axes, contrast), inner]


def _star(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A few long spikes."""
    height = float(rng.uniform(0.4, 1.0))
    directions = sphere_points(int(rng.integers(4, 14))) + rng.normal(0, 0.15, 3).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    relief = bumps(directions.astype(np.float32), height, float(rng.uniform(12, 60)))
    return [_body(_ORIGIN, np.full(3, 0.38 * size_um), contrast, relief, 1.05 + height)]


def _dented(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A ball with deep dents or a single bite."""
    depth = float(rng.uniform(0.3, 0.6))
    directions = rng.normal(size=(int(rng.integers(1, 6)), 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return [_body(_ORIGIN, np.full(3, 0.55 * size_um), contrast, bumps(directions, -depth, float(rng.uniform(3, 25))), 1.05)]


def _crystal(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A box with flat faces."""
    power = float(rng.uniform(5, 10))

    def relief(unit: Float) -> Float:
        return (np.maximum((np.abs(unit) ** power).sum(axis=1), 1e-6) ** (-1 / power) - 1).clip(-0.5, 0.7).astype(np.float32)

    return [_body(_ORIGIN, 0.4 * size_um * np.exp(rng.normal(0, 0.3, 3)), contrast, relief, 1.75)]


def _soot(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A loose, branched heap of unlike lumps."""
    count = int(rng.integers(5, 16))
    places: list[Reals] = [_ORIGIN]
    for _ in range(count - 1):
        heading = rng.normal(size=3)
        places.append(places[int(rng.integers(len(places)))] + 0.22 * size_um * heading / np.linalg.norm(heading))
    middle = np.mean(places, axis=0)
    return [_body(p - middle, 0.15 * size_um * np.exp(rng.normal(0, 0.35, 3)), contrast) for p in places]


def _ring(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A ring or a piece of one."""
    thick = float(rng.uniform(0.08, 0.16)) * size_um
    turn = float(rng.uniform(0.5, 1.0)) * 2 * np.pi
    angles = np.linspace(0, turn, max(int(turn * 0.4 * size_um / thick), 6))
    places = 0.4 * size_um * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    return [_body(p, np.full(3, thick), contrast) for p in places - places.mean(axis=0)]


def _hollow(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A thick, uneven shell, or a wrinkled bag."""
    relief = rough(rng, float(rng.uniform(0.1, 0.3)), sharpness=float(rng.uniform(4, 12)))
    axes = 0.5 * size_um * np.exp(rng.normal(0, 0.2, 3))
    shape = (float(axes[0]), float(axes[1]), float(axes[2]))
    return [Body((0, 0, 0), shape, relief, contrast * 0.1, float(rng.uniform(0.2, 0.3)), contrast, 1.6)]


def _worm(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A long thread, bent."""
    radius = size_um * float(rng.uniform(0.06, 0.12))
    heading, place = rng.normal(size=3), np.zeros(3)
    places: list[Reals] = []
    for _ in range(int(rng.integers(10, 24))):
        heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.3, 3)
        place = place + heading / np.linalg.norm(heading) * radius
        places.append(place)
    middle = np.mean(places, axis=0)
    return [_body(p - middle, np.full(3, radius), contrast) for p in places]


def _pair(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """Two unlike things that stick together."""
    first = 0.35 * size_um * np.exp(rng.normal(0, 0.25, 3))
    second = 0.35 * size_um * float(rng.uniform(0.35, 0.7)) * np.exp(rng.normal(0, 0.3, 3))
    along = np.array([first[0] + 0.8 * second[0], 0.0, 0.0])
    return [
        _body(-along / 2, first, contrast, rough(rng, float(rng.uniform(0, 0.3))), 1.6),
        _body(along / 2, second, contrast * complex(rng.uniform(0.4, 1.6), 0)),
    ]


def _flake(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A thin piece of tissue or film with an uneven outline, its cells of another contrast than its walls."""
    a, b = 0.5 * size_um * np.exp(rng.normal(0, 0.25, 2))
    thick = float(rng.uniform(0.06, 0.25)) * size_um
    sheet = _body(_ORIGIN, np.array([a, b, thick]), contrast, rough(rng, float(rng.uniform(0.2, 0.5)), 20, 8.0), 1.6)
    cell_um, inside = size_um * float(rng.uniform(0.08, 0.2)), contrast * complex(rng.uniform(0, 0.6), 0)
    return [sheet, *(
        _body(np.array([x, y, 0.0]), np.array([*(cell_um * np.exp(rng.normal(0, 0.2, 2))), 0.8 * thick]), inside)
        for x, y in rng.uniform(-0.7, 0.7, (int(rng.integers(0, 14)), 2)) * (a, b)
    )]  # fmt: skip


def _organism(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A sac of any proportions with granules in it, narrowed or swollen somewhere, often with a tail."""
    b = 0.5 * size_um / float(rng.uniform(1.0, 1.8))
    a = b * float(rng.uniform(1.2, 4.0))
    waist = bumps(sphere_points(int(rng.integers(2, 5))), float(rng.uniform(-0.35, 0.35)), float(rng.uniform(2, 8)))
    soft = contrast * 0.4
    sac = Body((0, 0, 0), (a, b, b * float(rng.uniform(0.5, 1))), waist, soft, float(rng.uniform(0.03, 0.15)), contrast, 1.4)
    granules = [
        _body(place * (a, b, b), np.full(3, b * rng.uniform(0.08, 0.4)), contrast * complex(rng.uniform(0.3, 2.5), 0))
        for place in rng.uniform(-0.55, 0.55, (int(rng.integers(1, 10)), 3))
    ]
    if rng.random() < 0.5:
        return [sac, *granules]
    thin = b * float(rng.uniform(0.06, 0.2))
    swing = float(rng.normal(0, 0.4))
    along = np.linspace(0, float(rng.uniform(0.5, 1.2)), 12)
    tail = [
        _body(np.array([a * (1 + s), a * swing * s**2, 0.0]), np.array([2 * thin + 0.06 * a, thin, thin]), contrast)
        for s in along
    ]
    return [sac, *granules, *tail]


def _cloud(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A lump without an edge: shells of rising contrast, off centre."""
    axes = 0.6 * size_um * np.array([rng.uniform(1.2, 1.8), 1.0, rng.uniform(0.6, 1.0)])
    drift = rng.normal(0, 0.12, 3)
    outline = rough(rng, float(rng.uniform(0.1, 0.35)))
    return [_body(drift * s * axes, (1 - s) * axes, contrast * (s + 0.15), outline, 1.45) for s in (0.0, 0.2, 0.4, 0.6, 0.75)]


def _bristly(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """A trunk with hairs or legs along it: a piece of an insect, of a feather, of a plant."""
    a, b = 0.35 * size_um, 0.35 * size_um * float(rng.uniform(0.1, 0.45))
    hair = 0.03 * size_um * float(rng.uniform(0.6, 1.5))
    reach = 0.3 * size_um * float(rng.uniform(0.6, 1.4))
    sides = (1, -1) if rng.random() < 0.6 else (1,)
    hairs = [
        _body(np.array([x, side * (b + 0.8 * reach), rng.normal(0, b / 2)]), np.array([hair, reach, hair]), contrast)
        for x in np.linspace(-0.9, 0.9, int(rng.integers(3, 9))) * a for side in sides
    ]  # fmt: skip
    return [_body(_ORIGIN, np.array([a, b, b]), contrast, rough(rng, 0.15), 1.3), *hairs]


def _chips(rng: np.random.Generator, size_um: float, contrast: complex) -> list[Body]:
    """Broken pieces that lie against each other, some clear and some not."""
    out: list[Body] = []
    for k in range(int(rng.integers(2, 5))):
        part = contrast * float(rng.uniform(0.4, 1.4)) + 1j * abs(contrast) * float(rng.choice([0.0, 0.1, 0.6]))
        axes = 0.22 * size_um * np.exp(rng.normal(0, 0.4, 3))
        out.append(
            _body(np.array([0.35 * size_um * k, 0.2 * size_um * rng.normal(), 0.0]), axes, part, rough(rng, 0.5, 8, 6.0), 1.6)
        )
    return out


_KINDS: tuple[Draw, ...] = (
    _rod_or_plate, _egg, _star, _dented, _crystal, _soot, _ring, _hollow, _worm, _pair,
    _flake, _organism, _organism, _cloud, _bristly, _chips,
)  # fmt: skip
