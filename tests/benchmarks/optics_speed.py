"""Back-propagation and autofocus of 2048 x 2048 against PyHoloscope and plain numpy, one core, one run.

Repetitions are interleaved; each round gives one ratio. What is printed is the median of the rounds' ratios, and their lowest and
highest. Times are the process's own on the processor, for one core is what is compared and other work must not count. Back-propagation: the same periodic angular
spectrum with the kernel ready ('warm'), and with the kernel made anew ('cold'), which is what an unknown distance costs.
Autofocus: find the distance of beads within a range; PyHoloscope by its own search with its Brenner score over the whole
frame, numpy by the same number of planes as our coarse search over the whole frame with the same score. The error of each is
printed: speed counts at equal or better accuracy.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python -m tests.benchmarks.optics_speed [--rounds 5]

PyHoloscope is no dependency: pip install PyHoloscope into an environment of its own. Its compiled search is used where Numba is
installed, as its documentation recommends.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from device.arguments import whole
from device.optics.autofocus import estimate_distance
from device.optics.geometry import Geometry
from device.optics.propagation import compute_transfer_function, propagate
from device.twin.forward import scattered_wave
from device.twin.illumination import Illumination
from device.twin.scene import draw_particle

SIDE_PX, PITCH_UM, WAVELENGTH_UM, DISTANCE_UM = 2048, 1.12, 0.85, 500.0
RANGE_UM = (350.0, 650.0)
REPEATS = 3
"""Of a task in a round; the median counts."""


def hologram() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    field_um = (SIDE_PX * PITCH_UM, SIDE_PX * PITCH_UM)
    beads = [
        draw_particle(rng, "alternaria", field_um=field_um, depth_um=(DISTANCE_UM, DISTANCE_UM), voxel_um=PITCH_UM)
        for _ in range(60)
    ]
    wave = scattered_wave((SIDE_PX, SIDE_PX), PITCH_UM, beads, Illumination(WAVELENGTH_UM, 0.008, 100.0, 40_000.0))
    intensity = np.abs(1 + wave) ** 2
    return (rng.poisson(2_000 * intensity) / 2_000).astype(np.float32)


def numpy_kernel(distance_um: float) -> NDArray[np.complex128]:
    f = np.fft.fftfreq(SIDE_PX, PITCH_UM)
    squared = 1 / WAVELENGTH_UM**2 - f[:, None] ** 2 - f[None, :] ** 2
    return np.exp(-2j * np.pi * distance_um * np.sqrt(np.maximum(squared, 0)))


def numpy_refocus(frame: NDArray[np.floating], kernel: NDArray[np.complex128]) -> NDArray[np.complex128]:
    return np.fft.ifft2(np.fft.fft2(frame) * kernel)


def brenner(amplitude: NDArray[np.floating]) -> float:
    return float(np.sum((amplitude[2:] - amplitude[:-2]) ** 2))


def numpy_autofocus(frame: NDArray[np.floating]) -> float:
    spectrum = np.fft.fft2(frame)
    distances = np.linspace(*RANGE_UM, 20)
    scores = [brenner(np.abs(np.fft.ifft2(spectrum * numpy_kernel(d)))) for d in distances]
    return float(distances[int(np.argmax(scores))])


def timed(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each task, one median a round, tasks interleaved, a first round left out."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for round_number in range(rounds + 1):
        took: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(REPEATS if round_number else 1):
            for name, task in tasks.items():
                started = time.process_time()
                task()
                took[name].append(time.process_time() - started)
        if round_number:
            for name, values in took.items():
                seconds[name].append(float(np.median(values)))
    return seconds


def ratio(theirs: list[float], ours: list[float]) -> str:
    """Median over the rounds, lowest and highest."""
    ratios = np.array(theirs) / np.array(ours)
    return f"{np.median(ratios):.2f} (rounds {ratios.min():.2f} to {ratios.max():.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=whole(2, 1000), default=5, metavar="N")
    rounds = parser.parse_args().rounds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pyholoscope as holo
        except ImportError:
            print("PyHoloscope is not installed: pip install PyHoloscope", file=sys.stderr)
            return 3
    frame = hologram()
    amplitude = np.sqrt(frame)
    lengths = {"pitch_um": PITCH_UM, "wavelength_um": WAVELENGTH_UM, "distance_um": -DISTANCE_UM}
    their_kernel = holo.propagator(SIDE_PX, WAVELENGTH_UM, PITCH_UM, DISTANCE_UM)
    kernel = numpy_kernel(DISTANCE_UM)

    def ours_cold() -> object:
        transfer = compute_transfer_function((SIDE_PX, SIDE_PX), PITCH_UM, WAVELENGTH_UM, -DISTANCE_UM)
        from device.optics.propagation import apply_transfer

        return apply_transfer(amplitude, transfer)

    tasks: dict[str, Callable[[], object]] = {
        "ours, warm": lambda: propagate(amplitude, margin_px=0, **lengths),
        "PyHoloscope, warm": lambda: holo.refocus(amplitude, their_kernel),
        "numpy, warm": lambda: numpy_refocus(amplitude, kernel),
        "ours, cold": ours_cold,
        "PyHoloscope, cold": lambda: holo.refocus(amplitude, holo.propagator(SIDE_PX, WAVELENGTH_UM, PITCH_UM, DISTANCE_UM)),
        "numpy, cold": lambda: numpy_refocus(amplitude, numpy_kernel(DISTANCE_UM)),
    }
    seconds = timed(tasks, rounds)
    for state in ("warm", "cold"):
        mine = seconds[f"ours, {state}"]
        print(
            f"back-propagation, {state}: ours {1e9 * np.median(mine) / SIDE_PX**2:.0f} ns per pixel; times as fast as "
            f"PyHoloscope {ratio(seconds[f'PyHoloscope, {state}'], mine)}, numpy {ratio(seconds[f'numpy, {state}'], mine)}"
        )
    geometry = Geometry(WAVELENGTH_UM, PITCH_UM, DISTANCE_UM)
    found: dict[str, float] = {}

    def keep(name: str, task: Callable[[], float]) -> Callable[[], None]:
        return lambda: found.__setitem__(name, task())

    focus = timed(
        {
            "ours": keep("ours", lambda: estimate_distance(frame, geometry, *RANGE_UM).distance_um),
            "PyHoloscope": keep(
                "PyHoloscope",
                lambda: float(holo.find_focus(amplitude, WAVELENGTH_UM, PITCH_UM, RANGE_UM, "brenner", numba=True)),
            ),
            "numpy": keep("numpy", lambda: numpy_autofocus(amplitude)),
        },
        rounds,
    )
    errors = ", ".join(f"{name} {value - DISTANCE_UM:+.1f} um" for name, value in found.items())
    print(
        f"autofocus: ours {np.median(focus['ours']):.2f} s; times as fast as PyHoloscope {ratio(focus['PyHoloscope'], focus['ours'])}, "
        f"numpy {ratio(focus['numpy'], focus['ours'])}; errors: {errors}"
    )
    print("bars: at least 1.0 (PyHoloscope) and 3 (numpy)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
