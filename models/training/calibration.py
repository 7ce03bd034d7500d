"""From logits to calibrated probabilities, prediction sets and a reject threshold; and how well they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Calibration",
    "auroc",
    "balanced_accuracy",
    "bootstrap_groups",
    "calibrate",
    "calibration_error",
    "conformal_quantiles",
    "fit_temperature",
    "softmax",
]

Reals = NDArray[np.float64]
Indices = NDArray[np.int64]

KNOWN_REJECTED = 0.05
"""Share of particles of known classes that the reject option may cost."""


@dataclass(frozen=True)
class Calibration:
    """What the manifest says of a network's logits."""

    temperature: float
    quantile: float
    """Of all classes together."""
    quantiles: tuple[float, ...]
    """Of every class."""
    other_above: float
    """A probability of 'other' above this is 'unknown'."""


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Reals:
    """Probabilities float64 [n, outputs]."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    raised = np.exp(scaled)
    return raised / raised.sum(axis=1, keepdims=True)


def fit_temperature(logits: NDArray[np.floating], labels: Indices) -> float:
    """The temperature of least negative log-likelihood (Guo et al. 2017, arXiv:1706.04599)."""
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        picked = softmax(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(picked, 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def _quantile(scores: Reals, coverage: float) -> float:
    rank = min(int(np.ceil((len(scores) + 1) * coverage)), len(scores)) - 1
    return float(np.sort(scores)[rank])


def conformal_quantiles(scores: Reals, labels: Indices, classes: int, coverage: float = 0.9) -> tuple[float, tuple[float, ...]]:
    """Thresholds on 1 - p of split conformal prediction (Vovk et al. 2005): of all classes together, and of each alone.

    `scores` float64 [n]: 1 - p of the true class. Within a class the guarantee holds for that class (Mondrian): rare and
    hard ones don't pay for the easy.
    """
    each = tuple(_quantile(scores[labels == k], coverage) if (labels == k).any() else 1.0 for k in range(classes))
    return _quantile(scores, coverage), each


def calibrate(logits: NDArray[np.floating], labels: Indices, groups: Indices, classes: int) -> Calibration:
    """Fit on crops that training never saw.

    `logits` [n, classes + 1], the last 'other'; `labels` int64 [n], `classes` for strangers; `groups` int64 [n]: frames.
    Temperature and sets concern the known classes alone. The scores of either half of the frames use the temperature of the
    other half: a quantile on fitted data would be too small.
    """
    known = labels < classes
    values, names, half = logits[known][:, :classes], labels[known], groups[known] % 2
    scores = np.empty(len(names))
    for side in (0, 1):
        temperature = fit_temperature(values[half != side], names[half != side])
        mine = half == side
        scores[mine] = 1 - softmax(values[mine], temperature)[np.arange(int(mine.sum())), names[mine]]
    temperature = fit_temperature(values, names)
    quantile, quantiles = conformal_quantiles(scores, names, classes)
    other = softmax(logits, temperature)[known, classes]
    return Calibration(temperature, quantile, quantiles, _quantile(other, 1 - KNOWN_REJECTED))


def balanced_accuracy(named: Indices, truth: Indices) -> float:
    """Mean over the classes of the share that is named rightly."""
    return float(np.mean([(named[truth == k] == k).mean() for k in np.unique(truth)]))


def calibration_error(confidence: Reals, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over bins of one width (Guo et al. 2017, arXiv:1706.04599)."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(confidence[which == k].mean() - right[which == k].mean()) * (which == k).mean() for k in np.unique(which)]
    return float(np.sum(gaps))


def auroc(inside: Reals, outside: Reals) -> float:
    """Probability that a score of `inside` is above one of `outside`, ties by half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / max(len(inside) * len(outside), 1))


def bootstrap_groups(
    statistic: Callable[[Indices], float], groups: Indices, draws: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high): a statistic of row indices int64 [m] with its 95 % percentile interval, whole groups drawn again."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    values = [
        statistic(np.concatenate([members[k] for k in rng.integers(len(members), size=len(members))])) for _ in range(draws)
    ]
    whole = statistic(np.arange(len(groups)))
    return whole, float(np.nanpercentile(values, 2.5)), float(np.nanpercentile(values, 97.5))
