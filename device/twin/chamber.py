"""The chamber of the simulated biosensor: beads on its floor that clump while they are looked at.

Between frames the chamber is rocked and the beads come down again near where they lay. Clusters join by neighbours, in three
dimensions and at any of their beads, and come to rest on their broadest side; the floor is a little askew.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from device.twin.aggregation import BeadSuspension, Coagulation
from device.twin.forward import Model
from device.twin.morphology import Body, make_volume
from device.twin.scene import SimulatedParticle, draw_particles

__all__ = ["Chamber", "Clump", "joined"]

_MARGIN_UM = 200.0
"""Around the field: what lies there still writes fringes into it."""
_SCATTER = 0.03
"""Of the beads' diameters and contrasts, relative."""
_MOST_SLOPE = 0.02
"""Of the floor against the sensor."""
_STEP_UM_PER_ROOT_S = 1.5
"""Random walk of a rocked bead along the floor."""
_NEIGHBOURS = 6
"""A cluster meets one of so many that are nearest."""

Places = NDArray[np.float64]


@dataclass(frozen=True)
class Clump:
    """Beads that touch; one or more."""

    beads_um: Places
    """float64 [n, 3]: middles x, y, z from the middle of all."""
    radii_um: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    @property
    def reach_um(self) -> float:
        """Farthest surface from the middle."""
        return float((np.linalg.norm(self.beads_um, axis=1) + self.radii_um).max())


def joined(one: Clump, other: Clump, rng: np.random.Generator) -> Clump:
    """Two clumps that stick where two of their beads touch, at rest on their broadest side."""
    for _ in range(200):
        turned = other.beads_um @ _random_turn(rng).T
        a, b = int(rng.integers(len(one.radii_um))), int(rng.integers(len(turned)))
        away = rng.normal(size=3)
        away *= (one.radii_um[a] + other.radii_um[b]) / np.linalg.norm(away)
        moved = turned - turned[b] + one.beads_um[a] + away
        gaps = np.linalg.norm(one.beads_um[:, None] - moved[None], axis=2) - one.radii_um[:, None] - other.radii_um[None]
        if gaps.min() > -1e-6:
            break
    else:
        # Both are closed all around: end to end.
        moved = other.beads_um + np.array([one.reach_um + other.reach_um, 0, 0])
    beads_um = np.concatenate([one.beads_um, moved])
    return Clump(
        _at_rest(beads_um, rng),
        np.concatenate([one.radii_um, other.radii_um]),
        np.concatenate([one.contrasts, other.contrasts]),
    )


def _random_turn(rng: np.random.Generator) -> Places:
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    return turn * np.sign(np.diag(upper))


def _at_rest(beads_um: Places, rng: np.random.Generator) -> Places:
    """About the middle, the thinnest direction upright, turned at random."""
    centred = beads_um - beads_um.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=True)
    flat, turn = centred @ axes.T, rng.uniform(0, 2 * np.pi)
    spun = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
    return flat @ spun.T


