"""What was asked of the box, and what it said."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from device.storage.audit import AuditLine
from device.web.api.box import Dashboarded
from device.web.serving.routes import Question, Way

__all__ = ["Records"]


class _AuditPage(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    before: Annotated[str, Meta(max_length=40)] | None = None


class _LogPage(Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=500)] = 200


class Records:
    """The routes."""

    def __init__(self, box: Dashboarded) -> None:
        self._box = box

    def ways(self) -> list[Way]:
        """Of logs."""
        return [
            Way("GET", "/api/audit", "operator", self._audit),
            Way("GET", "/api/log", "viewer", self._log),
        ]

    def _audit(self, question: Question) -> dict[str, Any]:
        """Newest first; `next` goes into `before`."""
        page = question.asked(_AuditPage)
        lines: list[AuditLine] = self._box.audit.read()[::-1]
        found = [line for line in lines if page.before is None or line.at < page.before]
        shown = found[: page.limit]
        return {"lines": shown, "next": shown[-1].at if len(found) > len(shown) else None}

    def _log(self, question: Question) -> dict[str, Any]:
        page = question.asked(_LogPage)
        return {"lines": self._box.log_tail().splitlines()[-page.limit :]}
