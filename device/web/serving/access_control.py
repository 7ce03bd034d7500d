"""What every request passes, and the headers of every answer."""

from __future__ import annotations

import hmac
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from device.errors import HolonodeError
from device.web.security.access_store import ROLES, AccessStore, Session, csrf_token
from device.web.security.rate_limits import Allowance, RateLimits
from device.web.security.requester import HostPolicy, Requester
from device.web.serving.answers import RefusedError, error_response, response_of
from device.web.serving.routes import READING, Access, Endpoint, HttpRequest

__all__ = ["CSRF_HEADER", "AccessControl", "application"]

log = logging.getLogger("holonode")

CSRF_HEADER = "x-holonode-csrf"

MOST_HEAD_BYTES = 16 * 1024
MOST_BYTES = 64 * 1024
"""Of a request's body."""
_MOST_WAITING = 32
"""Requests for a worker thread: more is a flood."""

_EACH = Allowance(at_once=400, per_s=60)
_EVERYBODY = Allowance(at_once=800, per_s=200)
"""A page with all its files is some thirty requests."""

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass
class AccessControl:
    """Who may, by a place's names, its passwords and its rates."""

    place: HostPolicy
    access: AccessStore
    cookie: str
    """Name of the session's cookie; of boxes side by side on one machine each has its own."""
    rates: RateLimits = field(default_factory=lambda: RateLimits(_EACH, _EVERYBODY))
    refused: int = 0
    """Requests since the start, for their rate."""

    def cookie_of(self, requester: Requester) -> str:
        """A browser keeps a name with this prefix to TLS and to this host."""
        return f"__Host-{self.cookie}" if requester.scheme == "https" else self.cookie

    def enter(self, scope: Scope, headers: Mapping[str, str]) -> Requester:
        """Who asks; RefusedError where nobody there may ask anything."""
        peer = (scope.get("client") or ("", 0))[0]
        size = (
            len(scope["raw_path"])
            + len(scope["query_string"])
            + sum(len(name) + len(value) for name, value in scope["headers"])
        )
        if size > MOST_HEAD_BYTES:
            raise RefusedError(
                413, "the request is too long", where="address and headers", expected=f"at most {MOST_HEAD_BYTES} bytes"
            )
        requester = self.place.requester(peer, scope["scheme"], headers)
        wait_s = self.rates.refused_s(requester.address)
        if wait_s > 0:
            self.refused += 1
            raise RefusedError(429, "too many requests", remedy="Ask again in a while.", retry_s=wait_s)
        if not self.place.is_here(requester, (scope.get("server") or ("", 0))[0]):
            raise RefusedError(
                403, "this machine doesn't go by that name", where="Host", got=requester.host[:200],
                remedy="Name it in web.hosts; a reverse proxy's address belongs in web.trusted_proxies.",
            )  # fmt: skip
        if requester.scheme != "https" and not requester.is_local:
            raise RefusedError(403, "not without TLS", expected="https beyond this machine", got=requester.scheme)
        if scope["path"].startswith("/api/") and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise RefusedError(403, "another site's page asks", where="Sec-Fetch-Site", expected="a page of this place")
        return requester

    def session_of(self, request: Request, requester: Requester) -> tuple[str, Session | None]:
        """The token of the cookie, and its session."""
        token = request.cookies.get(self.cookie_of(requester), "")
        session = self.access.session(token) if token else None
        return (token, session) if session else ("", None)

    def admit(self, access: Access, request: Request, requester: Requester, token: str, session: Session | None) -> None:
        """RefusedError where this one may not."""
        writes = request.method not in READING
        if writes and not self.place.is_from_here(requester, request.headers):
            raise RefusedError(
                403, "a write must come from a page of this place", where="Origin",
                expected=f"{requester.scheme}://{requester.host[:200]}", got=request.headers.get("origin", "none")[:200],
            )  # fmt: skip
        if access == "anybody":
            return
        if session is None:
            if access == "viewer" and not writes and self.reads_freely(requester):
                return
            raise RefusedError(401, "nobody is signed in", remedy="Sign in.")
        if ROLES.index(session.role) < ROLES.index(access):
            raise RefusedError(403, "this needs another role", expected=access, got=session.role)
        if writes and not hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), csrf_token(token).encode()):
            raise RefusedError(403, "the page is not this session's", where=CSRF_HEADER, remedy="Load the page again.")

    def reads_freely(self, requester: Requester) -> bool:
        """Whether nobody needs to sign in to read: on this machine, as long as no password is set."""
        return requester.is_local and not self.access.is_set_up


