"""Enrolment over HTTPS: two questions, small, each on a connection of its own."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from deploy.fleet.enrolment.rules import EnrolmentRules
from device.errors import CheckError, HolonodeError, InputError

__all__ = ["EnrolmentServer"]

_SILENCE_S = 15.0
_MOST_BYTES = 16_384


class EnrolmentServer:
    """Until it is closed."""

    def __init__(self, rules: EnrolmentRules, address: str, port: int, report: Callable[[str], None]) -> None:
        """OSError where the port is taken; InputError where there is no certificate to show yet."""
        if not rules.signer.server_pair.exists():
            raise InputError(
                "the server has no certificate yet", remedy="Make the first code: holonode-fleet enrol code DEVICE."
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(rules.signer.server_pair)
        context.load_verify_locations(rules.signer.folder / "authority.crt")
        # A box that enrols has no certificate, one that renews shows it; whether it is revoked stands in the register.
        context.verify_mode = ssl.CERT_OPTIONAL

        class BoundHandler(_EnrolmentHandler):
            enrolment, told = rules, staticmethod(report)

        class ThreadedServer(ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request: Any, client_address: Any) -> None:
                # In the connection's own thread: whoever doesn't shake hands holds up nobody else.
                request.settimeout(_SILENCE_S)
                with (
                    contextlib.suppress(OSError),
                    context.wrap_socket(cast("socket.socket", request), server_side=True) as safe,
                ):
                    super().finish_request(cast("Any", safe), client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
                report(f"{client_address[0]}: the connection broke off")

        self._server: socketserver.BaseServer = ThreadedServer((address, port), BoundHandler)
        self.port = int(cast("Any", self._server).server_address[1])

    def start(self) -> None:
        """In a thread."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def serve(self) -> None:
        """Until `close` from another thread."""
        self._server.serve_forever()

    def close(self) -> None:
        """Take nothing more."""
        self._server.shutdown()
        self._server.server_close()


class _EnrolmentHandler(BaseHTTPRequestHandler):
    """One connection."""

    enrolment: EnrolmentRules
    told: Callable[[str], None]

    def do_POST(self) -> None:
        """/enrol, /renew."""
        try:
            length = int(self.headers.get("Content-Length", "-1"))
            if not 0 <= length <= _MOST_BYTES:
                raise InputError("a request of this length can't be", got=length)
            said: dict[str, str] = {str(key): str(value) for key, value in json.loads(self.rfile.read(length)).items()}
            device_id = said["device_id"]
            if self.path == "/enrol":
                pem = self.enrolment.enrol(device_id, said["code"], said["request"])
            elif self.path == "/renew":
                pem = self.enrolment.renew(device_id, self._serial(), said["request"])
            else:
                raise InputError("there is nothing here", expected="/enrol, /renew")
        except HolonodeError as error:
            self.told(f"{self.client_address[0]} {self.path[:40]!a}: refused, {error}")
            self._answer(
                HTTPStatus.FORBIDDEN if isinstance(error, CheckError) else HTTPStatus.BAD_REQUEST, {"error": error.what}
            )
        except (ValueError, KeyError, AttributeError, TypeError):
            self._answer(HTTPStatus.BAD_REQUEST, {"error": "not a question that is understood here"})
        else:
            self.told(f"{self.client_address[0]}: {device_id} has a certificate by {self.path}")
            authority = (self.enrolment.signer.folder / "authority.crt").read_text(encoding="ascii")
            self._answer(HTTPStatus.OK, {"certificate": pem, "authority": authority})

    def _serial(self) -> int:
        shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        if not shown:
            raise CheckError("no certificate was shown")
        return int(str(shown["serialNumber"]), 16)

    def _answer(self, status: HTTPStatus, said: dict[str, str]) -> None:
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """What matters is told above."""
