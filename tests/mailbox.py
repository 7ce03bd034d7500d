"""A mail server that takes everything and keeps it, and a web server that does; each may be told to refuse."""

from __future__ import annotations

import email
import email.message
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Received:
    port: int = 0
    mails: list[email.message.Message] = field(default_factory=list)
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refuse: bool = False


@contextmanager
def mail_server() -> Iterator[Received]:
    received = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 sink")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                if verb == "DATA" and received.refuse:
                    self.say("451 not now")
                elif verb == "DATA":
                    self.say("354 go on")
                    lines: list[bytes] = []
                    while (text := self.rfile.readline()) not in (b".\r\n", b""):
                        lines.append(text[1:] if text.startswith(b"..") else text)
                    received.mails.append(email.message_from_bytes(b"".join(lines)))
                    self.say("250 kept")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say("250 sink")

        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with _serving(Server(("127.0.0.1", 0), Handler), received):
        yield received


@contextmanager
def web_server() -> Iterator[Received]:
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not received.refuse:
                received.posts.append((dict(self.headers), body))
            self.send_response(503 if received.refuse else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler), received):
        yield received


@contextmanager
def _serving(server: socketserver.TCPServer, received: Received) -> Iterator[None]:
    received.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
