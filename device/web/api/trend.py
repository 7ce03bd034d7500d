"""The optics from day to day against commissioning: of a box by itself, or of what was heard of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from device.health.trend import FIGURES, FigureDays
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["FigureDays", "TrendEndpoints", "heard_figures"]


class TrendEndpoints:
    """The route."""

    def __init__(self, figures: Callable[[], list[FigureDays]]) -> None:
        self._figures = figures

    def endpoints(self) -> list[Endpoint]:
        """Of the trend."""
        return [Endpoint("GET", "/api/health/trend", "viewer", self._trend)]

    def _trend(self, _request: HttpRequest) -> dict[str, Any]:
        return {"figures": self._figures()}


def heard_figures(days: Mapping[str, Sequence[tuple[str, float]]], drifting_since: Mapping[str, str]) -> list[FigureDays]:
    """All figures, of their days (date in UTC, mean departure) by name and of when a check of that name began to warn.

    What a box measured at commissioning isn't heard of it: only how far it has gone from there.
    """
    return [
        FigureDays(
            name=name, words=figure.words, allowed=figure.allowed, worse=figure.worse, remedy=figure.remedy, base=None,
            relative=figure.relative, drifting_since=drifting_since.get(figure.words, ""), days=list(days.get(name, ())),
        )
        for name, figure in FIGURES.items()
    ]  # fmt: skip
