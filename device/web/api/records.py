"""What was asked of the box, and what it said."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from device.storage.audit import AuditLine
from device.web.api.box import DashboardContext
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["RecordEndpoints"]


class _AuditPage(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    before: Annotated[str, Meta(max_length=40)] | None = None


class _LogPage(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 200


class RecordEndpoints:
    """The routes."""

    def __init__(self, box: DashboardContext) -> None:
        self._box = box

    def endpoints(self) -> list[Endpoint]:
        """Of logs."""
        return [
            Endpoint("GET", "/api/audit", "operator", self._audit),
            Endpoint("GET", "/api/log", "viewer", self._log),
        ]

    def _audit(self, request: HttpRequest) -> dict[str, Any]:
        """Newest first; `next` goes into `before`."""
        page = request.query_as(_AuditPage)
        lines: list[AuditLine] = self._box.audit.read()[::-1]
        found = [line for line in lines if page.before is None or line.at < page.before]
        shown = found[: page.limit]
        return {"lines": shown, "next": shown[-1].at if len(found) > len(shown) else None}

    def _log(self, request: HttpRequest) -> dict[str, Any]:
        page = request.query_as(_LogPage)
        return {"lines": self._box.log_tail().splitlines()[-page.limit :]}
