"""The same particles in any geometry: `python -m tests.benchmarks.geometries [--frames 2] [--seed 1] [--binning N]`.

Spheres of 12 to 40 pixels across at three depths, recorded by a plane wave, through a lens and with a point source, at defocus
numbers wavelength * distance / pitch^2 from 5 to 10,000. The spheres are thin screens on a grid twice as fine, carried from depth
to depth and to the sensor by the angular spectrum, summed over pixels, with shot noise and ten bits: a forward model of its own.
A point source is recorded as its equivalent plane wave (Kreuzer's scaling), so what is tested of it is the way back to the
sensor's and the object's own lengths. Right is a particle within 3 pixels of a true one, beyond that false; places are RMS,
depths in depths of field 4 * pitch^2 / wavelength, shares with their 95 % interval.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from device.analysis.background import normalise
from device.analysis.pipeline import Pipeline
from device.config import load_config
from device.errors import InputError
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.records import Particle
from device.rig.models import build_pipeline, model_store
from tests.benchmarks.objects import share_interval

NUMBERS = (5, 12, 30, 100, 400, 1500, 4000, 10_000)
SIDE_PX, MARGIN_PX, FINE = 768, 192, 2
COUNT = 14
DIAMETER_PX = (12.0, 40.0)
DEPTHS = (-1.5, 0.0, 1.5)
"""Of the planes, in depths of field off the stated distance."""
ELECTRONS = 8_000
MATCH_PX = 3.0


@dataclass(frozen=True)
class TrueSphere:
    """In the sensor's coordinates, as a record has them."""

    x_um: float
    y_um: float
    z_um: float
    diameter_um: float


def geometries() -> Iterator[tuple[str, Geometry]]:
    """Of every kind and defocus number."""
    for number in NUMBERS:
        pitch_um = 3.45 if number < 1000 else 1.4
        yield "plane wave", Geometry(0.532, pitch_um, number * pitch_um**2 / 0.532)
        yield "lens x5", Geometry(0.633, 6.5, number * (6.5 / 5) ** 2 / 0.633, magnification=5.0)
        # z (1 - z / L) L^2 / ((L - z)^2 M^2) is short of z / M: the distance from the source follows from the number.
        source_um, pitch_um = 20_000.0, 6.9
        share = number * pitch_um**2 / 0.532 / source_um
        yield "point source", Geometry(0.532, pitch_um, source_um * share / (1 + share), source_distance_um=source_um)


