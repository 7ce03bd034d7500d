"""What stands in front of the simulated sensor while it is calibrated."""

from __future__ import annotations

import numpy as np

from device.instrument import Instrument
from device.twin.morphology import Body, make_volume
from device.twin.scene import Particle
from device.twin.world import TwinWorld

__all__ = ["RULING_UM", "put_beads", "put_ruling"]

RULING_UM = 40.0
"""Period of the simulated ruled target."""


def put_beads(
    world: TwinWorld,
    instrument: Instrument,
    *,
    diameter_um: float,
    contrast: float,
    count: int,
    tilt_degrees: tuple[float, float] = (0, 0),
) -> None:
    """A slide with one layer of spheres, at least 60 px apart, through the middle of the instrument's depth."""
    rng, radius_um = np.random.default_rng(world.seed), diameter_um / 2
    sensor = instrument.sensor
    middle = np.array([(sensor.height_px - 1) / 2, (sensor.width_px - 1) / 2])
    slopes = np.tan(np.deg2rad(tilt_degrees))
    places: list[np.ndarray] = []
    for _ in range(50 * count):
        candidate = rng.uniform(40, [sensor.height_px - 40, sensor.width_px - 40])
        if len(places) < count and all(np.hypot(*(candidate - other)) > 60 for other in places):
            places.append(candidate)
    particles: list[Particle] = []
    for row, column in places:
        offset_um = (np.array([row, column]) - middle) * sensor.pitch_um
        z_um = instrument.optics.distance_um + slopes[0] * offset_um[1] + slopes[1] * offset_um[0]
        sub = (column - round(column), row - round(row))
        bodies = [Body((0, 0, 0), (radius_um, radius_um, radius_um), None, contrast, 0.0, contrast, 1.02)]
        volume = make_volume(bodies, sensor.pitch_um, None, sub)
        particles.append(Particle("bead", column * sensor.pitch_um, row * sensor.pitch_um, float(z_um), volume, sub))
    # Spheres have an exact wave: projections of them would read some 3 um too far.
    world.model = "lorenz-mie"
    world.advance_window()
    world.deposit(particles)


def put_ruling(world: TwinWorld, instrument: Instrument, *, period_um: float = RULING_UM, turn_rad: float = 0.05) -> None:
    """A ruled target, lines half as dense as the gaps, turned a little against the pixels."""
    sensor = instrument.sensor
    y, x = (np.arange(n) * sensor.pitch_um for n in (sensor.height_px, sensor.width_px))
    across = x[None, :] * np.cos(turn_rad) + y[:, None] * np.sin(turn_rad)
    world.show((0.65 + 0.35 * np.tanh(4 * np.sin(2 * np.pi * across / period_um))).astype(np.complex64))
