"""Connections with bounds: however many are half open, send by drops or never read, they hold a fixed number of small buffers.

uvicorn bounds what it reads of a request, and stops writing to who doesn't read; it waits for both without an end. However many
come, so many a second are taken and the rest wait in the system's queue: a refusal that ends its connection bounds a flood by that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from device.web.security.rate_limits import Allowance, TokenBucket

__all__ = ["BoundedConnection", "ConnectionAcceptor"]

_REQUEST_S = 10.0
"""From the first byte of a request, or from the connection, to the last of the request."""
_STALLED_S = 20.0
"""Somebody who takes nothing for this long is gone."""
_HANDSHAKE_S = 5.0
_WRITE_BUFFER_BYTES = 64 * 1024
_MOST_CONNECTIONS = 256
_NO_MORE_FILES_S = 0.2
_TAKEN = Allowance(at_once=_MOST_CONNECTIONS, per_s=50)
"""Connections. A browser opens six and keeps them."""


class BoundedConnection(H11Protocol):
    """uvicorn's, which gives up who is too slow."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    began_s: float = 0.0
    """By the loop's clock."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is no whole request in it that is being answered."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete or cycle.more_body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.began_s = self.loop.time()
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        for timer in (self._deadline, self._stalled):
            if timer is not None:
                timer.cancel()

    def _watch(self) -> None:
        """Have a deadline exactly while a request is awaited: more bytes of the same request don't move it."""
        idle = self.timeout_keep_alive_task is not None
        if not self.is_waiting or idle:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = None
        elif self._deadline is None:
            self._deadline = self.loop.call_later(_REQUEST_S, self.transport.abort)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()


class ConnectionAcceptor:
    """Accepts; where all places are taken, who has been waiting longest without a request makes room."""

    def __init__(self, config: uvicorn.Config, context: ssl.SSLContext | None, most: int = _MOST_CONNECTIONS) -> None:
        self.state = ServerState()
        self._config, self._context, self._most = config, context, most
        self._shaking: dict[asyncio.Task[None], socket.socket] = {}
        self._takes = TokenBucket(_TAKEN)

    async def accept(self, listener: socket.socket) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            if (wait_s := self._takes.take_or_wait_s()) > 0:
                await asyncio.sleep(wait_s)
                continue
            try:
                taken, _ = await loop.sock_accept(listener)
            except OSError:
                # No more files, or the client was gone before it came.
                self._make_room()
                await asyncio.sleep(_NO_MORE_FILES_S)
                continue
            if len(self.state.connections) + len(self._shaking) >= self._most and not self._make_room():
                taken.close()
                continue
            task = loop.create_task(self._take(taken))
            self._shaking[task] = taken
            task.add_done_callback(lambda done: self._shaking.pop(done, None))

    async def _take(self, taken: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        taken.setblocking(False)
        with contextlib.suppress(OSError):
            taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shaking: dict[str, Any] = {}
        if self._context is not None:
            shaking = {"ssl": self._context, "ssl_handshake_timeout": _HANDSHAKE_S, "ssl_shutdown_timeout": _HANDSHAKE_S}
        try:
            await loop.connect_accepted_socket(self._protocol(loop), taken, **shaking)
        except (OSError, asyncio.CancelledError):
            taken.close()

    def _protocol(self, loop: asyncio.AbstractEventLoop) -> Callable[[], BoundedConnection]:
        return lambda: BoundedConnection(self._config, self.state, {}, loop)

    def _make_room(self) -> bool:
        """Whether one could go."""
        if self._context is not None:
            for task in self._shaking:
                task.cancel()
                return True
        waiting = (one for one in self.state.connections if isinstance(one, BoundedConnection) and one.is_waiting)
        chosen = min(waiting, key=lambda one: one.began_s, default=None)
        if chosen is None:
            return False
        chosen.transport.abort()
        self.state.connections.discard(chosen)
        return True

    def close(self) -> None:
        """Everything at once."""
        for task in list(self._shaking):
            task.cancel()
        for connection in list(self.state.connections):
            connection.transport.abort()
