"""Unwrapping in noise: how many fields come out without a pixel on the wrong cycle, by each way the product has.

Surfaces of a random matrix and of Zernike polynomials (10 to 30 rad), spheres with steep rims (one to three, 6 to 16 rad), and
the recorded cell HL60, its phase made 1.5 to 2.5 times as deep and wrapped again; complex white noise, power ratios of 5, 2
and 0 dB; the truth is free of noise. A field is clean where no pixel is more than pi off; beside it where no pixel that is
called determined is. The surfaces are those of K. Wang et al., Adv. Photon. Nexus 1, 014001 (2022),
doi:10.1117/1.APN.1.1.014001, by a generator of our own.

    python -m tests.benchmarks.unwrapping [--fields 50] [--seed 7]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from device.optics.offaxis_reconstruction import reconstruct_offaxis
from device.optics.unwrapping import Unwrapping, unwrap_field
from tests.conftest import real_data_folder

Real = NDArray[np.float64]
SIDE_PX = 128
WAYS: tuple[Unwrapping, ...] = ("quality", "least-squares", "wff")


def matrix(rng: np.random.Generator) -> Real:
    """A few random numbers, interpolated."""
    coarse = rng.random((rng.integers(2, 7),) * 2)
    return _deep(np.asarray(cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.float64), rng)


def zernike(rng: np.random.Generator) -> Real:
    """Eight polynomials up to spherical aberration."""
    y, x = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    rr = x * x + y * y
    terms = (x, y, 2 * rr - 1, x * x - y * y, 2 * x * y, (3 * rr - 2) * x, (3 * rr - 2) * y, 6 * rr * rr - 6 * rr + 1)
    return _deep(np.tensordot(rng.normal(size=len(terms)), np.stack(terms), 1), rng)


def spheres(rng: np.random.Generator) -> Real:
    """What a thick particle does to the phase, its rim one pixel soft."""
    out = np.zeros((SIDE_PX, SIDE_PX))
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    for _ in range(rng.integers(1, 4)):
        for _ in range(50):
            radius = rng.uniform(12, 30)
            middle = rng.uniform(radius + 3, SIDE_PX - radius - 3, 2)
            away = np.hypot(y - middle[0], x - middle[1])
            if not out[away < radius + 4].any():
                out += rng.uniform(6, 16) * np.sqrt(np.clip(1 - (away / radius) ** 2, 0, None))
                break
    return np.asarray(cv2.GaussianBlur(out, (0, 0), 1.0), np.float64)


def recorded_cell() -> Callable[[np.random.Generator], Real]:
    """The cell HL60 of the recordings, deeper than it is."""
    file = np.load(real_data_folder() / "offaxis_dhm" / "hl60" / "hologram_cell.npz")
    phase_rad = reconstruct_offaxis(file["data"], file["bg_data"]).phase_rad.astype(float)

    def deeper(rng: np.random.Generator) -> Real:
        return phase_rad * rng.uniform(1.5, 2.5)

    return deeper


def _deep(surface: Real, rng: np.random.Generator) -> Real:
    return (surface - surface.min()) / np.ptp(surface) * rng.uniform(10, 30)


def score(way: Unwrapping, phases: Iterator[tuple[Real, NDArray[np.complex128]]]) -> NDArray[np.float64]:
    """Pixels on a wrong cycle, those of them called determined, rms error and bias in the particles in rad, share not told."""
    rows = []
    for truth_rad, field in phases:
        found = unwrap_field(field, way)
        error = found.phase_rad - truth_rad
        error -= np.median(error)
        wrong = np.abs(error) > np.pi
        deep = truth_rad > 0.2 * truth_rad.max()
        right = ~wrong & deep & found.determined
        bias = error[right].mean() if right.any() else np.nan
        rows.append(
            (wrong.sum(), (wrong & found.determined).sum(), np.sqrt((error**2).mean()), bias, 1 - found.determined.mean())
        )
    return np.array(rows)


def fields(
    scene: Callable[[np.random.Generator], Real], decibel: float, count: int, seed: int
) -> Iterator[tuple[Real, NDArray[np.complex128]]]:
    """Phases and their fields in noise."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        truth_rad = scene(rng)
        noise = 10 ** (-decibel / 20) / np.sqrt(2)
        yield (
            truth_rad,
            np.exp(1j * truth_rad) + noise * (rng.normal(size=truth_rad.shape) + 1j * rng.normal(size=truth_rad.shape)),
        )


def share(good: NDArray[np.bool_]) -> str:
    """Percent with its 95 % interval (Wilson)."""
    interval = binomtest(int(good.sum()), good.size).proportion_ci(method="wilson")
    return f"{100 * good.mean():3.0f} ({100 * interval.low:.0f}-{100 * interval.high:.0f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=50, metavar="N", help="of each kind and noise (default 50)")
    parser.add_argument("--seed", type=int, default=7, metavar="N")
    args = parser.parse_args()
    print("| fields | noise dB | way | clean % | determined ones clean % | rms error rad | bias rad | not told % | s a field |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, scene in {"matrix": matrix, "Zernike": zernike, "spheres": spheres, "recorded cell": recorded_cell()}.items():
        for decibel in (5.0, 2.0, 0.0):
            for way in WAYS:
                start = time.perf_counter()
                found = score(way, fields(scene, decibel, args.fields, args.seed))
                each_s = (time.perf_counter() - start) / args.fields
                print(
                    f"| {name} | {decibel:g} | {way} | {share(found[:, 0] == 0)} | {share(found[:, 1] == 0)} | "
                    f"{np.median(found[:, 2]):.3f} | {np.nanmedian(found[:, 3]):+.3f} | {100 * found[:, 4].mean():.2f} | {each_s:.3f} |",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
