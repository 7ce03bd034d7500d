"""Frames per second and core of the simulated instrument, by scattering model, size and number of particles
(on sixteen depths, transfer functions and shapes kept: as a training renders; median of three).

OMP_NUM_THREADS=1 python -m tests.benchmarks.twin_speed
"""

from __future__ import annotations

import sys
import time

import numpy as np

from device.frames import Exposure, LampState
from device.instrument import load_instrument
from device.twin.forward import scattered_wave
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle, snap_depths
from device.twin.sensor import SensorModel
from tests.worlds import small_instrument

REPEATS = 3
LABELS = ("birch", "grass", "ragweed", "alternaria", "cladosporium", "dust")


def main() -> int:
    lamp = load_instrument("bioaerosol-imx219-850nm").lamp
    light = Illumination(lamp.wavelength_um, lamp.bandwidth_um, lamp.source_diameter_um, lamp.source_distance_um or 1e9)
    print(
        f"{'model':12s}{'side px':>8s}{'particles':>11s}{'draw s':>8s}{'scatter s':>11s}{'sensor s':>10s}{'frames/s/core, shapes kept':>28s}"
    )
    for side_px in (256, 512, 1024):
        instrument = small_instrument(side_px)
        sensor = SensorModel.draw(instrument.sensor, np.random.default_rng(1))
        for count in (5, 40):
            for model in ("thin", "multislice", "lorenz-mie"):
                rng = np.random.default_rng(2)
                started = time.perf_counter()
                labels = ["bead"] * count if model == "lorenz-mie" else [LABELS[k % len(LABELS)] for k in range(count)]
                field_um = (side_px * 1.12, side_px * 1.12)
                particles = [draw_particle(rng, n, field_um=field_um, depth_um=(400, 600), voxel_um=1.12) for n in labels]
                particles = snap_depths(particles, 16)
                drawn = time.perf_counter()
                seconds: list[float] = []
                for _ in range(REPEATS + 1):  # the first fills the transfer functions' cache, for every model alike
                    begun = time.perf_counter()
                    wave = scattered_wave((side_px, side_px), 1.12, particles, light, model)
                    seconds.append(time.perf_counter() - begun)
                scatter_s = float(np.median(seconds[1:]))
                begun = time.perf_counter()
                intensity = (np.abs(1 + wave) ** 2).astype(np.float32)
                sensor.expose(intensity, Exposure(1000.0), LampState(0, 20.0, acknowledged=True), rng)
                done = time.perf_counter()
                rate = 1 / (scatter_s + done - begun)
                print(
                    f"{model:12s}{side_px:8d}{count:11d}{drawn - started:8.2f}{scatter_s:11.2f}{done - begun:10.2f}{rate:28.2f}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
