"""Exports for who has no shell on the box: one at a time, each in a process of its own that gives way to the sampler."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.exports import FORMATS
from device.exports.source import moment
from device.identifiers import random_ulid
from device.records import iso_time
from device.web.api.box import DashboardContext
from device.web.api.export_child import Wanted
from device.web.serving.answers import RefusedError, StoredContent
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["FOLDER", "ExportEndpoints"]

log = logging.getLogger("holonode")

FOLDER = "web-exports"
"""In the store's folder."""
_MOST_KEPT = 3
_LONGEST_S = 3600.0
_NICER = 15
"""How far the process steps back behind the sampler."""
_SUPPORT_FOLDER = "support"
_SUPPORT = re.compile(r"support-[0-9A-HJKMNP-TV-Z]{26}")

_Time = Annotated[str, Meta(max_length=40)]


class _Order(Struct, frozen=True, forbid_unknown_fields=True):
    format: Annotated[str, Meta(max_length=32)]
    since: _Time | None = None
    until: _Time | None = None


class Export(Struct, kw_only=True):
    """One that was asked for."""

    id: str
    format: str
    since: str | None
    until: str | None
    made_at: str
    """When it was asked for, UTC."""
    by: str
    status: Literal["running", "done", "failed"] = "running"
    bytes: int | None = None
    """Of the file; None: there is none."""
    error: dict[str, Any] | None = None
    """Why there is none."""


class ExportEndpoints:
    """The routes."""

    def __init__(self, box: DashboardContext) -> None:
        self._box, self._folder = box, box.folder / FOLDER
        self._lock = threading.Lock()
        self._known: dict[str, Export] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False
        # What an earlier run left is nobody's any more.
        shutil.rmtree(self._folder, ignore_errors=True)

    def endpoints(self) -> list[Endpoint]:
        """Of exports."""
        return [
            Endpoint("POST", "/api/exports", "operator", self._order),
            Endpoint("GET", "/api/exports", "operator", self._list),
            Endpoint("GET", "/api/exports/{id}", "operator", self._one),
            Endpoint("GET", "/api/exports/{id}/file", "operator", self._file),
        ]

    def close(self) -> None:
        """End what runs."""
        with self._lock:
            self._ended, child = True, self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)

    def _order(self, request: HttpRequest) -> dict[str, str]:
        order = request.body_as(_Order)
        if order.format not in FORMATS:
            raise RefusedError(422, "there is no such format", where="format", expected=" | ".join(FORMATS), got=order.format)
        since, until = (moment(text, name) if text else None for text, name in ((order.since, "since"), (order.until, "until")))
        if since and until and since >= until:
            raise RefusedError(422, "the period is empty", where="until", expected=f"after {since}", got=until)
        export = Export(
            id=random_ulid(), format=order.format, since=since, until=until, made_at=iso_time(datetime.now(UTC)), by=request.by
        )
        with self._lock:
            if any(one.status == "running" for one in self._known.values()) or self._ended:
                raise RefusedError(409, "an export is being made", remedy="Ask again once it is done.")
            self._make_room()
            self._known[export.id] = export
        threading.Thread(target=self._make, args=(export,), name="export", daemon=True).start()
        return {"id": export.id}

    def _make_room(self) -> None:
        while len(self._known) >= _MOST_KEPT:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def _path(self, export_id: str) -> Path:
        return self._folder / f"{export_id}.zip"

    def _make(self, export: Export) -> None:
        """In a thread that waits for the process; nothing is raised."""
        work = self._folder / export.id
        try:
            work.mkdir(parents=True)
            outcome = self._run(export, work)
        except Exception as error:
            # The edge of this thread: an export that nobody hears of would run for ever.
            log.exception("an export broke")
            outcome = {"message": "the export broke", "got": repr(error)[:300]}
        finally:
            shutil.rmtree(work, ignore_errors=True)
        with self._lock:
            path = self._path(export.id)
            export.error = outcome
            if outcome is None and path.is_file():
                export.bytes, export.status = path.stat().st_size, "done"
            else:
                export.status = "failed"

    def _run(self, export: Export, work: Path) -> dict[str, Any] | None:
        """The error, where it came to one."""
        free = shutil.disk_usage(self._box.folder).free
        needed = round(self._box.file.storage.min_free_mb * 2**20) + _size(self._box.folder / "outbox.sqlite") * 2
        if free < needed:
            return {
                "message": "the disk is too full for an export", "expected": f"{needed} bytes free", "got": f"{free} bytes",
                "remedy": "`holonode export --out` writes to another disk.",
            }  # fmt: skip
        wanted = Wanted(
            config=self._box.config(), format=export.format, since=export.since, until=export.until, work=str(work),
            file=str(self._path(export.id)), name=f"{self._box.device_id}-{export.format}-{export.id}",
        )  # fmt: skip
        command = [sys.executable, "-m", "device.web.api.export_child"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, env=environment,
        )  # fmt: skip
        with self._lock:
            self._child = child
            if self._ended:
                child.kill()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICER)
        try:
            said, _ = child.communicate(msgspec.json.encode(wanted), _LONGEST_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return {
                "message": "the export took too long",
                "expected": f"at most {_LONGEST_S:g} s",
                "remedy": "Choose a shorter period.",
            }
        finally:
            self._child = None
        try:
            return msgspec.json.decode(said, type=dict[str, Any] | None)
        except msgspec.DecodeError:
            return {
                "message": "the export was cut short",
                "got": f"exit status {child.returncode}",
                "remedy": "Ask for it again.",
            }

    def _list(self, _request: HttpRequest) -> dict[str, Any]:
        with self._lock:
            return {"exports": [msgspec.to_builtins(one) for one in reversed(self._known.values())], "formats": FORMATS}

    def _one(self, request: HttpRequest) -> Export:
        found = self._known.get(request.path["id"])
        if found is None:
            raise RefusedError(
                404, "there is no such export", where="id", got=request.path["id"][:64],
                remedy=f"The last {_MOST_KEPT} are kept, until the service ends.",
            )  # fmt: skip
        return found

    def _file(self, request: HttpRequest) -> StoredContent:
        """Of an export, or of a support bundle by what `support_bundle` answered."""
        asked = request.path["id"]
        if _SUPPORT.fullmatch(asked):
            path = self._box.folder / _SUPPORT_FOLDER / f"{asked}.zip"
            if not path.is_file():
                raise RefusedError(
                    404, "there is no such support bundle", where="id", got=asked, remedy="Ask for one: support_bundle."
                )
            return StoredContent(path, "application/zip", f"{self._box.device_id}-{asked}.zip")
        export = self._one(request)
        if export.status != "done":
            raise RefusedError(404, "there is no file of it", where="id", expected="an export that is done", got=export.status)
        return StoredContent(self._path(export.id), "application/zip", f"{self._box.device_id}-{export.format}-{export.id}.zip")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
