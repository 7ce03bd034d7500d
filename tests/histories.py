"""A history that holds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from device.storage.history.values import HistorySeries, HistoryStatus, ParticlePage, SizeDistribution


class EmptyHistory:
    """As `storage.history.HistoryReader` of a box that has just been unpacked."""

    def status(self) -> HistoryStatus:
        return HistoryStatus(
            there=True,
            first=None,
            last=None,
            intervals=0,
            bytes=0,
            behind=0,
            trouble="",
            rebuilt_at=None,
            rebuilt_why="",
            set_aside=(),
        )

    def series(
        self, since: str, until: str, points: int, labels: Sequence[str] | None = None, unit: Any = None
    ) -> HistorySeries:
        return HistorySeries(since=since, until=until, step_s=0.0, unit=None)

    def sizes(self, since: str, until: str, label: str | None = None) -> SizeDistribution:
        return SizeDistribution(since=since, until=until, edges_um=(1.0, 2.0), n=(0,))

    def gaps(self, since: str, until: str, longer_than_s: float) -> tuple[Any, ...]:
        return ()

    def events(self, since: str, until: str, limit: int) -> tuple[Any, ...]:
        return ()

    def intervals(self, since: str, until: str, limit: int, after: int | None = None) -> tuple[Any, ...]:
        return ()

    def particles(self, *_asked: Any) -> ParticlePage:
        return ParticlePage(particles=(), after=None, held_since=None)
