"""What stands in front of the simulated sensor while it is calibrated, and what is true of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from device.instrument import Instrument
from device.optics.pupil import ABERRATIONS, Pupil
from device.twin.morphology import Body, make_volume
from device.twin.scene import SimulatedParticle, draw_particle
from device.twin.world import TwinWorld

__all__ = [
    "RULING_UM",
    "Stage",
    "found_share",
    "hidden_instrument",
    "hidden_pupil",
    "put_beads",
    "put_grains",
    "put_ruling",
    "put_suspension",
]

RULING_UM = 40.0
"""Period of the simulated ruled target."""
_APART_PX = 60
_GRAINS_APART_PX = 58


@dataclass
class Stage:
    """The simulated instrument with a target in place."""

    world: TwinWorld
    truth: dict[str, float] = field(default_factory=dict)
    """What is true of it, by the names of a record's values."""
    fresh: Callable[[], None] | None = None
    """To be called before each frame."""
    flow_ml_min: float = 0.0
    """What the pump moves."""
    truth_file: Path | None = None
    """Where the particles of every frame are told, as JSON lines."""


def hidden_instrument(nominal: Instrument, seed: int) -> tuple[Instrument, np.random.Generator]:
    """What an instrument truly is, drawn within what its file states, and the generator for what the file doesn't state.

    Pedestal, read noise and full well, for which it states nothing, are off by 0.5 counts, 5 % and 2 %.
    """
    rng = np.random.default_rng([seed, 1])
    sensor, lamp, optics, fluidics = nominal.sensor, nominal.lamp, nominal.optics, nominal.fluidics
    true = msgspec.structs.replace(
        nominal,
        sensor=msgspec.structs.replace(
            sensor,
            pitch_um=sensor.pitch_um + rng.normal(0, sensor.pitch_uncertainty_um),
            dark_level_counts=sensor.dark_level_counts + rng.normal(0, 0.5),
            read_noise_e=sensor.read_noise_e * (1 + rng.normal(0, 0.05)),
            full_well_e=sensor.full_well_e * (1 + rng.normal(0, 0.02)),
        ),
        lamp=msgspec.structs.replace(lamp, wavelength_um=lamp.wavelength_um + rng.normal(0, lamp.wavelength_uncertainty_um)),
        optics=msgspec.structs.replace(optics, distance_um=optics.distance_um + rng.normal(0, optics.distance_uncertainty_um)),
        fluidics=msgspec.structs.replace(
            fluidics, flow_ml_min=fluidics.flow_ml_min * (1 + rng.normal(0, fluidics.flow_relative_uncertainty))
        ),
    )
    return true, rng


def _sphere(diameter_um: float, contrast: float, pitch_um: float, sub_px: tuple[float, float]) -> SimulatedParticle:
    """A bead at the origin, its volume sampled with a shift."""
    radii_um = (diameter_um / 2, diameter_um / 2, diameter_um / 2)
    volume = make_volume([Body((0, 0, 0), radii_um, None, contrast, 0.0, contrast, 1.02)], pitch_um, None, sub_px)
    return SimulatedParticle("bead", 0.0, 0.0, 0.0, volume, sub_px)


def put_beads(
    world: TwinWorld,
    instrument: Instrument,
    *,
    diameter_um: float,
    contrast: float,
    count: int,
    tilt_degrees: tuple[float, float] = (0, 0),
) -> None:
    """A slide with one layer of spheres, at least 60 px apart, through the middle of the instrument's depth.

    `contrast` is a sphere's index over that of what is around it, less 1.
    """
    rng = np.random.default_rng(world.seed)
    sensor = instrument.sensor
    middle = np.array([(sensor.height_px - 1) / 2, (sensor.width_px - 1) / 2])
    slopes = np.tan(np.deg2rad(tilt_degrees))
    places: list[np.ndarray] = []
    for _ in range(50 * count):
        candidate = rng.uniform(40, [sensor.height_px - 40, sensor.width_px - 40])
        if len(places) < count and all(np.hypot(*(candidate - other)) > _APART_PX for other in places):
            places.append(candidate)
    particles: list[SimulatedParticle] = []
    for row, column in places:
        offset_um = (np.array([row, column]) - middle) * sensor.pitch_um
        z_um = instrument.optics.distance_um + slopes[0] * offset_um[1] + slopes[1] * offset_um[0]
        bead = _sphere(diameter_um, contrast, sensor.pitch_um, (column - round(column), row - round(row)))
        particles.append(replace(bead, x_um=column * sensor.pitch_um, y_um=row * sensor.pitch_um, z_um=float(z_um)))
    # Spheres have an exact wave: projections of them would read some 3 um too far.
    world.model = "lorenz-mie"
    world.advance_window()
    world.deposit(particles)


