"""A slope that outliers don't turn.

Theil and Sen's slope is the median of the slopes of all pairs; its interval follows from the variance of Kendall's statistic
under no trend (Sen, J. Am. Stat. Assoc. 63, 1379 (1968), doi:10.1080/01621459.1968.10480934).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Slope", "theil_sen"]


@dataclass(frozen=True)
class Slope:
    """Change per unit of x."""

    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval excludes no change at all."""
        return self.low > 0 or self.high < 0


def theil_sen(x: Sequence[float], y: Sequence[float], sigmas: float = 2.576) -> Slope | None:
    """The slope with its interval (default: 99 %); None for fewer than three different x."""
    across, up = np.asarray(x, np.float64), np.asarray(y, np.float64)
    first, second = np.triu_indices(len(across), 1)
    steps = across[second] - across[first]
    slopes = np.sort(((up[second] - up[first])[steps != 0]) / steps[steps != 0])
    n = len(set(across.tolist()))
    if n < 3:
        return None
    half = sigmas * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low, high = round((len(slopes) - half) / 2) - 1, round((len(slopes) + half) / 2)
    return Slope(
        float(np.median(slopes)),
        float(slopes[low]) if low >= 0 else -math.inf,
        float(slopes[high]) if high < len(slopes) else math.inf,
    )
