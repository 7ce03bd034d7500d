"""What goes back: values as JSON, content of other kinds, one shape of error."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import FileResponse, Response

from device.errors import CheckError, HardwareError, HolonodeError, InputError, TransientError

__all__ = ["Content", "RefusedError", "StoredContent", "WithHeaders", "error_response", "response_of"]

_WORTH_PACKING_BYTES = 1024
_PACKING_LEVEL = 3
_STATUSES: Mapping[type[HolonodeError], int] = {InputError: 422, CheckError: 409, HardwareError: 503, TransientError: 503}


class RefusedError(InputError):
    """A request that is not carried out, with the status that says so."""

    def __init__(self, status: int, what: str, *, retry_s: float | None = None, **said: Any) -> None:
        super().__init__(what, **said)
        self.status = status
        self.retry_s = retry_s


@dataclass(frozen=True)
class Content:
    """Something that is not JSON."""

    body: bytes
    media_type: str
    name: str = ""
    """To save it under; empty: to be shown."""
    keep_s: int = 0
    """How long a browser may keep it; 0: not at all."""


@dataclass(frozen=True)
class StoredContent:
    """A file to save."""

    path: Path
    media_type: str
    name: str


@dataclass(frozen=True)
class WithHeaders:
    """A value, and headers of its own beside it."""

    value: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


def response_of(value: Any, *, packed: bool) -> Response:
    """The response for what a handler returned; `packed`: the client takes gzip."""
    match value:
        case Response():
            return value
        case Content():
            headers = {"cache-control": f"private, max-age={value.keep_s}, immutable"} if value.keep_s else {}
            return Response(value.body, media_type=value.media_type, headers=headers | _saved_as(value.name))
        case StoredContent():
            return FileResponse(value.path, media_type=value.media_type, headers=_saved_as(value.name))
        case WithHeaders():
            return _json(value.value, value.status, dict(value.headers), packed=packed)
        case _:
            return _json(value, 200, {}, packed=packed)


def error_response(error: HolonodeError) -> Response:
    """One error, as people and programs read it."""
    status = error.status if isinstance(error, RefusedError) else _STATUSES.get(type(error), 500)
    retry_s = error.retry_s if isinstance(error, RefusedError) else 5.0 if status == 503 else None
    headers = {} if retry_s is None else {"retry-after": str(max(1, round(retry_s)))}
    if status == 429:
        # What else was sent on this connection is not even read.
        headers["connection"] = "close"
    told = {
        "message": _short(error.what), "where": _short(error.where), "expected": _short(error.expected), "got": _short(error.got),
        "remedy": _short(error.remedy),
    }  # fmt: skip
    return _json({"error": told}, status, headers, packed=False)


def _short(value: object) -> str | None:
    """An error must not give back the 64 kB that were wrong."""
    text = None if value is None else str(value)
    return text if text is None or len(text) <= 1000 else text[:999] + "…"


def _json(value: Any, status: int, headers: dict[str, str], *, packed: bool) -> Response:
    body = msgspec.json.encode(value)
    if packed and len(body) > _WORTH_PACKING_BYTES:
        body = gzip.compress(body, _PACKING_LEVEL, mtime=0)
        headers = headers | {"content-encoding": "gzip", "vary": "accept-encoding"}
    return Response(body, status, headers, media_type="application/json")


def _saved_as(name: str) -> dict[str, str]:
    # Names are made here, of letters, digits, '-', '_' and '.'.
    return {"content-disposition": f'attachment; filename="{name}"'} if name else {}
