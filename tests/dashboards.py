"""A dashboard without a box behind it, in this process, and a client for it: sessions, Origin, CSRF token."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from device import __version__
from device.config import Config, WebConfig
from device.instrument import load_instrument
from device.messaging.payloads import Info
from device.messaging.request_messages import Answer, IncomingRequest
from device.rig.models import model_store
from device.service.state import State
from device.storage.audit import AuditLog
from device.web.api.box import DashboardContext
from device.web.api.table import Dashboard

NOW = "2026-05-04T12:00:00.000000Z"
OPERATOR, VIEWER = "correct horse battery", "another horse entirely"
WEB = WebConfig(port=0)


@dataclass
class StandIn:
    """What a dashboard shows: a state that tests set, no look, a history that tests give."""

    state: State
    look: Any = None
    asked: list[IncomingRequest] = field(default_factory=list)

    def now(self) -> State:
        return self.state

    def watch(self) -> nullcontext[None]:
        return nullcontext()

    def newest(self) -> Any:
        return self.look

    def receive(self, message: IncomingRequest) -> None:
        self.asked.append(message)
        assert message.answer_to is not None
        message.answer_to(Answer(status="ok", data={"asked": message.command}))


def state_of(device_id: str, **changes: Any) -> State:
    info = Info(
        device_id=device_id, software={}, instrument={}, instrument_id="0" * 16, calibration_id=None, models={}, pipeline_id="0" * 16,
        config={}, config_hash="0" * 16,
    )  # fmt: skip
    known = {
        "at": NOW, "device_id": device_id, "boot_id": "0" * 26, "version": __version__, "started_at": NOW, "doing": "waiting",
        "doing_words": "waits for the next sample", "doing_since": NOW, "info": info, "link": "connected",
    }  # fmt: skip
    return State(**(known | changes))


@contextmanager
def dashboard(folder: Path, history: Any = None, web: WebConfig = WEB, **changes: Any) -> Iterator[tuple[Dashboard, StandIn]]:
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(web=web)
    storage = msgspec.structs.replace(config.storage, folder=str(folder))
    calibration = msgspec.structs.replace(config.calibration, folder=str(folder / "calibration"))
    config = msgspec.structs.replace(config, storage=storage, calibration=calibration)
    nominal = load_instrument(config.device.instrument)
    audit = AuditLog(folder)
    shown = StandIn(state_of(config.device.id, **changes))
    box = DashboardContext(
        config.device.id, folder, config, lambda: config, nominal, shown, shown, history, shown.receive, audit,
        log_tail=lambda: "said\n", models=lambda: model_store(config), geometry=lambda: (nominal.geometry, 1), optics=list,
    )  # fmt: skip
    served = Dashboard.of(box, web)
    served.start()
    try:
        yield served, shown
    finally:
        served.stop()
        audit.close()


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]


@dataclass
class Browser:
    """Keeps a cookie and a CSRF token as a page does."""

    port: int
    host: str = "127.0.0.1"
    context: ssl.SSLContext | None = None
    cookies: dict[str, str] = field(default_factory=dict)
    csrf: str = ""

    @property
    def origin(self) -> str:
        return f"{'https' if self.context else 'http'}://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: Any = None, **headers: str | None) -> Reply:
        """`headers` by name with _ for -; None leaves one out that would be sent."""
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: dict[str, str | None] = {"host": f"{self.host}:{self.port}"}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method not in ("GET", "HEAD"):
            sent |= {"origin": self.origin, "x-holonode-csrf": self.csrf, "content-type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connection()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            if content is not None:
                connection.putheader("content-length", str(len(content)))
            connection.endheaders(content)
            answer = connection.getresponse()
            reply = Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()
        if cookie := reply.headers.get("set-cookie"):
            name, _, rest = cookie.partition("=")
            self.cookies = {name: value} if (value := rest.partition(";")[0]) else {}
        return reply

    def connection(self) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def set_up(self) -> Browser:
        reply = self.ask("POST", "/api/setup", {"operator_password": OPERATOR, "viewer_password": VIEWER})
        assert reply.status == 200, reply.body
        self.csrf = reply.json["csrf"]
        return self

    def sign_in(self, role: str, password: str = "") -> Reply:
        reply = self.ask(
            "POST", "/api/session", {"role": role, "password": password or {"operator": OPERATOR, "viewer": VIEWER}[role]}
        )
        if reply.status == 200:
            self.csrf = reply.json["csrf"]
        return reply

    def stream(self, path: str = "/api/stream") -> Iterator[tuple[str, Any]]:
        """Events as they come."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as line:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            line.sendall(
                f"GET {path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n".encode()
            )
            reader = line.makefile("rb")
            assert b" 200 " in reader.readline()
            kind = ""
            while text := reader.readline():
                if text.startswith(b"event: "):
                    kind = text[7:].decode().strip()
                elif text.startswith(b"data: "):
                    yield kind, json.loads(text[6:])