@dataclass
class Chamber:
    """A filled chamber in front of the sensor."""

    sample: BeadSuspension
    field_um: tuple[float, float]
    """Field of view: height, width."""
    height_um: float
    """Depth of the chamber, whose beads all lie on its floor."""
    distance_um: float
    """Sensor to the middle of the floor."""
    voxel_um: float
    rng: np.random.Generator
    debris_per_ul: dict[str, float] = field(default_factory=dict)
    """What else the sample holds, by morphology; it lies still."""
    clumps: list[Clump] = field(default_factory=list)
    places_um: Places = field(default_factory=lambda: np.zeros((0, 2)))
    """float64 [n, 2]: x, y of each clump from the centre of pixel (0, 0)."""

    def __post_init__(self) -> None:
        sample, rng = self.sample, self.rng
        area_um2 = math.prod(side + 2 * _MARGIN_UM for side in self.field_um)
        volume_ul = area_um2 * self.height_um * 1e-9
        beads, analyte = rng.poisson(sample.beads_per_ul * volume_ul), rng.poisson(sample.analyte_per_ul * volume_ul)
        self._slopes = rng.uniform(-_MOST_SLOPE, _MOST_SLOPE, 2)
        self._coagulation = Coagulation(sample, int(beads), int(analyte), rng)
        for _ in range(int(beads)):
            self.places_um = np.vstack([self.places_um, self._free_place(self._anywhere(), sample.bead_um / 2)])
            self.clumps.append(self._bead())
        self._debris = draw_particles(
            rng,
            {label: value * math.prod(self.field_um) * self.height_um * 1e-9 for label, value in self.debris_per_ul.items()},
            field_um=self.field_um,
            depth_um=(self.distance_um, self.distance_um),
            voxel_um=self.voxel_um,
        )
        self._debris = [replace(p, z_um=self._floor_um(p.x_um, p.y_um)) for p in self._debris]

    def advance(self, seconds: float) -> None:
        """Rock the chamber for a time."""
        if seconds <= 0:
            return
        for _ in range(self._coagulation.bonds(seconds)):
            self._join()
        step_um = _STEP_UM_PER_ROOT_S * math.sqrt(seconds)
        for k, clump in enumerate(self.clumps):
            old_um = self.places_um[k].copy()
            self.places_um[k] = np.inf
            self.places_um[k] = self._free_place(old_um + self.rng.normal(0, step_um, 2), clump.reach_um, old_um)

    def bodies(self, model: Model) -> list[SimulatedParticle]:
        """All that lies there, as a forward model takes it: clumps whole, or every bead for the exact wave of spheres."""
        found = list(self._debris) if model != "lorenz-mie" else []
        for clump, (x_um, y_um) in zip(self.clumps, self.places_um, strict=True):
            parts = _singles(clump) if model == "lorenz-mie" else [(np.zeros(3), clump)]
            found += [self._particle(part, float(x_um) + at[0], float(y_um) + at[1], at[2]) for at, part in parts]
        return found

    def debris(self) -> list[SimulatedParticle]:
        """What lies still."""
        return list(self._debris)

    def in_field(self) -> list[tuple[int, float, float]]:
        """Number of beads and place x, y of every clump that the sensor shows."""
        height_um, width_um = self.field_um
        return [
            (len(clump.radii_um), float(x), float(y))
            for clump, (x, y) in zip(self.clumps, self.places_um, strict=True)
            if 0 <= x < width_um and 0 <= y < height_um
        ]

    def _bead(self) -> Clump:
        relative = np.exp(self.rng.normal(0, _SCATTER, 2))
        return Clump(
            np.zeros((1, 3)),
            np.array([self.sample.bead_um / 2 * relative[0]]),
            np.array([self.sample.bead_contrast * relative[1]]),
        )

    def _join(self) -> None:
        """Any cluster sticks to one of its neighbours."""
        k = int(self.rng.integers(len(self.clumps)))
        away = np.hypot(*(self.places_um - self.places_um[k]).T)
        near = np.argsort(away)[1 : 1 + _NEIGHBOURS]
        j = int(near[self.rng.integers(len(near))])
        self.clumps[j] = joined(self.clumps[j], self.clumps[k], self.rng)
        del self.clumps[k]
        self.places_um = np.delete(self.places_um, k, axis=0)

    def _anywhere(self) -> Places:
        return self.rng.uniform(-_MARGIN_UM, [self.field_um[1] + _MARGIN_UM, self.field_um[0] + _MARGIN_UM])

    def _free_place(self, wanted_um: Places, reach_um: float, old_um: Places | None = None) -> Places:
        """Near a place, where nothing else lies."""
        place = wanted_um
        reaches = np.array([clump.reach_um for clump in self.clumps[: len(self.places_um)]])
        for _ in range(30):
            if not len(reaches) or np.all(np.hypot(*(self.places_um - place).T) > reaches + reach_um):
                return place
            place = wanted_um + self.rng.normal(0, 2 * reach_um, 2)
        return wanted_um if old_um is None else old_um

    def _floor_um(self, x_um: float, y_um: float) -> float:
        middle_y, middle_x = self.field_um[0] / 2, self.field_um[1] / 2
        return self.distance_um + float(self._slopes[0] * (x_um - middle_x) + self._slopes[1] * (y_um - middle_y))

    def _particle(self, clump: Clump, x_um: float, y_um: float, height_um: float) -> SimulatedParticle:
        sub = (x_um / self.voxel_um - round(x_um / self.voxel_um), y_um / self.voxel_um - round(y_um / self.voxel_um))
        bodies = [
            Body(
                (float(at[0]), float(at[1]), float(at[2])),
                (float(r), float(r), float(r)),
                None,
                complex(c),
                0.0,
                complex(c),
                1.02,
            )
            for at, r, c in zip(clump.beads_um, clump.radii_um, clump.contrasts, strict=True)
        ]
        volume = make_volume(bodies, self.voxel_um, None, sub)
        label = "bead" if len(bodies) == 1 else "clump"
        return SimulatedParticle(label, x_um, y_um, self._floor_um(x_um, y_um) - float(height_um), volume, sub)


def _singles(clump: Clump) -> Sequence[tuple[Places, Clump]]:
    """Each bead by itself, with its place in the clump."""
    return [
        (at, Clump(np.zeros((1, 3)), clump.radii_um[k : k + 1], clump.contrasts[k : k + 1]))
        for k, at in enumerate(clump.beads_um)
    ]
