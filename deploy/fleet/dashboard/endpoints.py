"""The routes: all boxes and alarms, and below /boxes/<device> what a box's own pages ask for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

from msgspec import Meta, Struct

from deploy.fleet.alarms.book import acknowledge, alarms, silence
from deploy.fleet.dashboard.boxes import boxes, state_of
from deploy.fleet.dashboard.history import BoxHistory
from deploy.fleet.dashboard.pool import ConnectionPool
from deploy.fleet.dashboard.trend import optics_of
from device.web.api.history import HistoryEndpoints
from device.web.api.trend import TrendEndpoints
from device.web.serving.answers import RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["FleetEndpoints"]

_DEVICE_ID = re.compile(r"[a-z0-9-]{1,64}")
_Text = Annotated[str, Meta(min_length=1, max_length=500)]


class _AlarmsAsked(Struct, frozen=True, forbid_unknown_fields=True):
    all: bool = False
    """Those that are over too."""


class _SilenceTold(Struct, frozen=True, forbid_unknown_fields=True):
    hours: Annotated[float, Meta(gt=0, le=8784)]
    reason: _Text
    device_id: Annotated[str, Meta(max_length=64)] | None = None
    rule: Annotated[str, Meta(max_length=32)] | None = None


class FleetEndpoints:
    """The routes."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def endpoints(self) -> list[Endpoint]:
        """Of the fleet, and of each box in it."""
        return [
            Endpoint("GET", "/api/boxes", "viewer", self._boxes),
            Endpoint("GET", "/api/alarms", "viewer", self._alarms),
            Endpoint("POST", "/api/alarms/{id}/acknowledge", "operator", self._acknowledge),
            Endpoint("POST", "/api/silences", "operator", self._silence),
            Endpoint("GET", "/boxes/{device}/api/state", "viewer", self._state),
            *(self._of_a_box(one) for one in self._own("-")),
        ]

    def _boxes(self, _request: HttpRequest) -> dict[str, Any]:
        return {"boxes": self._pool.ask(boxes)}

    def _alarms(self, request: HttpRequest) -> dict[str, Any]:
        standing = not request.query_as(_AlarmsAsked).all
        return {"alarms": self._pool.ask(lambda connection: alarms(connection, standing=standing))}

    def _acknowledge(self, request: HttpRequest) -> Any:
        number = request.path["id"]
        if not (number.isascii() and number.isdigit() and len(number) < 16):
            raise RefusedError(404, "there is no such alarm", where="id", got=number[:64])
        return self._pool.ask(lambda connection: acknowledge(connection, int(number), request.by))

    def _silence(self, request: HttpRequest) -> dict[str, Any]:
        told = request.body_as(_SilenceTold)
        self._pool.ask(
            lambda connection: silence(
                connection,
                device_id=told.device_id,
                rule=told.rule,
                until_s=3600 * told.hours,
                by=request.by,
                reason=told.reason,
            )
        )
        return {"silenced": True}

    def _state(self, request: HttpRequest) -> dict[str, Any]:
        device_id = _device(request)
        state = self._pool.ask(lambda connection: state_of(connection, device_id))
        if state is None:
            raise RefusedError(404, "nothing was ever heard of this box", where="the address", got=device_id)
        return state

    def _own(self, device_id: str) -> list[Endpoint]:
        """What a box's own pages ask of it."""
        history = HistoryEndpoints(BoxHistory(self._pool, device_id), device_id)
        trend = TrendEndpoints(lambda: self._pool.ask(lambda connection: optics_of(connection, device_id)))
        return [*history.endpoints(), *trend.endpoints()]

    def _of_a_box(self, one: Endpoint) -> Endpoint:
        """A route of a box's own, below its name."""

        def answer(request: HttpRequest) -> Any:
            own = self._own(_device(request))
            handler: Callable[[HttpRequest], Any] = next(each.handler for each in own if each.path == one.path)
            return handler(request)

        return replace(one, path=f"/boxes/{{device}}{one.path}", handler=answer)


def _device(request: HttpRequest) -> str:
    device_id = request.path["device"]
    if not _DEVICE_ID.fullmatch(device_id):
        raise RefusedError(
            404, "there is no such box", where="the address", expected="lower-case letters, digits, hyphens", got=device_id[:64]
        )
    return device_id
