"""What every procedure returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from device.calibration import Quantity

__all__ = ["ProcedureOutcome", "halves_agree", "mean_with_uncertainty", "robust_mean"]

_HALVES_SIGMAS = 5.0
"""Two readings of one quantity that lie farther apart aren't of one quantity; few values, so more than the usual three."""

_FAR_SIGMAS = 3.5
"""One of two thousand normal values lies farther out."""


@dataclass(frozen=True)
class ProcedureOutcome:
    """Figures of one procedure."""

    values: dict[str, Quantity]
    """By name with unit."""
    residuals: dict[str, float] = field(default_factory=dict)
    """What stays unexplained, by name with unit."""
    reasons: list[str] = field(default_factory=list)
    """Why it failed; empty: passed."""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the figures."""
        return not self.reasons


def robust_mean(values: NDArray[np.floating]) -> tuple[float, NDArray[np.bool_]]:
    """Mean of what lies near the median, and which that is.

    Near is within as many robust standard deviations as Student's t gives for 3.5 normal ones: few values tell their own scatter
    badly, and a limit as for many would cut good ones off.
    """
    middle = float(np.median(values))
    scale = 1.4826 * float(np.median(np.abs(values - middle)))
    limit = float(scipy.stats.t.ppf(scipy.stats.norm.cdf(_FAR_SIGMAS), max(len(values) - 1, 1)))
    kept = np.abs(values - middle) <= limit * max(scale, 1e-12)
    return float(np.mean(values[kept])), kept


def mean_with_uncertainty(values: NDArray[np.floating], systematic: float = 0.0) -> tuple[float, float, float, int]:
    """Robust mean, its standard uncertainty, the scatter of single values, and how many count.

    The statistical share is widened to Student's t, so that twice the uncertainty covers 95 % for few values too.
    """
    mean, kept = robust_mean(values)
    count = int(kept.sum())
    scatter = float(np.std(values[kept], ddof=1)) if count > 1 else float("inf")
    widening = float(scipy.stats.t.ppf(0.975, max(count - 1, 1)) / scipy.stats.norm.ppf(0.975))
    return mean, float(np.hypot(widening * scatter / np.sqrt(count), systematic)), scatter, count


def halves_agree(
    name: str, *pairs: tuple[NDArray[np.floating], NDArray[np.floating]], floor: float = 0.0
) -> list[str]:  # fmt: skip
    """Why not, where two halves of what was measured give another answer; a difference up to `floor` always agrees."""
    reasons: list[str] = []
    for first, second in pairs:
        if min(len(first), len(second)) < 2:
            continue
        (a, ua, *_), (b, ub, *_) = mean_with_uncertainty(first), mean_with_uncertainty(second)
        if abs(a - b) > max(_HALVES_SIGMAS * float(np.hypot(ua, ub)), floor):
            reasons.append(
                f"two halves disagree about the {name}: {a:.5g} and {b:.5g}, {abs(a - b) / np.hypot(ua, ub):.0f} standard "
                "deviations apart: measure again, and look for what differs between them"
            )
    return reasons
