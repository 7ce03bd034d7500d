"""Routes: method, path, who may, and what is done. A route that says nobody's name is not served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from device.web.security.access_store import Role, Session
from device.web.security.requester import Requester
from device.web.serving.answers import RefusedError

__all__ = ["READING", "Access", "Endpoint", "HttpRequest"]

READING = ("GET", "HEAD")
"""Methods that change nothing."""

Access = Literal["anybody", "viewer", "operator"]
"""Who may: whoever can connect; one who may read; one who may write."""

_StructT = TypeVar("_StructT", bound=Struct)


@dataclass(frozen=True)
class HttpRequest:
    """What a handler is told of a request."""

    path: Mapping[str, str]
    """What the path names, e.g. {"id": ...}."""
    query: Mapping[str, str]
    content: bytes
    """Of the body."""
    requester: Requester
    session: Session | None
    """None: nobody gave a password."""
    token: str
    """Of the session; empty: none."""
    agent: str
    """What the browser calls itself."""
    takes_gzip: bool

    @property
    def role(self) -> Role | None:
        """What may be done."""
        return None if self.session is None else self.session.role

    @property
    def by(self) -> str:
        """Who asks, as records and the audit log name it."""
        return "" if self.session is None else f"{self.session.role} {self.session.id}"

    def query_as(self, kind: type[_StructT]) -> _StructT:
        """The query; RefusedError where it isn't right."""
        try:
            return msgspec.convert(dict(self.query), kind, strict=False)
        except msgspec.ValidationError as error:
            raise RefusedError(
                422, "the address asks for what can't be", where="the query", expected=_expected(kind), got=str(error)[:300]
            ) from error

    def body_as(self, kind: type[_StructT]) -> _StructT:
        """The body; RefusedError where it isn't right."""
        try:
            return msgspec.json.decode(self.content or b"{}", type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RefusedError(
                422,
                "the request isn't right",
                where="the body",
                expected=f"a JSON object: {_expected(kind)}",
                got=str(error)[:300],
            ) from error


@dataclass(frozen=True)
class Endpoint:
    """One route."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    access: Access
    handler: Callable[[HttpRequest], Any]
    """Called in a worker thread; a coroutine function is awaited in the loop, where nothing may wait for a disk."""


def _expected(kind: type[Struct]) -> str:
    return ", ".join(kind.__struct_fields__) or "nothing"
