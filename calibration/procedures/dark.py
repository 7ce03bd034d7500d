"""Frames without light: pedestal, read noise, hot pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.procedures.comparison import against_sensor
from calibration.procedures.outcome import ProcedureOutcome
from device.calibration import Quantity
from device.errors import InputError
from device.instrument import SensorSpec

__all__ = ["measure_dark"]

_HOT_SIGMAS = 8.0
_MOST_HOT = 1e-3
_NOISE_AGREES = 0.25
"""Relative difference of the read noise between halves of the frames, or of the sensor, that nothing needs to explain."""


def measure_dark(frames: Sequence[NDArray[np.floating]], sensor: SensorSpec) -> ProcedureOutcome:
    """Figures from at least four frames [height, width] in counts, lamp off.

    Read noise comes from differences of pairs, which no fixed pattern touches. InputError for too few frames.
    """
    if len(frames) < 4:
        raise InputError("too few frames", where="dark", expected="4 or more", got=len(frames))
    stack = np.stack([np.asarray(f, np.float64) for f in frames])
    mean = stack.mean(axis=0)
    differences = np.diff(stack, axis=0)[::2]
    variances = np.array([_robust_variance(d) for d in differences]) / 2
    noise_counts = float(np.sqrt(np.mean(variances)))
    pattern = 1.4826 * float(np.median(np.abs(mean - np.median(mean))))
    hot = np.abs(mean - np.median(mean)) > _HOT_SIGMAS * max(pattern, noise_counts / np.sqrt(len(frames)), 0.05)
    white = 2**sensor.bit_depth - 1
    # Rounding to whole counts adds its own (a twelfth of a count squared, less where there is hardly any other): it is no read noise.
    read_counts = float(np.sqrt(max(noise_counts**2 - 1 / 12, 0)))
    read_uncertainty_counts = float(np.hypot(0.05 * noise_counts, (noise_counts - read_counts) / 2))
    electrons_per_count = sensor.full_well_e / (white - sensor.dark_level_counts)
    level = float(np.mean(mean[~hot]))
    frame_levels = stack.mean(axis=(1, 2))
    reasons: list[str] = []
    if level > 0.25 * white:
        reasons.append(f"the frames are not dark: mean {level:.0f} of {white} counts; is the lamp off and the sensor covered?")
    if np.ptp(frame_levels) > max(3 * noise_counts, 2.0):
        reasons.append(f"the level moved by {np.ptp(frame_levels):.1f} counts between frames: light leaks in, or it warms up")
    if hot.mean() > _MOST_HOT:
        reasons.append(f"{hot.mean():.2%} of the pixels are hot (at most {_MOST_HOT:.1%})")
    rows, columns = (np.array_split(differences, 2, axis=axis) for axis in (1, 2))
    for first, second in (np.array_split(variances, 2), _noise_of(rows), _noise_of(columns)):
        a, b = (float(np.sqrt(np.mean(half))) for half in (first, second))
        if abs(a - b) > max(_NOISE_AGREES * max(a, b), 0.1):
            reasons.append(
                f"two halves disagree about the read noise: {a:.2f} and {b:.2f} counts; something beside the sensor's own noise moves"
            )
    values = {
        "dark_level_counts": Quantity(value=level, uncertainty=float(np.std(frame_levels, ddof=1)), unit="counts"),
        "read_noise_e": Quantity(
            value=read_counts * electrons_per_count, uncertainty=read_uncertainty_counts * electrons_per_count, unit="e-"
        ),
        "hot_pixels": Quantity(value=float(hot.sum()), uncertainty=float(np.sqrt(hot.sum())), unit="pixels"),
    }
    reasons += against_sensor(values, sensor)
    return ProcedureOutcome(values, {"fixed_pattern_counts": float(np.std(mean[~hot]))}, reasons)


def _noise_of(halves: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    return [np.array([_robust_variance(d) for d in half]) / 2 for half in halves]


def _robust_variance(difference: NDArray[np.float64]) -> float:
    """Variance without the tails; quantised differences keep their variance, so trim rather than take a median."""
    spread = float(np.std(difference))
    inner = difference[np.abs(difference) < 5 * max(spread, 0.5)]
    return float(np.var(inner))