def recording(rng: np.random.Generator, geometry: Geometry) -> tuple[Hologram, list[TrueSphere]]:
    """A hologram and what is in it."""
    pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
    side = FINE * (SIDE_PX + 2 * MARGIN_PX)
    unit_um = 4 * pitch_um**2 / wavelength_um
    planes = np.zeros((len(DEPTHS), side, side), np.float32)
    truth: list[TrueSphere] = []
    places = list[tuple[float, float]]()
    while len(places) < COUNT:
        at = tuple(rng.uniform(50, SIDE_PX - 50, 2))
        if any(math.dist(at, other) < 60 for other in places):
            continue
        places.append((at[0], at[1]))
        plane = int(rng.integers(len(DEPTHS)))
        diameter_px = float(np.exp(rng.uniform(*np.log(DIAMETER_PX))))
        _draw(planes[plane], at, diameter_px, float(rng.uniform(1.0, 2.5)))
        distance_um = geometry.distance_of(geometry.propagation_um + DEPTHS[plane] * unit_um)
        truth.append(TrueSphere(at[0] * pitch_um, at[1] * pitch_um, distance_um, diameter_px * pitch_um))
    wave = np.ones((side, side), np.complex64)
    gone_um = geometry.propagation_um + max(DEPTHS) * unit_um
    for depth, phase in sorted(zip(DEPTHS, planes, strict=True), reverse=True, key=lambda pair: pair[0]):
        here_um = geometry.propagation_um + depth * unit_um
        wave = _carried(wave, pitch_um / FINE, wavelength_um, gone_um - here_um) * np.exp(1j * phase)
        gone_um = here_um
    light = np.abs(_carried(wave, pitch_um / FINE, wavelength_um, gone_um)) ** 2
    whole = light.reshape(side // FINE, FINE, side // FINE, FINE).mean(axis=(1, 3))[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    counts = np.round(rng.poisson(whole * ELECTRONS) / ELECTRONS * 400)
    ready = normalise(np.clip(counts, 0, 1023).astype(np.float32))
    return Hologram(ready.intensity, geometry, ready.noise, datetime(2026, 11, 28, tzinfo=UTC)), truth


def _draw(phase: NDArray[np.float32], at_px: tuple[float, ...], diameter_px: float, middle_rad: float) -> None:
    """A sphere's projected path, about (column, row) of the sensor."""
    # Centres of fine pixels sit at (k + 0.5) / FINE - 0.5 in the sensor's.
    column, row = ((place + MARGIN_PX + 0.5) * FINE - 0.5 for place in at_px)
    reach = int(FINE * diameter_px / 2) + 2
    rows, columns = slice(int(row) - reach, int(row) + reach + 1), slice(int(column) - reach, int(column) + reach + 1)
    y, x = np.mgrid[rows, columns]
    across = ((x - column) ** 2 + (y - row) ** 2) / (FINE * diameter_px / 2) ** 2
    phase[rows, columns] += middle_rad * np.sqrt(np.clip(1 - across, 0, None))


def _carried(wave: NDArray[np.complex64], pitch_um: float, wavelength_um: float, distance_um: float) -> NDArray[np.complex64]:
    f = np.fft.fftfreq(wave.shape[0], pitch_um)
    squared = np.maximum(1 / wavelength_um**2 - f[:, None] ** 2 - f[None, :] ** 2, 0)
    transfer = np.exp(2j * np.pi * distance_um * (np.sqrt(squared) - 1 / wavelength_um))
    # What the grid can't sample at this distance would come in again from the other side.
    limit = 1 / (wavelength_um * np.hypot(2 * distance_um / (wave.shape[0] * pitch_um), 1))
    transfer[(np.abs(f)[:, None] > limit) | (np.abs(f)[None, :] > limit)] = 0
    return np.fft.ifft2(np.fft.fft2(wave) * transfer).astype(np.complex64)


@dataclass
class Tally:
    """What came of one geometry's frames."""

    true: int = 0
    right: int = 0
    found: int = 0
    failed: int = 0
    errors: list[tuple[float, float, float, float, float]] = field(
        default_factory=list[tuple[float, float, float, float, float]]
    )

    def add(self, particles: list[Particle], truth: list[TrueSphere], geometry: Geometry) -> None:
        """Pair found with true, the nearest sum of distances."""
        pitch_um = geometry.object_pitch_um
        self.true, self.found = self.true + len(truth), self.found + len(particles)
        if not particles:
            return
        apart = np.array([[math.hypot(p.x_um - t.x_um, p.y_um - t.y_um) for t in truth] for p in particles]) / pitch_um
        for f, t in zip(*linear_sum_assignment(np.minimum(apart, 10 * MATCH_PX)), strict=True):
            if apart[f, t] <= MATCH_PX:
                self.right += 1
                p, own = particles[f], truth[t]
                unit_um = geometry.distance_of(geometry.propagation_um + 4 * pitch_um**2 / geometry.wavelength_medium_um)
                deep = (p.z_um - own.z_um) / (unit_um - geometry.distance_um)
                sure = abs(p.z_um - own.z_um) <= 1.96 * p.z_uncertainty_um
                self.errors.append(((p.x_um - own.x_um) / pitch_um, (p.y_um - own.y_um) / pitch_um, deep, float(sure),
                                    p.esd_um / own.diameter_um))  # fmt: skip

    def row(self) -> str:
        """Of the table."""
        recall = share_interval(self.right, self.true)
        if not self.errors:
            return f"{recall}  found {self.found}, frames failed {self.failed}"
        x, y, z, sure, size = np.array(self.errors).T
        return (
            f"{recall}  {self.right / max(self.found, 1):9.2f}  {np.sqrt(np.mean(x**2)):5.2f} {np.sqrt(np.mean(y**2)):5.2f}  "
            f"{np.median(z):+6.2f} {1.4826 * np.median(np.abs(z - np.median(z))):5.2f}  {sure.mean():5.2f}  {np.median(size):8.3f}  "
            f"{np.mean(np.abs(size - 1) <= 0.05):5.2f}  {self.failed}"
        )


def pipeline_for(geometry: Geometry, binning: float | None) -> Pipeline:
    """As the service builds it, but for what the configuration leaves out; a `binning` of one's own where given."""
    config = load_config(None)
    settings = msgspec.structs.replace(
        config.analysis, classifier_model="", min_esd_um=5 * geometry.object_pitch_um, max_esd_um=1e6
    )
    pipeline, _ = build_pipeline(model_store(config), settings, geometry)
    return pipeline if binning is None else replace(pipeline, binning=binning)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binning", type=float, help="pixels averaged, whatever the models cover")
    parser.add_argument("--kinds", nargs="+", default=["plane wave", "lens x5", "point source"])
    parser.add_argument("--numbers", nargs="+", type=int, default=NUMBERS)
    args = parser.parse_args()
    print(
        "kind           number binned  found of true             precision  x, y px      z: bias, scatter, in 95 %  diameter  in 5 %  failed"
    )
    for kind, geometry in geometries():
        if kind not in args.kinds or round(geometry.defocus_number) not in args.numbers:
            continue
        head = f"{kind:13s} {geometry.defocus_number:7.0f}"
        try:
            pipeline = pipeline_for(geometry, args.binning)
        except InputError as error:
            print(f"{head}  refused: {error.got}", flush=True)
            continue
        tally = Tally()
        for k in range(args.frames):
            hologram, truth = recording(np.random.default_rng([args.seed, k]), geometry)
            analysis = pipeline.analyse(hologram)
            tally.failed += bool(analysis.scene and analysis.scene.fails)
            tally.add(list(analysis.particles), truth, geometry)
        print(f"{head} {pipeline.binning:6g}  {tally.row()}", flush=True)


if __name__ == "__main__":
    main()
