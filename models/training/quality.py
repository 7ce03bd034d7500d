"""Statistics of evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["bootstrap_median", "wilson_interval"]


def bootstrap_median(values: Sequence[float], draws: int = 1000, seed: int = 0) -> tuple[float, float, float]:
    """(median, low, high): the median with its 95 % percentile bootstrap interval."""
    array = np.asarray(values, float)
    rng = np.random.default_rng(seed)
    medians = np.median(array[rng.integers(len(array), size=(draws, len(array)))], axis=1)
    return float(np.median(array)), float(np.percentile(medians, 2.5)), float(np.percentile(medians, 97.5))


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)))
    return max(centre - half, 0.0), min(centre + half, 1.0)
