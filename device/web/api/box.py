"""What the routes know of the box, as the service gives it: to read, and one way to ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from device.config import Config
from device.health.trend import FigureDays
from device.inference.store import ModelStore
from device.instrument import Instrument
from device.messaging.request_messages import IncomingRequest
from device.optics.geometry import Geometry
from device.records import Event
from device.storage.audit import AuditLog
from device.storage.history.values import (
    HistoryGap,
    HistorySeries,
    HistoryStatus,
    LoggedEvent,
    LoggedInterval,
    ParticlePage,
    SizeDistribution,
    Sort,
    VolumeUnit,
)

__all__ = ["DashboardContext", "Histories", "Looks", "NewEvents", "States"]


class States(Protocol):
    """As `service.state.StateBoard`."""

    def now(self) -> Any:
        """The newest state, frozen; another object once anything changed."""
        ...


class Looks(Protocol):
    """As `service.look.LookBoard`."""

    def watch(self) -> AbstractContextManager[object]:
        """Pictures are made while this is entered."""
        ...

    def newest(self) -> Any:
        """The newest look, frozen; None where there is none."""
        ...


class Histories(Protocol):
    """As `storage.history.HistoryReader`; times as records write them."""

    def status(self) -> HistoryStatus:
        """How it is."""
        ...

    def series(
        self, since: str, until: str, points: int, labels: Sequence[str] | None = None, unit: VolumeUnit | None = None
    ) -> HistorySeries:
        """At most so many points."""
        ...

    def sizes(self, since: str, until: str, label: str | None = None) -> SizeDistribution:
        """How many had which size."""
        ...

    def gaps(self, since: str, until: str, longer_than_s: float) -> Sequence[HistoryGap]:
        """Times of which there is no interval."""
        ...

    def events(self, since: str, until: str, limit: int) -> Sequence[LoggedEvent]:
        """The last, the newest first."""
        ...

    def intervals(self, since: str, until: str, limit: int, after: int | None = None) -> Sequence[LoggedInterval]:
        """In the order in which they were stored, after that number."""
        ...

    def particles(
        self, label: str | None, since: str, until: str, min_score: float, sort: Sort, limit: int, after: str | None
    ) -> ParticlePage:
        """Some of them, and how to go on."""
        ...


class NewEvents:
    """The last events that were recorded, for who watches; safe to share between threads."""

    def __init__(self) -> None:
        self._last: deque[tuple[int, Event]] = deque(maxlen=64)
        self._count = 0

    def add(self, event: Event) -> None:
        """From the thread that recorded it."""
        self._count += 1
        self._last.append((self._count, event))

    @property
    def count(self) -> int:
        """That came since the start."""
        return self._count

    def after(self, count: int) -> Sequence[Event]:
        """Those that came later, as far as they are held."""
        return [event for number, event in list(self._last) if number > count]


@dataclass(frozen=True)
class DashboardContext:
    """One box."""

    device_id: str
    folder: Path
    """Of the store."""
    file: Config
    """Without what was changed from afar."""
    config: Callable[[], Config]
    """In use."""
    nominal: Instrument
    states: States
    looks: Looks
    history: Histories
    receive: Callable[[IncomingRequest], None]
    """Of the dispatcher: never waits."""
    audit: AuditLog
    log_tail: Callable[[], str]
    models: Callable[[], ModelStore]
    geometry: Callable[[], tuple[Geometry, float]]
    """Of recordings as calibrated, and how many pixels along a side are averaged (below 1: interpolated)."""
    optics: Callable[[], list[FigureDays]]
    """Day by day against commissioning."""
    events: NewEvents = field(default_factory=NewEvents)
