"""Particles of a stream counted once, however many frames show them.

A particle's depth and place across the channel say how fast it goes; how much volume moved between two frames says how far.
What is found where a known particle must have come to is that particle; what is left is new. A particle that was missed once
is still expected for a few frames, so that finding it again doesn't make two of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from device.duct_flow import Duct
from device.records import Particle

__all__ = ["CountingFrame", "Tracker", "TrackerSettings"]

_IMPOSSIBLE = -1e6
"""Of log likelihood ratios: stands for minus infinity in the assignment."""


@dataclass(frozen=True)
class TrackerSettings:
    """How particles are found again."""

    place_um: float = 5.0
    """One standard deviation of a place in the field, of small particles."""
    place_share: float = 0.1
    """Of the diameter, on top: outlines of large ones differ from frame to frame."""
    flow_relative_uncertainty: float = 0.05
    """Of the volume that moved, one standard deviation."""
    least_depth_um: float = 40.0
    """A depth is never trusted beyond this, one standard deviation."""
    depth_trust: float = 0.75
    """Share of the depths that are within their uncertainty; the others may be anywhere in the channel."""
    size_spread: float = 0.2
    """Of the logarithm of one particle's diameter between frames, one standard deviation."""
    sizes_spread: float = 0.6
    """Of the logarithm of diameters between particles."""
    recall: float = 0.9
    """Share of the particles in view that a frame shows."""
    patience: int = 3
    """Frames a particle may go unseen while it must still be in view."""


@dataclass(frozen=True)
class CountingFrame:
    """The part of the field in which particles are counted, inside the border that cuts them."""

    x_um: tuple[float, float]
    """Along the flow, from the centre of pixel (0, 0)."""
    y_um: tuple[float, float]
    """Across it."""
    middle_um: tuple[float, float]
    """Of the channel: across the flow from the centre of pixel (0, 0), and along the axis from the sensor."""

    @property
    def length_um(self) -> float:
        """Along the flow."""
        return self.x_um[1] - self.x_um[0]

    @property
    def across_um(self) -> tuple[float, float]:
        """Across the flow, from the middle of the channel."""
        return self.y_um[0] - self.middle_um[0], self.y_um[1] - self.middle_um[0]

    @property
    def area_um2(self) -> float:
        """Seen along the axis."""
        return self.length_um * (self.y_um[1] - self.y_um[0])

    def holds(self, particle: Particle) -> bool:
        """Whether a particle counts here: by its centre."""
        return self.x_um[0] <= particle.x_um < self.x_um[1] and self.y_um[0] <= particle.y_um < self.y_um[1]


@dataclass
class _Track:
    """A particle that was seen and may be seen again."""

    last: Particle
    speed: tuple[float, float]
    """Least and most, over the mean speed of the channel."""
    travel_um: float = 0.0
    """What the mean speed went since it was last seen."""
    missed: int = 0


