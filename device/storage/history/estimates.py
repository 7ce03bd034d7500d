"""Concentrations and their intervals from sums, by the code that the intervals' records come from.

Over a span of time the concentration is what was counted, corrected, over the volume that was looked at. Counts of different
weight make an effective count (`analysis.efficiency.Recovered`); what the volume, the efficiency and the overlap are off by is
the same for all of a span and doesn't average out.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from device.analysis.count import ARTEFACTS, mean_interval

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

__all__ = ["ARTEFACTS", "concentrations", "mean_intervals"]

_NODES = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 14.0, 30.0, 100.0, 600.0, 5000.0)
_SHIFT = 0.75
"""Added to counts, so that none has a logarithm, too."""
_STEP = 0.02
"""Of the relative uncertainty, which is taken for the next larger of these."""
_MOST_STEPS = 150
_DIGITS = 7
"""Ten thousand times finer than any interval here is wide."""

Floats = NDArray[np.float64]


@lru_cache(maxsize=_MOST_STEPS + 1)
def _splines(steps: int) -> tuple[CubicSpline, CubicSpline]:
    """Ends of the interval over the logarithm of the count, in units of its spread."""
    from scipy.interpolate import CubicSpline  # noqa: PLC0415  only who looks at history pays for it

    counts = np.array(_NODES)
    ends = np.array([mean_interval(n, steps * _STEP) for n in _NODES])
    scaled = np.log((ends + np.array((_SHIFT, 0.0))) / (counts + _SHIFT)[:, None]) / _spread(counts, steps)[:, None]
    place = np.log(counts + _SHIFT)
    return CubicSpline(place, scaled[:, 0]), CubicSpline(place, scaled[:, 1])


def _spread(counts: Floats, steps: int) -> Floats:
    return np.hypot(steps * _STEP, (counts + _SHIFT) ** -0.5)


def mean_intervals(counts: Floats, relative_uncertainties: Floats) -> tuple[Floats, Floats]:
    """`analysis.count.mean_interval` of many (effective) counts at once, interpolated: ends within 0.2 % of it or 0.002 counts.

    Uncertainties are taken up to the next multiple of 0.02; above 3 as 3.
    """
    steps = np.clip(np.ceil(relative_uncertainties / _STEP - 1e-9), 0, _MOST_STEPS).astype(int)
    low, high = np.zeros(len(counts)), np.zeros(len(counts))
    for step in np.unique(steps):
        chosen = steps == step
        n = counts[chosen]
        # Beyond the last node the interval is log-normal: the splines' last values hold.
        place, spread = np.log(np.minimum(n, _NODES[-1]) + _SHIFT), _spread(n, int(step))
        lower, upper = _splines(int(step))
        low[chosen] = np.maximum((n + _SHIFT) * np.exp(lower(place) * spread) - _SHIFT, 0.0)
        high[chosen] = (n + _SHIFT) * np.exp(upper(place) * spread)
    return np.where(counts > 0, low, 0.0), high


def concentrations(
    volume: Floats, particles: Floats, squares: Floats, exposure: Floats, spread: Floats
) -> tuple[Floats, Floats, Floats]:
    """Value, low and high end of the 95 % interval, per unit of volume, to seven digits; nan where no volume was looked at.

    All [n], sums over intervals: `volume`; `particles` counted times the weight w that each stands for; `squares` counted * w^2;
    `exposure` volume * w; `spread` volume * relative uncertainty of the scale.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.where(squares > 0, particles**2 / squares, 0.0)
        # Of none, the weight of what might have been seen.
        weight = np.where(particles > 0, squares / particles, exposure / volume)
        scale = np.where(volume > 0, weight / volume, math.nan)
        uncertainty = np.nan_to_num(np.where(volume > 0, spread / volume, 0.0))
    low, high = mean_intervals(effective, uncertainty)
    return _rounded(effective * scale), _rounded(low * scale), _rounded(high * scale)


def _rounded(values: Floats) -> Floats:
    """To seven digits: a page gets thousands of them as text."""
    with np.errstate(divide="ignore"):
        magnitude = np.floor(np.log10(np.abs(values), where=values != 0, out=np.zeros_like(values)))
    scale = 10.0 ** (_DIGITS - 1 - magnitude)
    return np.rint(values * scale) / scale
