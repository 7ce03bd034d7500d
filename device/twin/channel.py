"""What flows through the channel of the simulated flow cytometer.

Particles come in with the water (Poisson, at the concentrations set), each carried at the speed of its place in the channel:
those at the walls linger, those in the middle may pass between two frames. They are points to the flow: walls don't push
them away, gravity and lift don't move them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from device.duct_flow import Duct
from device.twin.scene import SimulatedParticle, draw_particle

__all__ = ["Channel"]

_MARGIN_UM = 300.0
"""Around the field: what lies there can still write fringes into it."""


@dataclass
class Channel:
    """The channel in front of the sensor."""

    duct: Duct
    field_um: tuple[float, float]
    """Field of view: height (across the flow), width (along it)."""
    distance_um: float
    """Sensor to the middle of the channel."""
    voxel_um: float
    per_ml: Mapping[str, float]
    """Particles per millilitre, by morphology."""
    rng: np.random.Generator
    body: Callable[[np.random.Generator], SimulatedParticle] | None = None
    """Draws each particle on its grid; None: as its morphology is."""
    number: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Of each particle in the channel: its number, from 0."""
    places_um: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    """float64 [n, 3]: x, y from the centre of pixel (0, 0), z from the middle of the channel."""
    _labels: list[str] = field(default_factory=list)
    _bodies: dict[int, SimulatedParticle] = field(default_factory=dict)
    _next: int = 0

    def __post_init__(self) -> None:
        length_um = self.field_um[1] + 2 * _MARGIN_UM
        for label, per_ml in self.per_ml.items():
            count = int(self.rng.poisson(per_ml * length_um * self.duct.section_um2 * 1e-12))
            x_um = self.rng.uniform(-_MARGIN_UM, self.field_um[1] + _MARGIN_UM, count)
            self._enter(label, x_um, *self._across(count, by_flow=False))

    def advance(self, moved_ml: float) -> None:
        """Carry what is there, let in what the water brings."""
        mean_um = self.duct.mean_travel_um(moved_ml)
        y_um = self.places_um[:, 1] - self._middle_um
        self.places_um[:, 0] += mean_um * self.duct.relative_speed(y_um, self.places_um[:, 2])
        for label, per_ml in self.per_ml.items():
            count = int(self.rng.poisson(per_ml * moved_ml))
            y_um, z_um = self._across(count, by_flow=True)
            travelled = self.rng.random(count) * mean_um * self.duct.relative_speed(y_um - self._middle_um, z_um)
            self._enter(label, travelled - _MARGIN_UM, y_um, z_um)
        self._keep(self.places_um[:, 0] < self.field_um[1] + _MARGIN_UM)

    def in_reach(self) -> list[tuple[int, SimulatedParticle]]:
        """Number and body of every particle that the sensor can see anything of."""
        return [(int(k), self._body(int(k), row)) for k, row in zip(self.number, self.places_um, strict=True)]

    @property
    def _middle_um(self) -> float:
        return self.field_um[0] / 2

    def _across(self, count: int, *, by_flow: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Places across the channel: even, or in proportion to the flow through each (by rejection)."""
        w, h, most = self.duct.width_um, self.duct.height_um, self.duct.fastest()
        y_um, z_um = np.zeros(0), np.zeros(0)
        while len(y_um) < count:
            y, z = self.rng.uniform(-w / 2, w / 2, count), self.rng.uniform(-h / 2, h / 2, count)
            if by_flow:
                taken = self.rng.random(count) * most < self.duct.relative_speed(y, z)
                y, z = y[taken], z[taken]
            y_um, z_um = np.concatenate([y_um, y]), np.concatenate([z_um, z])
        return y_um[:count] + self._middle_um, z_um[:count]

    def _enter(self, label: str, x_um: NDArray[np.float64], y_um: NDArray[np.float64], z_um: NDArray[np.float64]) -> None:
        seen = (x_um < self.field_um[1] + _MARGIN_UM) & (np.abs(y_um - self._middle_um) < self._middle_um + _MARGIN_UM)
        first = self._next
        self._next += int(seen.sum())
        self.number = np.concatenate([self.number, np.arange(first, self._next)])
        self.places_um = np.concatenate([self.places_um, np.stack([x_um[seen], y_um[seen], z_um[seen]], axis=1)])
        self._labels += [label] * int(seen.sum())

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        for number in self.number[~kept].tolist():
            self._bodies.pop(number, None)
        self._labels = [label for label, stays in zip(self._labels, kept.tolist(), strict=True) if stays]
        self.number, self.places_um = self.number[kept], self.places_um[kept]

    def _body(self, number: int, place_um: NDArray[np.float64]) -> SimulatedParticle:
        """The particle, made when it is first looked at, on the grid that its volume was sampled for."""
        body = self._bodies.get(number)
        if body is None:
            label = self._labels[int(np.searchsorted(self.number, number))]
            if self.body is not None:
                body = self.body(self.rng)
            else:
                body = draw_particle(self.rng, label, field_um=(1.0, 1.0), depth_um=(1.0, 1.0), voxel_um=self.voxel_um)
            self._bodies[number] = body
        x_um, y_um = (
            (round(c / self.voxel_um - s) + s) * self.voxel_um for c, s in zip(place_um[:2], body.sub_px, strict=True)
        )
        return replace(body, x_um=float(x_um), y_um=float(y_um), z_um=self.distance_um + float(place_um[2]))
