"""How the box stands and what it looks at, once and as a stream."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from starlette.responses import StreamingResponse

from device.web.api.box import Dashboarded
from device.web.serving.answers import Content, RefusedError
from device.web.serving.event_stream import EventStreams, Told
from device.web.serving.gate import Gate
from device.web.serving.routes import Question, Way

__all__ = ["Now"]

_PICTURE_S = 3600
"""A look's pictures never change."""


class _News:
    """What a stream tells: the state, that there is another look, and every event."""

    def __init__(self, box: Dashboarded) -> None:
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

    def now(self) -> Sequence[Told]:
        """The state and the look as they are."""
        look = self._box.looks.newest()
        return [_told("state", self._box.states.now()), *([_told("look", _name_of(look))] if look else [])]

    def news(self) -> Sequence[Told]:
        """What differs from the last time."""
        box, news = self._box, list[Told]()
        state = box.states.now()
        if self._state is None or _differs(state, self._state):
            self._state = state
            news.append(_told("state", state))
        if (look := box.looks.newest()) is not self._look:
            self._look = look
            news += [_told("look", _name_of(look))] if look else []
        news += [_told("event", event, replaces=False) for event in box.events.after(self._events)]
        self._events = box.events.count
        return news


def _told(kind: str, value: Any, *, replaces: bool = True) -> Told:
    return Told(kind, msgspec.json.encode(value), replaces)


def _differs(state: Any, told: Any) -> bool:
    """Whether more than the time changed, or that by some seconds: a page sees by it that the box is there."""
    if any(getattr(state, name) != getattr(told, name) for name in state.__struct_fields__ if name != "at"):
        return True
    return state.at[:18] != told.at[:18]


def _name_of(look: Any) -> dict[str, Any]:
    return {"id": look.id, "taken_at": look.taken_at}


class Now:
    """The routes."""

    def __init__(self, box: Dashboarded, gate: Gate) -> None:
        self._box, self._gate = box, gate
        self.streams = EventStreams(_News(box))

    def ways(self) -> list[Way]:
        """Of state and look."""
        return [
            Way("GET", "/api/state", "viewer", self._state),
            Way("GET", "/api/stream", "viewer", self._stream),
            Way("GET", "/api/look", "viewer", self._look),
            Way("GET", "/api/look/{id}/{picture}", "viewer", self._picture),
        ]

    def _state(self, _question: Question) -> Any:
        return self._box.states.now()

    async def _stream(self, question: Question) -> StreamingResponse:
        return self.streams.response(self._still_may(question))

    def _still_may(self, question: Question) -> Callable[[], bool]:
        """Until the session ends; where nobody needed one, until a password is set."""
        if question.session is None:
            return lambda: self._gate.reads_freely(question.requester)
        return lambda: self._gate.access.session(question.token) is not None

    def _look(self, _question: Question) -> Any:
        look = self._box.looks.newest()
        if look is None:
            raise RefusedError(
                404, "there is no picture yet", remedy="The next frame that is analysed while you watch is shown."
            )
        return look.told()

    def _picture(self, question: Question) -> Content:
        look, picture = self._box.looks.newest(), question.path["picture"]
        if picture not in ("hologram.jpg", "focus.jpg"):
            raise RefusedError(404, "there is no such picture", expected="hologram.jpg | focus.jpg", got=picture[:64])
        if look is None or str(look.id) != question.path["id"]:
            raise RefusedError(404, "this picture is gone", where="id", remedy="A newer one took its place.")
        body: bytes | None = look.hologram_jpeg if picture == "hologram.jpg" else look.focus_jpeg
        if body is None:
            raise RefusedError(404, "there is no such picture of this frame", got=picture)
        return Content(body, "image/jpeg", keep_s=_PICTURE_S)