@dataclass
class Tracker:
    """Tells the new particles of each frame from those it knows."""

    duct: Duct
    view: CountingFrame
    settings: TrackerSettings = field(default_factory=TrackerSettings)
    speed_ratios: list[float] = field(default_factory=list)
    """Of particles seen twice: their speed over what their depth made expect."""
    _tracks: list[_Track] = field(default_factory=list)

    def look(self, particles: Sequence[Particle], moved_ml: float) -> NDArray[np.bool_]:
        """Which of a frame's particles in the view are new, bool [n]; `moved_ml` since the frame before."""
        travel_um = self.duct.mean_travel_um(moved_ml)
        for track in self._tracks:
            track.travel_um += travel_um
        self._tracks = [track for track in self._tracks if self._may_be_here(track)]
        pairs = self._matched(particles, travel_um)
        new = np.ones(len(particles), np.bool_)
        for t, p in pairs:
            new[p] = False
            self._follow(self._tracks[t], particles[p])
        seen = {t for t, _ in pairs}
        for t, track in enumerate(self._tracks):
            track.missed = 0 if t in seen else track.missed + 1
        self._tracks = [track for track in self._tracks if track.missed <= self.settings.patience]
        self._tracks += [_Track(p, self._expected(p)) for p, is_new in zip(particles, new.tolist(), strict=True) if is_new]
        return new

    def forget(self) -> None:
        """Nothing of what was in view is expected again."""
        self._tracks.clear()

    def _expected(self, particle: Particle) -> tuple[float, float]:
        """Least and most speed of a particle by its place across the channel and its depth."""
        across_um, depth_um = particle.y_um - self.view.middle_um[0], particle.z_um - self.view.middle_um[1]
        spread_um = max(particle.z_uncertainty_um, self.settings.least_depth_um)
        half_um = self.duct.height_um / 2
        z_um = np.clip(depth_um + spread_um * np.linspace(-2, 2, 9), -half_um, half_um)
        speeds = self.duct.relative_speed(across_um, z_um)
        share = 2 * self.settings.flow_relative_uncertainty
        return float(speeds.min()) * (1 - share), float(speeds.max()) * (1 + share)

    def _place_um(self, particle: Particle) -> float:
        return math.hypot(self.settings.place_um, self.settings.place_share * particle.esd_um)

    def _may_be_here(self, track: _Track) -> bool:
        reach_um = track.last.x_um + track.speed[0] * track.travel_um
        return reach_um - 3 * self._place_um(track.last) < self.view.x_um[1]

    def _matched(self, particles: Sequence[Particle], travel_um: float) -> list[tuple[int, int]]:
        """Pairs (track, particle), one to one, each more likely the same particle than another that is new."""
        if not particles or not self._tracks:
            return []
        density = len(particles) / self.view.area_um2
        fresh_um = self.view.x_um[0] + self.duct.fastest() * travel_um
        new = [math.log(density * (1.0 if p.x_um < fresh_um else 1 - self.settings.recall)) for p in particles]
        ratios = np.array([[self._same(track, p) - n for p, n in zip(particles, new, strict=True)] for track in self._tracks])
        rows, columns = linear_sum_assignment(-np.maximum(ratios, 0))
        return [(int(t), int(p)) for t, p in zip(rows, columns, strict=True) if ratios[t, p] > 0]

    def _same(self, track: _Track, particle: Particle) -> float:
        """Log of the density, per square micrometre, of finding the track's particle where this one is, over what missing it
        would be worth."""
        settings, last = self.settings, track.last
        spread_um = math.sqrt(2) * max(self._place_um(last), self._place_um(particle))
        along_um, across_um = particle.x_um - last.x_um, particle.y_um - last.y_um
        size = math.log(particle.esd_um / last.esd_um)
        if abs(across_um) > 4 * spread_um or abs(size) > 4 * settings.size_spread:
            return _IMPOSSIBLE
        low, high = (speed * track.travel_um for speed in track.speed)
        expected = _even(along_um, low, high, spread_um)
        anywhere = _even(along_um, 0.0, self.duct.fastest() * track.travel_um, spread_um)
        along = settings.depth_trust * expected + (1 - settings.depth_trust) * anywhere
        if along <= 0:
            return _IMPOSSIBLE
        across = -0.5 * (across_um / spread_um) ** 2 - math.log(spread_um * math.sqrt(2 * math.pi))
        alike = -0.5 * (size / settings.size_spread) ** 2 - math.log(settings.size_spread / settings.sizes_spread)
        return math.log(along) + across + alike + math.log(settings.recall / (1 - settings.recall))

    def _follow(self, track: _Track, particle: Particle) -> None:
        """What was measured of a particle's speed takes the place of what was expected."""
        spread_um = 2 * math.sqrt(2) * self._place_um(particle)
        if track.travel_um > spread_um:
            speed = (particle.x_um - track.last.x_um) / track.travel_um
            low, high = self._expected(track.last)
            # Only of those that had to stay in view: of the others, only the slow ones are seen again.
            stays = track.last.x_um + high * track.travel_um < self.view.x_um[1]
            if stays and high > 0 and track.last.z_uncertainty_um < 2 * self.settings.least_depth_um:
                self.speed_ratios.append(speed / ((low + high) / 2))
            spread = spread_um / track.travel_um
            track.speed = (max(speed - spread, 0.0), speed + spread)
        track.last, track.travel_um = particle, 0.0


def _even(value: float, low: float, high: float, spread: float) -> float:
    """Density at a value of what lies evenly between two limits and is blurred by a normal spread."""
    root = spread * math.sqrt(2)
    if high - low < 0.1 * spread:
        return math.exp(-0.5 * ((value - (low + high) / 2) / spread) ** 2) / (spread * math.sqrt(2 * math.pi))
    return (math.erf((value - low) / root) - math.erf((value - high) / root)) / (2 * (high - low))
