"""Who asks: signing in and out, the first passwords, the sessions that are open."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from device.records import iso_time
from device.storage.audit import AuditLine, AuditLog
from device.web.security.access_store import Role, Session, csrf_token
from device.web.security.rate_limits import Allowance, RateLimits, TokenBucket
from device.web.serving.access_control import AccessControl
from device.web.serving.answers import RefusedError, WithHeaders
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["SessionEndpoints"]

log = logging.getLogger("holonode")

_EACH = Allowance(at_once=6, per_s=1 / 15)
_EVERYBODY = Allowance(at_once=40, per_s=0.5)
"""Attempts at a password or a code."""
_TOLD = Allowance(at_once=4, per_s=1 / 600)
"""Refused ones in the audit log, which whoever guesses must not fill: each line tells how many there were."""
_COOKIE_S = 30 * 86_400

_Secret = Annotated[str, Meta(max_length=1024)]


class _Credentials(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["viewer", "operator"]
    password: _Secret


class _FirstPasswords(Struct, frozen=True, forbid_unknown_fields=True):
    operator_password: _Secret
    viewer_password: _Secret | None = None
    code: Annotated[str, Meta(max_length=64)] | None = None


class SessionEndpoints:
    """The routes."""

    def __init__(
        self,
        access_control: AccessControl,
        device_id: str,
        audit: AuditLog,
        *,
        place: Literal["box", "fleet"] = "box",
        code_command: str = "holonode web code",
    ) -> None:
        """`code_command`: what prints a one-time code."""
        self._access_control, self._device_id, self._audit = access_control, device_id, audit
        self._place, self._code_command = place, code_command
        # Whoever guesses from elsewhere doesn't lock out who stands before the box.
        self._attempts = {is_local: RateLimits(_EACH, _EVERYBODY) for is_local in (True, False)}
        self._told, self._refused, self._counting = TokenBucket(_TOLD), 0, threading.Lock()

    def endpoints(self) -> list[Endpoint]:
        """Of signing in."""
        return [
            Endpoint("GET", "/api/session", "anybody", self._now),
            Endpoint("POST", "/api/session", "anybody", self._begin),
            Endpoint("DELETE", "/api/session", "viewer", self._end),
            Endpoint("POST", "/api/setup", "anybody", self._set_up),
            Endpoint("GET", "/api/sessions", "operator", self._sessions),
            Endpoint("DELETE", "/api/sessions/{id}", "operator", self._revoke),
        ]

    def _now(self, request: HttpRequest) -> dict[str, Any]:
        access = self._access_control.access
        user = None if request.role is None else {"role": request.role}
        return {
            "set_up": access.is_set_up,
            "user": user,
            "csrf": csrf_token(request.token) if request.token else None,
            "place": self._place,
            "device_id": self._device_id,
            "code_command": self._code_command,
            "may_set_up": self._access_control.reads_freely(request.requester),
            "may_read": user is not None or self._access_control.reads_freely(request.requester),
            "viewer_password": access.has_password("viewer"),
        }

    def _begin(self, request: HttpRequest) -> WithHeaders:
        told = request.body_as(_Credentials)
        self._attempt(request)
        if not self._access_control.access.agrees(told.role, told.password):
            self._note_refused("sign_in", request)
            raise RefusedError(
                401,
                "the password is not right",
                where="password",
                remedy=f"A forgotten one is set anew with `{self._code_command}`.",
            )
        return self._began(told.role, request)

    def _began(self, role: Role, request: HttpRequest) -> WithHeaders:
        access = self._access_control.access
        if request.session is not None:
            access.end(request.session.id)
        token = access.begin(role, request.requester.address, request.agent)
        value = {"user": {"role": role}, "csrf": csrf_token(token)}
        self._note("sign_in", request, {"role": role})
        return WithHeaders(value, {"set-cookie": self._cookie(request, token, _COOKIE_S)})

    def _end(self, request: HttpRequest) -> WithHeaders:
        if request.session is not None:
            self._access_control.access.end(request.session.id)
        return WithHeaders({"user": None}, {"set-cookie": self._cookie(request, "", 0)})

    def _set_up(self, request: HttpRequest) -> WithHeaders:
        told = request.body_as(_FirstPasswords)
        access = self._access_control.access
        self._attempt(request)
        first = self._access_control.reads_freely(request.requester)
        if not first and told.code is None:
            raise RefusedError(
                409 if access.is_set_up else 403, "passwords are set with a code from the box", where="code",
                remedy=f"`{self._code_command}`, run on this machine, prints one.",
            )  # fmt: skip
        passwords: dict[Role, str] = {"operator": told.operator_password}
        if told.viewer_password:
            passwords["viewer"] = told.viewer_password
        kept = access.hashed(passwords)
        if not first and not access.use_code(told.code or ""):
            self._note_refused("set_up", request)
            raise RefusedError(
                403, "the code is not right, or too old", where="code", remedy=f"`{self._code_command}` prints another."
            )
        access.keep_passwords(kept)
        self._note("set_up", request, {"roles": list(passwords), "code": not first})
        return self._began("operator", request)

    def _sessions(self, request: HttpRequest) -> list[dict[str, Any]]:
        own = request.session.id if request.session else ""
        return [_shown(session, own) for session in self._access_control.access.sessions()]

    def _revoke(self, request: HttpRequest) -> dict[str, Any]:
        session_id = request.path["id"]
        if not self._access_control.access.end(session_id):
            raise RefusedError(
                404, "there is no such session", where="id", got=session_id[:64], remedy="It may have ended already."
            )
        self._note("sign_out", request, {"session": session_id})
        return {"ended": session_id}

    def _attempt(self, request: HttpRequest) -> None:
        wait_s = self._attempts[request.requester.is_local].refused_s(request.requester.address)
        if wait_s > 0:
            raise RefusedError(429, "too many attempts", remedy=f"Try again in {round(wait_s) + 1} s.", retry_s=wait_s)

    def _cookie(self, request: HttpRequest, token: str, keep_s: int) -> str:
        secure = "; Secure" if request.requester.scheme == "https" else ""
        name = self._access_control.cookie_of(request.requester)
        return f"{name}={token}; Path=/; Max-Age={keep_s}; HttpOnly; SameSite=Strict{secure}"

    def _note_refused(self, what: str, request: HttpRequest) -> None:
        """How many passwords and codes were wrong since the line before."""
        with self._counting:
            self._refused += 1
            if self._told.take_or_wait_s() > 0:
                return
            attempts, self._refused = self._refused, 0
        log.warning("%d attempts to sign in were refused, the last from %s", attempts, request.requester.address)
        self._note(what, request, {"attempts": attempts}, "refused")

    def _note(self, what: str, request: HttpRequest, asked: dict[str, Any], phase: Literal["end", "refused"] = "end") -> None:
        """Who signed in and out is told where commands are."""
        by = request.by or request.requester.address
        line = AuditLine(at=iso_time(datetime.now(UTC)), phase=phase, command=what, request=asked, door="web", by=by)
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
