"""Where updates are read from: a folder (a stick, what the service fetched) or an HTTP(S) server. Nothing of it is trusted."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from device.errors import InputError
from device.updates.files import open_plain

__all__ = ["FolderSource", "HttpSource", "KeptSource", "UpdateSource", "update_source"]

_CHUNK_BYTES = 65_536
_SILENCE_S = 30.0
"""Of a server, until it is given up."""
_VERSIONED = re.compile(r"metadata/(\d+)\.(root|snapshot|targets)\.json", re.ASCII)


class UpdateSource(Protocol):
    """Files by name, as a TUF repository has them: metadata/*.json, targets/*."""

    def open(self, name: str, offset: int = 0) -> tuple[int, Iterator[bytes]]:
        """(where it begins: `offset`, or 0 where that can't be had; the bytes); FileNotFoundError, or OSError where it fails."""
        ...


class FolderSource:
    """A repository in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str, offset: int = 0) -> tuple[int, Iterator[bytes]]:
        """Plain files alone."""
        return offset, _content(open_plain(self._folder / _safe(name)), offset)


class KeptSource(FolderSource):
    """What the service fetched and verified, for root to verify again: metadata lie there as a TUF client keeps them."""

    def open(self, name: str, offset: int = 0) -> tuple[int, Iterator[bytes]]:
        """Whatever version is asked for, the one that is kept: who asks verifies."""
        if versioned := _VERSIONED.fullmatch(name):
            number, role = versioned.groups()
            name = f"metadata/root_history/{number}.root.json" if role == "root" else f"metadata/{role}.json"
        return super().open(name.replace("metadata/", "trusted/"), offset)


class HttpSource:
    """A repository on a server."""

    def __init__(self, url: str) -> None:
        self._url = url if url.endswith("/") else url + "/"

    def open(self, name: str, offset: int = 0) -> tuple[int, Iterator[bytes]]:
        """Goes on at `offset` where the server can."""
        request = urllib.request.Request(self._url + _safe(name), headers={"User-Agent": "holonode"})  # noqa: S310  by `update_source`
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        try:
            response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_SILENCE_S)  # noqa: S310  likewise
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                return self.open(name)
            if error.code in (403, 404, 410):
                raise FileNotFoundError(f"{self._url}{name}: {error.code}") from error
            raise OSError(f"{self._url}{name}: the server answers {error.code}") from error
        begins = response.status == http.client.PARTIAL_CONTENT and (response.headers.get("Content-Range") or "").startswith(
            f"bytes {offset}-"
        )
        return offset if begins else 0, _received(response)


def _received(response: http.client.HTTPResponse) -> Iterator[bytes]:
    with contextlib.closing(response):
        try:
            # read1: what came, without waiting for more.
            while chunk := response.read1(_CHUNK_BYTES):
                yield chunk
        except http.client.HTTPException as error:
            raise OSError(f"the server broke off: {error}") from error


def _content(descriptor: int, offset: int) -> Iterator[bytes]:
    with os.fdopen(descriptor, "rb") as file:
        file.seek(offset)
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _safe(name: str) -> str:
    """A name within the repository; OSError where it leads outside."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not re.fullmatch(r"[A-Za-z0-9._/+-]{1,300}", name):
        raise OSError(f"{name[:80]!a} is no name of a file in a repository")
    return name


def update_source(written: str) -> UpdateSource:
    """The source that an address or a folder stands for; InputError where it is neither."""
    if written.startswith(("http://", "https://")):
        return HttpSource(written)
    if "://" in written:
        raise InputError("not a source of updates", expected="https://..., http://... or a folder", got=written)
    folder = Path(written).expanduser()
    if not (folder / "metadata").is_dir():
        raise InputError(
            "there are no signed updates in this folder", where=folder, expected="a folder with metadata/ and targets/ in it",
            remedy="Is the stick mounted? It holds what `python -m deploy.signing` made.",
        )  # fmt: skip
    return FolderSource(folder)
