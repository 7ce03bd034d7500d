"""The pages: files of one folder, held in memory, named by the content of all of them so that a browser keeps them for good.

`/assets/VERSION/...` never changes; the page itself, which names them, is asked for every time.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from starlette.responses import Response

from device.web.serving.answers import RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["PAGES", "StaticPages"]

PAGES = Path(__file__).resolve().parents[1] / "pages"
"""The dashboard's."""

_FOR_GOOD = "public, max-age=31536000, immutable"
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


@dataclass(frozen=True)
class _Asset:
    content: bytes
    packed: bytes
    media_type: str


class StaticPages:
    """Looks at the folder again where a file of it changed."""

    def __init__(self, folder: Path, also: tuple[str, ...] = ()) -> None:
        """`also`: further addresses of the page."""
        self._folder, self._also = folder, also
        self._seen: list[tuple[str, int, int]] = []
        self._assets: dict[str, _Asset] = {}
        self._version = ""

    def endpoints(self) -> list[Endpoint]:
        """Their routes."""
        return [
            *(Endpoint("GET", path, "anybody", self._index) for path in ("/", *self._also)),
            Endpoint("GET", "/favicon.ico", "anybody", self._icon),
            Endpoint("GET", "/assets/{path:path}", "anybody", self._asset),
        ]

    def _index(self, request: HttpRequest) -> Response:
        self._look()
        return self._sent("index.html", request, "no-cache")

    def _icon(self, request: HttpRequest) -> Response:
        self._look()
        return self._sent("icon.svg", request, "no-cache")

    async def _asset(self, request: HttpRequest) -> Response:
        if not self._assets:
            await anyio.to_thread.run_sync(self._look)
        version, _, rest = request.path["path"].partition("/")
        current = version == self._version
        return self._sent(rest if current else request.path["path"], request, _FOR_GOOD if current else "no-cache")

    def _sent(self, name: str, request: HttpRequest, keep: str) -> Response:
        asset = self._assets.get(name)
        if asset is None:
            raise RefusedError(404, "there is no such file", where="/assets", got=name[:200], remedy="Load the page again.")
        if request.takes_gzip and len(asset.packed) < len(asset.content):
            return Response(
                asset.packed, media_type=asset.media_type,
                headers={"cache-control": keep, "content-encoding": "gzip", "vary": "accept-encoding"},
            )  # fmt: skip
        return Response(asset.content, media_type=asset.media_type, headers={"cache-control": keep, "vary": "accept-encoding"})

    def _look(self) -> None:
        files = sorted(path for path in self._folder.rglob("*") if path.is_file() and not path.name.startswith("."))
        states = [(path, path.stat()) for path in files]
        seen = [(str(path), state.st_mtime_ns, state.st_size) for path, state in states]
        if seen == self._seen:
            return
        contents = {str(path.relative_to(self._folder)): path.read_bytes() for path in files}
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(f"{name} {len(content)} ".encode() + content)
        version = digest.hexdigest()[:16]
        if "index.html" in contents:
            contents["index.html"] = contents["index.html"].replace(b"/assets/", f"/assets/{version}/".encode())
        self._assets = {name: _asset(name, content) for name, content in contents.items()}
        self._version, self._seen = version, seen


def _asset(name: str, content: bytes) -> _Asset:
    suffix = Path(name).suffix
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _Asset(content, gzip.compress(content, 9, mtime=0), media_type)
