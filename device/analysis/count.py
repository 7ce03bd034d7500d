"""Counts and concentrations with honest intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from scipy.stats import chi2

from device.errors import InputError
from device.records import Concentration, Count

__all__ = ["concentration", "count_labels", "poisson_interval"]

Unit = Literal["m^-3", "L^-1", "mL^-1"]


def poisson_interval(n: int, coverage: float = 0.95) -> Count:
    """Exact central interval of a Poisson mean (Garwood 1936, doi:10.1093/biomet/28.3-4.437).

    Zero counts still bound the mean: 3.69 at 95 %.
    """
    if n < 0:
        raise InputError("a count can't be negative", got=n)
    tail = (1 - coverage) / 2
    low = 0.0 if n == 0 else float(chi2.ppf(tail, 2 * n)) / 2
    return Count(n, low, float(chi2.ppf(1 - tail, 2 * n + 2)) / 2)


def count_labels(labels: Iterable[str], known: Iterable[str]) -> dict[str, Count]:
    """A count for every known label (zeros included), every other label seen, and the total."""
    seen = Counter(labels)
    names = [*dict.fromkeys(known), *sorted(set(seen) - set(known))]
    counts = {name: poisson_interval(seen.get(name, 0)) for name in names}
    return counts | {"total": poisson_interval(sum(seen.values()))}


def concentration(count: Count, volume: float, relative_uncertainty: float, unit: Unit) -> Concentration:
    """Particles per volume; the interval of the count, widened by 1.96 standard deviations of the volume at either end.

    That is conservative: both rarely err the same way.
    """
    if volume <= 0:
        raise InputError("a concentration needs a volume", expected="above 0", got=volume)
    stretch = 1.96 * relative_uncertainty
    least = max(1 - stretch, 0.05)
    return Concentration(count.n / volume, count.low / (volume * (1 + stretch)), count.high / (volume * least), unit)
