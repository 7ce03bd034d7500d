"""Super-resolution of bars whose frames are integrated in closed form: shifts, modulation, the finest bars resolved.

The scene is groups of binary bars of several periods, upright and lying. A frame's pixel is the exact integral of the bars
over its area at shifts that lie on no grid, with noise and, on request, unequal exposure: no Fourier model, no fine grid, so
nothing of the solver's own. Modulation is the fundamental's amplitude in phase with the true bars over that of frames of
ideal fine pixels; resolved is 0.26, Rayleigh's dip. A single frame, enlarged bicubically, is scored by the same rule.

    python -m tests.benchmarks.super_resolution [SEEDS]
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics.super_resolution import super_resolve

Real = NDArray[np.float64]

SIDE_PX = 144
GROUP_PX = 24
PERIODS_PX = (3.0, 2.5, 2.2, 1.9, 1.7, 1.5, 1.35, 1.2, 1.08, 0.9, 0.8, 0.7)
"""In pixels of a frame, which itself shows nothing under 2."""
RESOLVED = 0.26
CASES = ((2, 4, 0.0), (2, 9, 0.0), (2, 9, 0.03), (3, 16, 0.0), (4, 24, 0.03))
"""Factor, frames, and how unequal their exposures are."""


def groups() -> list[tuple[float, float, float, bool]]:
    """Row and column of each group's corner, its period, whether its bars lie (vary along the rows' index)."""
    places = [(float(y), float(x)) for y in range(8, SIDE_PX - GROUP_PX, 27) for x in range(8, SIDE_PX - GROUP_PX, 27)]
    kinds = [(period, lying) for period in PERIODS_PX for lying in (False, True)]
    return [(y, x, period, lying) for (y, x), (period, lying) in zip(places, kinds, strict=False)]


def _bars_integral(edges: Real, start: float, period: float) -> Real:
    """Integral from `start` of a square wave (1 over the first half of each period) within its group."""
    t = np.clip(edges - start, 0, GROUP_PX)
    whole = np.floor(t / period)
    return whole * period / 2 + np.minimum(t - whole * period, period / 2)


def _window_integral(edges: Real, start: float) -> Real:
    return np.clip(edges - start, 0, GROUP_PX)


def frame(shift: tuple[float, float] = (0.0, 0.0), per_pixel: int = 1) -> Real:
    """Exact pixel means, float64 [side * per_pixel, side * per_pixel]; bars transmit 0.5, the rest 1."""
    edges = np.arange(SIDE_PX * per_pixel + 1) / per_pixel - 0.5
    image = np.ones((SIDE_PX * per_pixel,) * 2)
    for y, x, period, lying in groups():
        along = np.diff(_bars_integral(edges - shift[0 if lying else 1], y if lying else x, period)) * per_pixel
        across = np.diff(_window_integral(edges - shift[1 if lying else 0], x if lying else y)) * per_pixel
        image -= 0.5 * (np.outer(along, across) if lying else np.outer(across, along))
    return image


def recorded(count: int, seed: int, *, noise: float = 0.01, flicker: float = 0.0) -> tuple[list[Real], Real]:
    """Frames at random shifts up to 2 px, and the shifts [count, 2]; the first isn't shifted."""
    rng = np.random.default_rng(seed)
    shifts = rng.uniform(-2, 2, (count, 2))
    shifts[0] = 0
    gains = 1 + flicker * rng.normal(size=count)
    taken = [
        g * frame((float(s[0]), float(s[1]))) + rng.normal(0, noise, (SIDE_PX,) * 2) for g, s in zip(gains, shifts, strict=True)
    ]
    return taken, shifts


def modulation(image: Real, factor: int) -> dict[float, float]:
    """Per period: the smaller of both directions' modulation, relative to ideal fine pixels."""
    ideal = frame(per_pixel=factor)
    at = (np.arange(SIDE_PX * factor) + 0.5) / factor - 0.5
    found: dict[float, float] = {}
    for y, x, period, lying in groups():
        rows, columns = ((at > low + 2) & (at < low + GROUP_PX - 2) for low in (y, x))
        line, start = (at[rows], y) if lying else (at[columns], x)
        profiles = [a[np.ix_(rows, columns)].mean(axis=1 if lying else 0) for a in (image, ideal)]
        wave = np.exp(-2j * np.pi * (line - start) / period) * np.hanning(line.size)
        measured, true = ((p - p.mean()) @ wave for p in profiles)
        ratio = float((measured / true).real)
        found[period] = min(found.get(period, np.inf), ratio)
    return found


def finest(found: dict[float, float]) -> float:
    """The smallest period down to which every group is resolved."""
    resolved = np.inf
    for period in sorted(found, reverse=True):
        if found[period] < RESOLVED:
            break
        resolved = period
    return float(resolved)


def score(factor: int, count: int, seed: int, *, flicker: float = 0.0) -> tuple[float, dict[float, float], dict[float, float]]:
    """Largest shift error in pixels, modulation by period of the answer, and of the first frame enlarged."""
    frames, shifts = recorded(count, seed, flicker=flicker)
    answer = super_resolve(frames, factor)
    error_px = float(np.abs(np.array(answer.shifts_px) - shifts).max())
    single = _enlarged(frames[0], factor)
    return error_px, modulation(answer.frame.astype(float), factor), modulation(single, factor)


def _enlarged(image: Real, factor: int) -> Real:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.float64)


def main() -> int:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print(f"bars of {SIDE_PX} px frames, noise 1 %, shifts to +-2 px unknown, {seeds} seeds (median; worst in brackets)")
    print(
        "factor frames flicker  shift error px    finest bars, px  single frame  gain  "
        + " ".join(f"{p:5.2f}" for p in PERIODS_PX)
    )
    for factor, count, flicker in CASES:
        runs = [score(factor, count, seed, flicker=flicker) for seed in range(seeds)]
        errors = [r[0] for r in runs]
        ours, alone = [finest(r[1]) for r in runs], [finest(r[2]) for r in runs]
        gain = np.median(alone) / np.median(ours)
        curve = " ".join(f"{np.median([r[1][p] for r in runs]):5.2f}" for p in PERIODS_PX)
        print(
            f"{factor:6d} {count:6d} {flicker:6.0%}   {np.median(errors):.4f} ({max(errors):.4f})   "
            f"{np.median(ours):6.2f} ({max(ours):.2f})  {np.median(alone):8.2f}  {gain:8.2f}  {curve}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
