"""The server: a thread with a loop of its own, which takes no more than its share of a core however many ask."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp

from device.errors import TransientError
from device.web.serving.connection import BoundedConnection, ConnectionAcceptor
from device.web.serving.governor import Governor

__all__ = ["WebServer", "listening"]

log = logging.getLogger("holonode")

_BACKLOG = 128
_PORTS = 20
"""That are tried where the first is taken."""
_WORKERS = 3
"""Threads for handlers that wait for a disk."""
_KEEP_ALIVE_S = 15
_HEAD_BYTES = 16 * 1024
"""Of a request's head."""
_LAST_ANSWERS_S = 1.0


def listening(address: str, port: int) -> socket.socket:
    """A socket at this port, or at the next free one; TransientError where there is none."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for wanted in range(port, min(port + _PORTS, 65536)):
        one = socket.socket(family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address, wanted))
            one.listen(_BACKLOG)
        except OSError as error:
            one.close()
            if error.errno == errno.EADDRINUSE and wanted:
                continue
            raise TransientError(
                "the dashboard can't be served at this address", where="web.address, web.port", got=f"{address} {wanted}: {error.strerror}",
                remedy="Name an address that this machine has, and a port from 1024 on.",
            ) from error  # fmt: skip
        one.setblocking(False)
        return one
    raise TransientError("no port is free", where="web.port", expected=f"one of {port} to {port + _PORTS - 1}")


class WebServer:
    """Serves an application until it is stopped."""

    def __init__(
        self, app: ASGIApp, listener: socket.socket, governor: Governor, context: ssl.SSLContext | None = None
    ) -> None:
        """`context`: TLS; None: plain text, for loopback."""
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what a client gets wrong is no news of ours
        config = uvicorn.Config(
            app, http=BoundedConnection, ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=_KEEP_ALIVE_S, h11_max_incomplete_event_size=_HEAD_BYTES,
        )  # fmt: skip
        config.load()
        self._acceptor, self._listener = ConnectionAcceptor(config, context), listener
        self._governor = governor
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        address, self.port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        self.url = f"{'http' if context is None else 'https'}://{shown}:{self.port}"
        """Where it is served."""

    @property
    def is_serving(self) -> bool:
        """Whether its thread lives."""
        return self._thread.is_alive()

    @property
    def connections(self) -> int:
        """That are open."""
        return len(self._acceptor.state.connections)

    def at_end(self, close: Callable[[], Awaitable[None]]) -> None:
        """Something to await in the loop at its end."""
        self._closing.append(close)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Serve no more; safe to call twice."""
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # its loop has just ended by itself
                self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(timeout_s)
        self._listener.close()

    def _serve(self) -> None:
        try:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self._until_ended())
        except Exception:
            # The edge of this thread: the sampler goes on without a dashboard.
            log.exception("the dashboard's server broke")
        finally:
            self._loop.close()

    async def _until_ended(self) -> None:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _WORKERS
        tasks = [
            self._loop.create_task(task)
            for task in (self._acceptor.accept(self._listener), self._governor.keep(), self._dated())
        ]
        try:
            await self._end.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for close in self._closing:
                await close()
            self._acceptor.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*self._acceptor.state.tasks, return_exceptions=True), _LAST_ANSWERS_S)

    async def _dated(self) -> None:
        """`Date` on every answer: pages tell by it how far their clock is from the box's."""
        while True:
            self._acceptor.state.default_headers[:] = [(b"date", formatdate(time.time(), usegmt=True).encode())]
            await asyncio.sleep(1.0)
