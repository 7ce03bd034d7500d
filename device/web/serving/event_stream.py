"""Server-sent events (WHATWG HTML, 9.2) to many watchers: what is shown is encoded once, and each watcher gets the newest.

Only what changed is told, field by field. Nobody is waited for: a watcher holds the newest text of each field and a short queue of
what must not be passed over; who reads slowly sees fewer of the former, and is told where the latter ran over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from starlette.responses import StreamingResponse

from device.web.serving.answers import RefusedError

__all__ = ["EventSource", "EventStreams", "ServerSentEvent"]

log = logging.getLogger("holonode")

_LOOK_S = 0.25
"""How often it is looked for something new."""
_PING_S = 15.0
"""Without a word for longer, proxies hang up."""
_MOST_WATCHERS = 64
_MOST_QUEUED = 32


@dataclass(frozen=True)
class ServerSentEvent:
    """One event."""

    kind: str
    fields: Mapping[str, bytes]
    """Each as one line of JSON; together they are an object."""
    replaces: bool = True
    """Whether a newer value of a field makes an older one of its kind worthless."""


class EventSource(Protocol):
    """What there is to tell. Called in the server's loop: nothing here waits."""

    def watching(self) -> AbstractContextManager[object]:
        """Entered while anybody watches."""
        ...

    def now(self) -> Sequence[ServerSentEvent]:
        """For who has just come."""
        ...

    def news(self) -> Sequence[ServerSentEvent]:
        """Since the last call."""
        ...


class _Watcher:
    def __init__(self) -> None:
        self._newest: dict[str, dict[str, bytes]] = {}
        self._queue: deque[ServerSentEvent] = deque(maxlen=_MOST_QUEUED)
        self._there = asyncio.Event()

    def give(self, told: ServerSentEvent) -> None:
        if told.replaces:
            self._newest.setdefault(told.kind, {}).update(told.fields)
        else:
            self._queue.append(told)
        self._there.set()

    async def take(self) -> bytes:
        """All that waits, or a comment where nothing comes."""
        try:
            await asyncio.wait_for(self._there.wait(), _PING_S)
        except TimeoutError:
            return b": there\n\n"
        self._there.clear()
        waiting = [*((told.kind, told.fields) for told in self._queue), *self._newest.items()]
        self._queue.clear()
        self._newest.clear()
        return b"".join(b"event: %s\ndata: {%s}\n\n" % (kind.encode(), _members(fields)) for kind, fields in waiting)


def _members(fields: Mapping[str, bytes]) -> bytes:
    return b",".join(b'"%s":%s' % (name.encode(), value) for name, value in fields.items())


class EventStreams:
    """All streams of a server; for its loop alone."""

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._watchers: set[_Watcher] = set()
        self._looking: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> int:
        """How many watch."""
        return len(self._watchers)

    def response(self, still_may: Callable[[], bool]) -> StreamingResponse:
        """A stream that ends once `still_may` says no; RefusedError where too many watch already."""
        if len(self._watchers) >= _MOST_WATCHERS:
            raise RefusedError(503, "too many watch already", expected=f"at most {_MOST_WATCHERS}", retry_s=30.0)
        return StreamingResponse(self._stream(still_may), media_type="text/event-stream")

    async def _stream(self, still_may: Callable[[], bool]) -> AsyncIterator[bytes]:
        watcher = _Watcher()
        self._watchers.add(watcher)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            yield b"retry: 3000\n\n"
            for told in self._source.now():
                watcher.give(told)
            waiting = await watcher.take()
            while still_may():
                yield waiting
                waiting = await watcher.take()
        finally:
            self._watchers.discard(watcher)

    async def _look(self) -> None:
        with self._source.watching():
            while self._watchers:
                try:
                    news = self._source.news()
                except Exception:
                    # The edge of this task: without it no watcher would hear anything again.
                    log.exception("what is shown could not be told")
                    news = ()
                for told in news:
                    for watcher in self._watchers:
                        watcher.give(told)
                await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
