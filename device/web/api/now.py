"""How the box stands and what it looks at, once and as a stream."""

from __future__ import annotations

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


class _News:
    """What a stream tells: the state, that there is another look, and every event."""

    def __init__(self, box: DashboardContext) -> None:
        self._box = box
        self._state: Any = None
        self._look: Any = None
        self._events = 0

    @contextmanager
    def watching(self) -> Generator[None]:
        """While anybody watches, frames are made into pictures."""
        self._events = self._box.events.count
        with self._box.looks.watch():
            yield

    def now(self) -> Sequence[ServerSentEvent]:
        """The state and the look as they are."""
        look = self._box.looks.newest()
        return [_event("state", self._box.states.now()), *([_event("look", _name_of(look))] if look else [])]

    def news(self) -> Sequence[ServerSentEvent]:
        """What differs from the last time."""
        box, news = self._box, list[ServerSentEvent]()
        state = box.states.now()
        if self._state is None or _differs(state, self._state):
            self._state = state
            news.append(_event("state", state))
        if (look := box.looks.newest()) is not self._look:
            self._look = look
            news += [_event("look", _name_of(look))] if look else []
        news += [_event("event", event, replaces=False) for event in box.events.after(self._events)]
        self._events = box.events.count
        return news


def _event(kind: str, value: Any, *, replaces: bool = True) -> ServerSentEvent:
    return ServerSentEvent(kind, msgspec.json.encode(value), replaces)


def _differs(state: Any, told: Any) -> bool:
    """Whether more than the time changed, or that by some seconds: a page sees by it that the box is there."""
    if any(getattr(state, name) != getattr(told, name) for name in state.__struct_fields__ if name != "at"):
        return True
    return state.at[:18] != told.at[:18]


def _name_of(look: Any) -> dict[str, Any]:
    return {"id": look.id, "taken_at": look.taken_at}


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
