"""What was asked of this box, and what came of it: JSON lines in the store, on the disk before anything is done.

Two files, the older one let go when the newer is full; what `begin` wrote and `end` did not follow was cut short.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

__all__ = ["FILE", "AuditLine", "AuditLog"]

FILE = "audit.jsonl"
_OLDER = "audit.1.jsonl"
_MOST_BYTES = 2**20


class AuditLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line."""

    at: str
    phase: Literal["begin", "end", "refused", "ignored"]
    """begin: it is about to be done; end: it was, or failed; refused: nothing was done; ignored: nor answered."""
    command: str
    transaction: str | int | None = None
    request: dict[str, Any] = {}
    """What was asked."""
    answer: dict[str, Any] = {}
    """What was answered."""
    door: Literal["mqtt", "web"] = "mqtt"
    """Where it came in."""
    by: str = ""
    """Who asked, as far as the door tells: on the dashboard a role and its session."""


class AuditLog:
    """Appends; safe to share between threads."""

    def __init__(self, folder: Path, most_bytes: int = _MOST_BYTES) -> None:
        """`most_bytes` of either file."""
        self.lines = 0
        """Written since the start."""
        self._path, self._older, self._most_bytes = folder / FILE, folder / _OLDER, most_bytes
        self._lock = threading.Lock()
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            # Power was cut within a line: the next one must not be part of it.
            self._size += os.write(self._file, b"\n")

    def write(self, line: AuditLine) -> None:
        """OSError where the disk refuses. What is to be done is on the disk when this returns."""
        content = msgspec.json.encode(line) + b"\n"
        with self._lock:
            if self._size + len(content) > self._most_bytes:
                self._turn()
            written = os.write(self._file, content)
            self._size += written
            if written != len(content):
                self._size += os.write(self._file, b"\n")
                raise OSError("a line of the audit log was cut short")
            if line.phase in ("begin", "end"):
                os.fdatasync(self._file)
            self.lines += 1

    def _turn(self) -> None:
        with contextlib.suppress(FileNotFoundError):  # an earlier turn got no further than this
            self._path.replace(self._older)
        fresh = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.close(self._file)
        self._file, self._size = fresh, 0
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read(self) -> list[AuditLine]:
        """Every line that can be read, oldest first."""
        found: list[AuditLine] = []
        for path in (self._older, self._path):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            for line in content.splitlines():
                try:
                    found.append(msgspec.json.decode(line, type=AuditLine))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
        return found

    def close(self) -> None:
        """Release the file; safe to call twice."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