class _SecurityMiddleware:
    """The outermost layer: refuses, and puts the headers on whatever goes back."""

    def __init__(self, app: ASGIApp, access_control: AccessControl) -> None:
        self._app, self._access_control = app, access_control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            scope["requester"] = self._access_control.enter(scope, Headers(scope=scope))
        except HolonodeError as error:
            await error_response(error)(scope, receive, headed)
            return
        await self._app(scope, receive, headed)


class _Workers:
    """Handlers that may wait for a disk, a few at a time in threads."""

    def __init__(self, charge: Callable[[float], None]) -> None:
        self._waiting, self._charge = 0, charge

    async def run(self, handler: Callable[[HttpRequest], Any], asked: HttpRequest) -> Response:
        if self._waiting >= _MOST_WAITING:
            raise RefusedError(503, "the server is busy", remedy="Ask again in a while.", retry_s=2.0)
        self._waiting += 1
        try:
            return await anyio.to_thread.run_sync(self._done, handler, asked)
        finally:
            self._waiting -= 1

    def _done(self, handler: Callable[[HttpRequest], Any], asked: HttpRequest) -> Response:
        began_s = time.thread_time()
        try:
            return response_of(handler(asked), packed=asked.takes_gzip)
        finally:
            self._charge(time.thread_time() - began_s)


def _endpoint(way: Endpoint, access_control: AccessControl, workers: _Workers) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        requester: Requester = request.scope["requester"]
        token, session = access_control.session_of(request, requester)
        access_control.admit(way.access, request, requester, token, session)
        asked = HttpRequest(
            path=request.path_params, query=request.query_params, content=await _body(request), requester=requester,
            session=session, token=token, agent=request.headers.get("user-agent", ""),
            takes_gzip="gzip" in request.headers.get("accept-encoding", ""),
        )  # fmt: skip
        if inspect.iscoroutinefunction(way.handler):
            return response_of(await way.handler(asked), packed=asked.takes_gzip)
        return await workers.run(way.handler, asked)

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except HolonodeError as error:
            return error_response(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception:
            # The edge of the server: whatever one request does, the next one is served.
            log.exception("a page's request broke: %s %s", way.method, way.path)
            return error_response(RefusedError(500, "this request broke", remedy="The support bundle's log has more."))

    return endpoint


async def _body(request: Request) -> bytes:
    if request.method in READING:
        return b""
    told = request.headers.get("content-length", "0")
    content = bytearray()
    if not told.isdigit() or int(told) <= MOST_BYTES:
        async for chunk in request.stream():
            content += chunk
            if len(content) > MOST_BYTES:
                break
        else:
            return bytes(content)
    raise RefusedError(413, "the request is too long", expected=f"at most {MOST_BYTES} bytes")


def _not_served(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = {404: "there is nothing at this address", 405: "this address takes no such method"}
    return error_response(RefusedError(status, what.get(status, "this can't be served")))


def application(endpoints: list[Endpoint], access_control: AccessControl, charge: Callable[[float], None]) -> Starlette:
    """Everything that is served; `charge` hears of the processor time that worker threads spent."""
    workers = _Workers(charge)
    routes = [Route(way.path, _endpoint(way, access_control, workers), methods=[way.method]) for way in endpoints]
    entrance = Middleware(_SecurityMiddleware, access_control=access_control)
    return Starlette(routes=routes, middleware=[entrance], exception_handlers={HTTPException: _not_served})
