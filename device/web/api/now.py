"""How the box stands and what it looks at, once and as a stream."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.responses import StreamingResponse

from device.web.api.box import DashboardContext
from device.web.serving.access_control import AccessControl
from device.web.serving.answers import Content, RefusedError
from device.web.serving.event_stream import EventStreams, ServerSentEvent
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["NowEndpoints"]

_PICTURE_S = 3600
"""A look's pictures never change."""


_SIGN_OF_LIFE_S = 10.0
"""A page sees by the state's time, told at least so often, that the box is there."""


class _News:
    """What a stream tells: of the state what changed, that there is another look, and every event."""

    def __init__(self, box: DashboardContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._box, self._clock = box, clock
        self._state: Any = None
        self._told_s = clock()
        self._look: Any = None
        self._events = 0

    @contextmanager
    def watching(self) -> Generator[None]:
        """While anybody watches, frames are made into pictures."""
        self._events = self._box.events.count
        with self._box.looks.watch():
            yield
        self._state = None

    def now(self) -> Sequence[ServerSentEvent]:
        """The whole state and the look as they are."""
        look, state = self._box.looks.newest(), self._box.states.now()
        if self._state is None:
            self._state = state
        return [_event("state", state, state.__struct_fields__), *([_name_of(look)] if look else [])]

    def news(self) -> Sequence[ServerSentEvent]:
        """What differs from the last time."""
        box, news = self._box, list[ServerSentEvent]()
        if changed := self._changed(box.states.now()):
            news.append(_event("state", self._state, changed))
        if (look := box.looks.newest()) is not self._look:
            self._look = look
            news += [_name_of(look)] if look else []
        news += [_event("event", event, event.__struct_fields__, replaces=False) for event in box.events.after(self._events)]
        self._events = box.events.count
        return news

    def _changed(self, state: Any) -> Sequence[str]:
        """Fields to tell; the time alone seldom."""
        told, now_s = self._state, self._clock()
        names = state.__struct_fields__
        changed = names if told is None else [name for name in names if _differ(getattr(state, name), getattr(told, name))]
        if not changed or (changed == ["at"] and now_s - self._told_s < _SIGN_OF_LIFE_S):
            return ()
        self._state, self._told_s = state, now_s
        return changed


def _differ(value: Any, told: Any) -> bool:
    return value is not told and value != told


def _event(kind: str, value: Any, names: Sequence[str], *, replaces: bool = True) -> ServerSentEvent:
    return ServerSentEvent(kind, {name: msgspec.json.encode(getattr(value, name)) for name in names}, replaces)


def _name_of(look: Any) -> ServerSentEvent:
    return _event("look", look, ("id", "taken_at"))


class NowEndpoints:
    """The routes."""

    def __init__(self, box: DashboardContext, access_control: AccessControl) -> None:
        self._box, self._access_control = box, access_control
        self.streams = EventStreams(_News(box))

    def endpoints(self) -> list[Endpoint]:
        """Of state and look."""
        return [
            Endpoint("GET", "/api/state", "viewer", self._state),
            Endpoint("GET", "/api/stream", "viewer", self._stream),
            Endpoint("GET", "/api/look", "viewer", self._look),
            Endpoint("GET", "/api/look/{id}/{picture}", "viewer", self._picture),
        ]

    def _state(self, _request: HttpRequest) -> Any:
        return self._box.states.now()

    async def _stream(self, request: HttpRequest) -> StreamingResponse:
        return self.streams.response(self._still_may(request))

    def _still_may(self, request: HttpRequest) -> Callable[[], bool]:
        """Until the session ends; where nobody needed one, until a password is set."""
        if request.session is None:
            return lambda: self._access_control.reads_freely(request.requester)
        return lambda: self._access_control.access.session(request.token) is not None

    def _look(self, _request: HttpRequest) -> Any:
        look = self._box.looks.newest()
        if look is None:
            raise RefusedError(
                404, "there is no picture yet", remedy="The next frame that is analysed while you watch is shown."
            )
        return look.told()

    def _picture(self, request: HttpRequest) -> Content:
        look, picture = self._box.looks.newest(), request.path["picture"]
        if picture not in ("hologram.jpg", "focus.jpg"):
            raise RefusedError(404, "there is no such picture", expected="hologram.jpg | focus.jpg", got=picture[:64])
        if look is None or str(look.id) != request.path["id"]:
            raise RefusedError(404, "this picture is gone", where="id", remedy="A newer one took its place.")
        body: bytes | None = look.hologram_jpeg if picture == "hologram.jpg" else look.focus_jpeg
        if body is None:
            raise RefusedError(404, "there is no such picture of this frame", got=picture)
        return Content(body, "image/jpeg", keep_s=_PICTURE_S)
