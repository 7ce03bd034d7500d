"""Figures of an evaluation as Markdown: medians over scenes with 95 % intervals, and what they had to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.training.quality import bootstrap_median

__all__ = ["Bar", "Scores", "bar_lines", "score_lines"]

Scores = Mapping[str, Sequence[Mapping[str, float]]]
"""By row, what every scene or particle scored; rows that were scored on the same ones have them in the same order."""


@dataclass(frozen=True)
class Bar:
    """What the median of a figure must reach, or by how much it must lie over another row's."""

    row: str
    metric: str
    least: float | None = None
    most: float | None = None
    against: str = ""
    """Row it is compared with, scene by scene; empty: as it stands."""


def score_lines(scores: Scores, metrics: Sequence[str], first: str = "method") -> list[str]:
    """A row for every method, a column for every metric."""
    lines = [f"| {first} | n | " + " | ".join(metrics) + " |", "|---|---|" + "---|" * len(metrics)]
    for row, values in scores.items():
        cells = [_cell([v[metric] for v in values if metric in v]) for metric in metrics]
        lines.append(f"| {row} | {len(values)} | " + " | ".join(cells) + " |")
    return lines


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "-"
    middle, low, high = bootstrap_median(values)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def bar_lines(bars: Sequence[Bar], scores: Scores) -> list[str]:
    """Whether each was met: by its median, and, where its interval reaches over the line, said so."""
    lines = ["| bar | measured | |", "|---|---|---|"]
    for bar in bars:
        values = np.array([v[bar.metric] for v in scores[bar.row] if bar.metric in v])
        if bar.against:
            values = values - np.array([v[bar.metric] for v in scores[bar.against] if bar.metric in v])
        middle, low, high = bootstrap_median([float(v) for v in values])
        sides = ((">=", bar.least), ("<=", bar.most))
        asked = " and ".join(f"{sign} {limit:g}" for sign, limit in sides if limit is not None)
        floor, ceiling = (-np.inf if bar.least is None else bar.least), (np.inf if bar.most is None else bar.most)
        met = floor <= middle <= ceiling
        proved = (floor <= low and high <= ceiling) if met else (high < floor or low > ceiling)
        over = f", over {bar.against}" if bar.against else ""
        verdict = ("met" if met else "missed") + ("" if proved else ", its interval reaches over the bar")
        lines.append(f"| {bar.row}: {bar.metric}{over} {asked} | {middle:.3g} ({low:.3g} to {high:.3g}) | {verdict} |")
    return lines