def put_suspension(
    world: TwinWorld, instrument: Instrument, *, diameter_um: float, contrast: float, per_ml: float, truth_file: Path | None = None
) -> None:  # fmt: skip
    """Water with spheres of one size in the channel; those of every frame go to `truth_file` as it is taken."""

    def bead(rng: np.random.Generator) -> SimulatedParticle:
        sub = rng.uniform(-0.5, 0.5, 2)
        return _sphere(diameter_um, contrast, instrument.sensor.pitch_um, (float(sub[0]), float(sub[1])))

    world.truth_file = truth_file
    world.fill_channel({"bead": per_ml}, bead)


def put_ruling(world: TwinWorld, instrument: Instrument, *, period_um: float = RULING_UM, turn_rad: float = 0.05) -> None:
    """A ruled target, lines half as dense as the gaps, turned a little against the pixels."""
    sensor = instrument.sensor
    y, x = (np.arange(n) * sensor.pitch_um for n in (sensor.height_px, sensor.width_px))
    across = x[None, :] * np.cos(turn_rad) + y[:, None] * np.sin(turn_rad)
    world.show((0.65 + 0.35 * np.tanh(4 * np.sin(2 * np.pi * across / period_um))).astype(np.complex64))


def put_grains(world: TwinWorld, instrument: Instrument, number: int) -> None:
    """A fresh window with pollen that stands apart, through a tenth of the instrument's depth; `number` says which."""
    rng, sensor = np.random.default_rng([world.seed, 5, number]), instrument.sensor
    distance_um, around_um = instrument.optics.distance_um, 0.1 * instrument.optics.depth_um
    particles: list[SimulatedParticle] = []
    border = _GRAINS_APART_PX // 2 + 8
    for row in range(border, sensor.height_px - border + 1, _GRAINS_APART_PX):
        for column in range(border, sensor.width_px - border + 1, _GRAINS_APART_PX):
            grain = draw_particle(
                rng, "ragweed", field_um=(1.0, 1.0), depth_um=(distance_um - around_um, distance_um + around_um),
                voxel_um=sensor.pitch_um, diameter_um=float(rng.uniform(12, 18)),
            )  # fmt: skip
            x_px, y_px = (round(n + rng.uniform(-9, 9)) + s for n, s in zip((column, row), grain.sub_px, strict=True))
            particles.append(replace(grain, x_um=x_px * sensor.pitch_um, y_um=y_px * sensor.pitch_um))
    world.advance_window()
    world.deposit(particles)


def found_share(found_um: Sequence[NDArray[np.float64]], truth_file: Path, within_um: float) -> float:
    """Share of the beads of every frame that were found: places float64 [n, 2] (x, y) of each frame against the truth's, one to one."""
    frames: dict[int, list[tuple[float, float]]] = {}
    for line in truth_file.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        frames.setdefault(told["frame"], []).append((told["x_um"], told["y_um"]))
    matched = 0
    for number, places_um in enumerate(found_um):
        true_um = np.array(frames.get(number, [])).reshape(-1, 2)
        apart_um = np.linalg.norm(true_um[:, None] - places_um[None], axis=2)
        rows, columns = linear_sum_assignment(np.minimum(apart_um, 2 * within_um))
        matched += int((apart_um[rows, columns] <= within_um).sum())
    return matched / max(sum(map(len, frames.values())), 1)


def hidden_pupil(rng: np.random.Generator, radius_per_um: float = 0.4) -> Pupil:
    """Astigmatism of about a radian, as a tilted window leaves it."""
    both = rng.normal(0, 0.8, 2)
    return Pupil((float(both[0]), float(both[1]), *([0.0] * (len(ABERRATIONS) - 2))), radius_per_um)
