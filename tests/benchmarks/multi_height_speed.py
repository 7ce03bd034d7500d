"""Multi-height retrieval against plain alternating projections, to equal error, on one core.

Eight simulated frames (finer grid, larger field, shot noise: tests/physics/test_multiheight.py) of scenes the retrieval
doesn't know. The baseline is the textbook loop in the same precision, on the same padded grid, with the same FFT library;
it gets the exact distances and no shifts, since it can't register, and leaves the surroundings of the frames free, which
helps it. Its least error over 300 sweeps is the error that both are timed to. Ours is timed with the fewest iterations
that reach it, and at its defaults, whose error the plain loop never reaches.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.multi_height_speed
"""

from __future__ import annotations

import sys
import time

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from device.optics.multiheight import retrieve_multi_height
from device.optics.propagation import compute_transfer_function
from tests.physics.test_multiheight import PITCH_UM, SIDE_PX, WAVELENGTH_UM, _frame, _geometries, _object, _truth

HEIGHTS_UM = tuple(400.0 + 60.0 * k for k in range(8))
SWEEPS = 300
SCENES = 3

Field = NDArray[np.complexfloating]


def complex_error(field: Field, truth: Field) -> float:
    """Relative to the scattered wave, after the best complex factor; border left out."""
    inner = (slice(12, -12),) * 2
    a, b = field[inner], truth[inner]
    factor = np.vdot(a, b) / np.vdot(a, a)
    return float(np.linalg.norm(factor * a - b) / np.linalg.norm(b - np.median(b)))


def plain(frames: list[NDArray[np.float32]], truth: Field) -> tuple[float, int, float]:
    """Seconds, sweeps and error where alternating projections are best; reading the error isn't timed."""
    margin = SIDE_PX // 4
    side = SIDE_PX + 2 * margin
    window = (slice(margin, -margin),) * 2
    transfers = [compute_transfer_function((side, side), PITCH_UM, WAVELENGTH_UM, z) for z in HEIGHTS_UM]
    amplitudes = [np.sqrt(f).astype(np.float32) for f in frames]
    spent, best = 0.0, (0.0, 0, np.inf)
    spectrum = scipy.fft.fft2(np.ones((side, side), np.complex64))
    for sweep in range(1, SWEEPS + 1):
        started = time.perf_counter()
        for amplitude, transfer in zip(amplitudes, transfers, strict=True):
            at_sensor = scipy.fft.ifft2(spectrum * transfer)
            inside = at_sensor[window]
            inside *= amplitude / np.maximum(np.abs(inside), 1e-9)
            spectrum = scipy.fft.fft2(at_sensor) * np.conj(transfer)
        spent += time.perf_counter() - started
        error = complex_error(scipy.fft.ifft2(spectrum)[window], truth)
        if error < best[2]:
            best = (spent, sweep, error)
    return best


def ours(frames: list[NDArray[np.float32]], truth: Field, iterations: int, *, register: bool) -> tuple[float, float]:
    """Seconds (median of three) and error."""
    seconds: list[float] = []
    error = np.inf
    for _ in range(3):
        started = time.perf_counter()
        found = retrieve_multi_height(frames, _geometries(HEIGHTS_UM), iterations=iterations, register=register)
        seconds.append(time.perf_counter() - started)
        error = complex_error(found.field, truth)
    return float(np.median(seconds)), error


def main() -> int:
    ratios: list[float] = []
    for scene in range(SCENES):
        wave = _object(100 + scene)
        truth = _truth(wave)
        frames = [_frame(wave, z, seed=k) for k, z in enumerate(HEIGHTS_UM)]
        plain_s, sweeps, target = plain(frames, truth)
        print(f"scene {scene}: plain, at its best: error {target:.3f} after {sweeps} sweeps, {plain_s:.2f} s")
        for iterations in range(1, 13):
            ours_s, error = ours(frames, truth, iterations, register=False)
            if error <= target:
                break
        ratios.append(plain_s / ours_s)
        print(
            f"  ours, as good: error {error:.3f} after {iterations} iterations, {ours_s:.2f} s: {ratios[-1]:.1f} times as fast"
        )
        for register in (False, True):
            full_s, full = ours(frames, truth, 12, register=register)
            print(f"  ours, default{', registering' if register else ''}: error {full:.3f} in {full_s:.2f} s")
    print(f"ratio at equal error: median {np.median(ratios):.1f}, least {min(ratios):.1f} (bar: 4)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
