"""Who asks: signing in and out, the first passwords, the sessions that are open."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from device.records import iso_time
from device.storage.audit import AuditLine, AuditLog
from device.web.security.access_store import Role, Session, csrf_token
from device.web.security.rate_limits import Allowance, RateLimits
from device.web.serving.answers import RefusedError, WithHeaders
from device.web.serving.gate import Gate
from device.web.serving.routes import Question, Way

__all__ = ["SignIn"]

log = logging.getLogger("holonode")

_EACH = Allowance(at_once=6, per_s=1 / 15)
_EVERYBODY = Allowance(at_once=40, per_s=0.5)
"""Attempts at a password or a code."""
_COOKIE_S = 30 * 86_400

_Secret = Annotated[str, Meta(max_length=1024)]


class _Credentials(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["viewer", "operator"]
    password: _Secret


class _FirstPasswords(Struct, frozen=True, forbid_unknown_fields=True):
    operator_password: _Secret
    viewer_password: _Secret | None = None
    code: Annotated[str, Meta(max_length=64)] | None = None


class SignIn:
    """The routes."""

    def __init__(self, gate: Gate, device_id: str, audit: AuditLog) -> None:
        self._gate, self._device_id, self._audit = gate, device_id, audit
        self._attempts = RateLimits(_EACH, _EVERYBODY)

    def ways(self) -> list[Way]:
        """Of signing in."""
        return [
            Way("GET", "/api/session", "anybody", self._now),
            Way("POST", "/api/session", "anybody", self._begin),
            Way("DELETE", "/api/session", "viewer", self._end),
            Way("POST", "/api/setup", "anybody", self._set_up),
            Way("GET", "/api/sessions", "operator", self._sessions),
            Way("DELETE", "/api/sessions/{id}", "operator", self._revoke),
        ]

    def _now(self, question: Question) -> dict[str, Any]:
        access = self._gate.access
        user = None if question.role is None else {"role": question.role}
        return {
            "set_up": access.is_set_up,
            "user": user,
            "csrf": csrf_token(question.token) if question.token else None,
            "place": "box",
            "device_id": self._device_id,
            "may_set_up": self._gate.reads_freely(question.requester),
            "may_read": user is not None or self._gate.reads_freely(question.requester),
            "viewer_password": access.has_password("viewer"),
        }

    def _begin(self, question: Question) -> WithHeaders:
        told = question.told(_Credentials)
        self._attempt(question)
        if not self._gate.access.agrees(told.role, told.password):
            raise RefusedError(
                401,
                "the password is not right",
                where="password",
                remedy="A forgotten one is set anew with `holonode web code`.",
            )
        return self._began(told.role, question)

    def _began(self, role: Role, question: Question) -> WithHeaders:
        access = self._gate.access
        if question.session is not None:
            access.end(question.session.id)
        token = access.begin(role, question.requester.address, question.agent)
        value = {"user": {"role": role}, "csrf": csrf_token(token)}
        self._note("sign_in", question, {"role": role})
        return WithHeaders(value, {"set-cookie": self._cookie(question, token, _COOKIE_S)})

    def _end(self, question: Question) -> WithHeaders:
        if question.session is not None:
            self._gate.access.end(question.session.id)
        return WithHeaders({"user": None}, {"set-cookie": self._cookie(question, "", 0)})

    def _set_up(self, question: Question) -> WithHeaders:
        told = question.told(_FirstPasswords)
        access = self._gate.access
        self._attempt(question)
        first = self._gate.reads_freely(question.requester)
        if not first and told.code is None:
            raise RefusedError(
                409 if access.is_set_up else 403, "passwords are set with a code from the box", where="code",
                remedy="`holonode web code`, run on the box, prints one.",
            )  # fmt: skip
        passwords: dict[Role, str] = {"operator": told.operator_password}
        if told.viewer_password:
            passwords["viewer"] = told.viewer_password
        kept = access.hashed(passwords)
        if not first and not access.use_code(told.code or ""):
            raise RefusedError(
                403, "the code is not right, or too old", where="code", remedy="`holonode web code` prints another."
            )
        access.keep_passwords(kept)
        self._note("set_up", question, {"roles": list(passwords), "code": not first})
        return self._began("operator", question)

    def _sessions(self, question: Question) -> list[dict[str, Any]]:
        own = question.session.id if question.session else ""
        return [_shown(session, own) for session in self._gate.access.sessions()]

    def _revoke(self, question: Question) -> dict[str, Any]:
        session_id = question.path["id"]
        if not self._gate.access.end(session_id):
            raise RefusedError(
                404, "there is no such session", where="id", got=session_id[:64], remedy="It may have ended already."
            )
        self._note("sign_out", question, {"session": session_id})
        return {"ended": session_id}

    def _attempt(self, question: Question) -> None:
        wait_s = self._attempts.refused_s(question.requester.address)
        if wait_s > 0:
            raise RefusedError(429, "too many attempts", remedy=f"Try again in {round(wait_s) + 1} s.", retry_s=wait_s)

    def _cookie(self, question: Question, token: str, keep_s: int) -> str:
        secure = "; Secure" if question.requester.scheme == "https" else ""
        name = self._gate.cookie_of(question.requester)
        return f"{name}={token}; Path=/; Max-Age={keep_s}; HttpOnly; SameSite=Strict{secure}"

    def _note(self, what: str, question: Question, asked: dict[str, Any]) -> None:
        """Who signed in and out is told where commands are."""
        by = question.by or question.requester.address
        line = AuditLine(at=iso_time(datetime.now(UTC)), phase="end", command=what, request=asked, door="web", by=by)
        try:
            self._audit.write(line)
        except OSError as error:
            log.warning("the audit log doesn't take a line: %s", error)


def _shown(session: Session, own: str) -> dict[str, Any]:
    return {
        "id": session.id, "role": session.role, "created_at": _utc(session.made_at), "seen_at": _utc(session.used_at),
        "address": session.address, "agent": session.agent, "current": session.id == own,
    }  # fmt: skip


def _utc(seconds: float) -> str:
    return iso_time(datetime.fromtimestamp(seconds, UTC))
