"""Where the reference instruments stop seeing: as the planner says and as the twin's holograms show.

Discs of random index, a voxel (half a pixel) thin, in the plane of the instrument, by the multi-slice model: every wavelength
carried for itself, the source's image and the pixel's area taken as they are; the sensor's own noise. Back-propagated with the
product; its Fourier ring correlation with the true field falls to 0.5 at the frequency that is compared. Where it never does,
the pixels are the limit.

    python -m tests.benchmarks.resolution [--discs 8]
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from device.instrument import REFERENCE_FOLDER, Instrument, load_instrument
from device.optics import fft
from device.optics.propagation import backpropagate
from device.optics.resolution import resolution
from device.twin.forward import multislice_hologram, multislice_object_field
from device.twin.illumination import Illumination
from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle

SIDE_PX = 1024
DISC_PX = 64
WIDTH = 0.02
"""Of a ring, in cycles per pixel."""


def disc(
    rng: np.random.Generator, voxel_um: float, wavelength_um: float, x_um: float, y_um: float, z_um: float
) -> SimulatedParticle:
    """A disc whose optical path varies from voxel to voxel, half a radian rms."""
    size = 2 * DISC_PX
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    path = 0.5 * wavelength_um / (2 * np.pi) * rng.standard_normal((size, size)) * (np.hypot(y, x) < size / 2)
    diameter_um = size * voxel_um
    volume = VoxelVolume((path / voxel_um)[None].astype(np.complex64), voxel_um, diameter_um, diameter_um)
    return SimulatedParticle("disc", x_um, y_um, z_um, volume)


def measured_share(instrument: Instrument, discs: int, seed: int) -> float:
    """Frequency at which the ring correlation falls to 0.5, over the pixels' highest; 1 where it doesn't."""
    rng = np.random.default_rng(seed)
    geometry, pitch_um = instrument.geometry, instrument.sensor.pitch_um
    lamp, medium = instrument.lamp, instrument.optics.medium_index
    light = Illumination(
        lamp.wavelength_um / medium, lamp.bandwidth_um / medium, lamp.source_diameter_um, lamp.source_distance_um or 1e9
    )
    places = SIDE_PX / 2 + 0.3 * SIDE_PX * np.array(
        [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, discs, endpoint=False)]
    )
    particles = [
        disc(rng, pitch_um / 2, light.wavelength_um, round(x) * pitch_um, round(y) * pitch_um, geometry.distance_um)
        for x, y in places
    ]
    shape = (SIDE_PX, SIDE_PX)
    intensity = multislice_hologram(
        shape, pitch_um, particles, light, wavelengths=1 if light.bandwidth_um == 0 else 41, margin_px=128
    )
    well_e = 0.6 * instrument.sensor.full_well_e
    electrons = rng.poisson(intensity * well_e) + instrument.sensor.read_noise_e * rng.standard_normal(shape)
    found = backpropagate((electrons / well_e).astype(np.float32), geometry)
    truth = multislice_object_field(shape, pitch_um, particles, light)
    return crossing(found, truth, places) / 0.5


def crossing(found: NDArray[np.complex64], truth: NDArray[np.complex64], places: NDArray[np.float64]) -> float:
    """Cycles per pixel at which the ring correlation over the discs' boxes falls to 0.5 for good; 0.5 where it doesn't."""
    side = DISC_PX + 32
    fade = np.hanning(side)
    radius = np.hypot(fft.fftfreq(side)[:, None], fft.fftfreq(side)[None, :])
    ring = (radius / WIDTH).astype(int)
    sums = np.zeros((3, int(ring.max()) + 1))
    for x, y in np.round(places).astype(int):
        box = (slice(y - side // 2, y + side // 2), slice(x - side // 2, x + side // 2))
        a, b = (fft.fft2((f[box] - 1) * fade[:, None] * fade) for f in (found, truth))
        for row, values in zip(sums, ((a * np.conj(b)).real, np.abs(a) ** 2, np.abs(b) ** 2), strict=True):
            np.add.at(row, ring, values)
    correlation = (sums[0] / np.sqrt(sums[1] * sums[2]))[: round(0.5 / WIDTH)]
    middles = WIDTH * (np.arange(correlation.size) + 0.5)
    above = np.flatnonzero(correlation >= 0.5)
    if not above.size:
        return 0.0
    last = int(above[-1])
    if last + 1 == correlation.size:
        return 0.5
    step = (correlation[last] - 0.5) / (correlation[last] - correlation[last + 1])
    return float(middles[last] + WIDTH * step)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--discs", type=int, default=8, metavar="N")
    parser.add_argument("--seed", type=int, default=5, metavar="N")
    args = parser.parse_args()
    print("| instrument | limited by | finest line planned um | measured um | planned over measured |")
    print("|---|---|---|---|---|")
    for file in sorted(REFERENCE_FOLDER.glob("*.toml")):
        instrument = load_instrument(str(file))
        planned = resolution(instrument.geometry, (SIDE_PX, SIDE_PX))
        line_um = instrument.geometry.object_pitch_um / measured_share(instrument, args.discs, args.seed)
        print(
            f"| {instrument.name} | {planned.limits[0].cause} | {planned.line_um:.2f} | {line_um:.2f} | {planned.line_um / line_um:.2f} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
