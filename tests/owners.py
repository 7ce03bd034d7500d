"""The owner of a fleet: a signed list of updates, and a web server that shows it, well or badly."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deploy.signing.described import Described
from deploy.signing.signed_list import SignedList
from device.updates.offers import Custom

PASSPHRASE = b"correct horse battery staple"


def owner(folder: Path) -> SignedList:
    """One with keys and an empty list."""
    made = SignedList(folder / "repository", folder / "keys", lambda _name: PASSPHRASE)
    made.create()
    return made


def thing(
    version: str, content: bytes = b"", *, kind: str = "release", arch: str = "aarch64", python: str = "3.11"
) -> Described:
    """A file to sign that is nothing but bytes."""
    if kind == "release":
        custom = Custom(kind="release", version=version, arch=arch, python=python)
        return Described(
            f"releases/holonode-{version}-{arch}-cp{python.replace('.', '')}.tar",
            content or f"release {version}".encode(),
            custom,
        )
    return Described(
        f"models/toy-{version}.tar", content or f"model {version}".encode(), Custom(kind="model", name="toy", version=version)
    )


@dataclass
class WebServer:
    """Serves a folder with ranges; `spoil` may change what is sent for a path."""

    folder: Path
    spoil: Callable[[str, bytes], Iterator[bytes] | None] = lambda _path, _content: None
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(path, range) of every request."""

    def __enter__(self) -> WebServer:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers.get("Range", "")))
                try:
                    content = (outer.folder / self.path.lstrip("/")).read_bytes()
                except OSError:
                    self.send_error(404)
                    return
                begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                with contextlib.suppress(OSError):
                    spoilt = outer.spoil(self.path, content[begin:])
                    self.send_response(206 if begin else 200)
                    if begin:
                        self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                    if spoilt is None:
                        self.send_header("Content-Length", str(len(content) - begin))
                    self.end_headers()
                    for chunk in [content[begin:]] if spoilt is None else spoilt:
                        self.wfile.write(chunk)
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def endless(_path: str, content: bytes) -> Iterator[bytes]:
    """What was asked for, and more without an end."""
    yield content
    while True:
        yield bytes(65536)


def dripping(_path: str, content: bytes) -> Iterator[bytes]:
    """A byte now and then."""
    for byte in content:
        yield bytes([byte])
        time.sleep(0.05)


def half(_path: str, content: bytes) -> Iterator[bytes]:
    """The first half."""
    yield content[: len(content) // 2]
