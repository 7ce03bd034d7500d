"""Counts and concentrations with honest intervals.

A count is Poisson; what it is divided by (volume, detection efficiency) is known to a relative uncertainty. Both go into one
interval, which covers what is true 19 times in 20, whatever of the two dominates: neither is added on top of the other.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from scipy.special import bdtrc, gammaincc, pdtrc

from device.analysis.bubbles import BUBBLE
from device.analysis.efficiency import Recovered
from device.analysis.overlap import Overlap
from device.analysis.roots import root_between
from device.errors import InputError
from device.records import Concentration, Count

__all__ = [
    "ARTEFACTS",
    "concentration",
    "count_labels",
    "mean_interval",
    "poisson_interval",
    "surely_above",
    "surely_more",
]

ARTEFACTS = frozenset({BUBBLE})
"""Named and counted, but no particles of the sample: left out of the total."""

Unit = Literal["m^-3", "L^-1", "mL^-1"]

_NODES = np.linspace(-6.0, 6.0, 241)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()
_BY_CHANCE = 0.01
"""What happens more rarely is not put down to chance."""

_LARGE = 5000.0
"""From this count on a Poisson variable is log-normal to a part in a thousand of its own spread."""


def poisson_interval(n: int, coverage: float = 0.95) -> Count:
    """Central mid-P interval of a Poisson mean (Lancaster 1961, doi:10.1080/01621459.1961.10482105).

    Half of the probability of the count itself goes to either side: the interval covers what it says on average, where the
    one that never covers less (Garwood 1936) covers 97 to 99 % of small means. Zero counts bound the mean to 3.0 at 95 %.
    """
    if n < 0:
        raise InputError("a count can't be negative", got=n)
    return Count(n, *mean_interval(float(n), 0.0, coverage))


@lru_cache(maxsize=4096)
def mean_interval(n: float, relative_uncertainty: float = 0.0, coverage: float = 0.95) -> tuple[float, float]:
    """Interval of the mean behind a count whose scale is known to a relative uncertainty.

    `n` may be the effective number of a weighted count. The scale is log-normal; probabilities are averaged over it before
    they are inverted (Cousins and Highland 1992, doi:10.1016/0168-9002(92)90794-5). The unit is counts, as if the scale
    were what it was measured to be.
    """
    tail, sigma = (1 - coverage) / 2, relative_uncertainty
    if n > _LARGE:
        z = -NormalDist().inv_cdf(tail)
        spread = math.exp(z * math.hypot(sigma, n**-0.5))
        return n / spread, n * spread
    far = (n + 10 * math.sqrt(n) + 20) * math.exp(6 * sigma)
    return _mean_at(n, sigma, 1 - tail, far) if n > 0 else 0.0, _mean_at(n, sigma, tail, far)


def _mean_at(n: float, sigma: float, probability: float, far: float) -> float:
    """The mean, up to `far`, of which a count of at most n has this probability."""

    def excess(mean: float) -> float:
        return _at_most(n, mean, sigma) - probability

    return root_between(excess, 0.0, far)


def _at_most(n: float, mean: float, sigma: float) -> float:
    """Mid-P probability of a count of at most n, averaged over the scale."""
    means = mean * np.exp(sigma * _NODES) if sigma > 0 else np.array([mean])
    fewer = gammaincc(n, means) if n > 0 else np.zeros_like(means)
    middle = 0.5 * (fewer + gammaincc(n + 1, means))
    return float(middle @ _WEIGHTS) if sigma > 0 else float(middle[0])


def count_labels(labels: Iterable[str], known: Iterable[str]) -> dict[str, Count]:
    """A count for every known label (zeros included), every other label seen, and the total of all that are no artefacts."""
    seen = Counter(labels)
    names = [*dict.fromkeys(known), *sorted(set(seen) - set(known))]
    counts = {name: poisson_interval(seen.get(name, 0)) for name in names}
    return counts | {"total": poisson_interval(sum(n for name, n in seen.items() if name not in ARTEFACTS))}


def surely_more(seen: int, expected: float) -> bool:
    """Whether so many are more than a Poisson number of this mean would be once in a hundred times."""
    return seen > 0 and float(pdtrc(seen - 1, expected)) < _BY_CHANCE


def surely_above(seen: int, of: int, share: float) -> bool:
    """Whether so many of a number are more than this share of it: a binomial number would be once in a hundred times."""
    return seen > 0 and float(bdtrc(seen - 1, of, share)) < _BY_CHANCE


def concentration(
    count: Count,
    volume: float,
    relative_uncertainty: float,
    unit: Unit,
    *,
    recovered: Recovered | None = None,
    overlap: Overlap | None = None,
) -> Concentration:
    """Particles per volume.

    Parameters: the `volume` that was looked at and its relative standard uncertainty; `recovered` what the count stands for
    after the detection efficiency (None: everything was seen); `overlap` how many particles hide behind others (None: none).
    """
    if volume <= 0:
        raise InputError("a concentration needs a volume", expected="above 0", got=volume)
    there = recovered or Recovered.of_perfect(count.n)
    crowd = overlap or Overlap()
    uncertainty = math.hypot(relative_uncertainty, there.relative_uncertainty, crowd.relative_uncertainty)
    low, high = mean_interval(there.effective_n, uncertainty)
    scale = there.scale * crowd.factor / volume
    return Concentration(there.effective_n * scale, low * scale, high * scale, unit)
