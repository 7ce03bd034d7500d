"""What a service prints: stdout and stderr may be slow, full, closed or gone, and the service goes on.

A thread of its own writes, so that nobody waits for a reader. What can't be written is counted, and said in one line once
something can. Descriptors 1 and 2 lead here too, for what libraries print past Python. Where the system's journal reads, every
line is a JSON object after its priority (sd-daemon(3)), so that whoever looks for one can ask for it by field.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from device.text import plain

__all__ = ["Console", "into_the_journal"]

_OUT, _ERR = 1, 2
_MOST_WAITING = 1000
"""Lines that wait for a slow reader; further ones are counted."""
_AT_ONCE = 512
"""Bytes: a pipe that is ready takes as many without blocking (POSIX's least PIPE_BUF)."""
_LOOK_S = 0.5
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}
"""Of syslog(3), by level."""
_UNREAD = "nobody reads it"


class Console:
    """Takes the place of stdout and stderr between `with` and its end."""

    def __init__(self, *, structured: bool = False) -> None:
        """`structured`: JSON lines with a priority."""
        self._structured = structured
        self.lost = 0
        """Lines that could not be written since the start."""
        self.trouble = ""
        """Why the last line could not be written; empty where it could."""
        self._lock = threading.Lock()
        self._left_out = 0  # since the last line that was taken
        self._waiting: queue.Queue[tuple[int, str, int] | None] = queue.Queue(_MOST_WAITING)
        self._files: dict[int, int] = {}
        self._broken_off: set[int] = set()
        self._streams: tuple[TextIO, TextIO] = (sys.stdout, sys.stderr)
        self._give_up = threading.Event()
        self._writer = threading.Thread(target=self._write_all, name="console", daemon=True)

    def __enter__(self) -> Console:
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._files = {number: os.dup(number) for number in (_OUT, _ERR)}
        heard, spoken = os.pipe()
        # Of a library that holds everything up while it prints, the excess is lost rather than waited for.
        os.set_blocking(spoken, False)
        for number in self._files:
            os.dup2(spoken, number)
        os.close(spoken)
        # Of a library that crashes, what it was at is worth a line past all this.
        faulthandler.enable(self._files[_ERR])
        sys.stdout, sys.stderr = _Stream(self, _OUT), _Stream(self, _ERR)
        self._writer.start()
        threading.Thread(target=self._hear, args=(heard,), name="console libraries", daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def say(self, line: str) -> None:
        """A line on stdout, without what a terminal would obey; never waits, never fails."""
        self._take(_OUT, line, logging.INFO)

    def warn(self, line: str, level: int = logging.WARNING, logger: str = "") -> None:
        """A line on stderr; likewise. `level` and `logger` as in `logging`."""
        self._take(_ERR, line, level, logger)

    def said(self, record: logging.LogRecord, line: str) -> None:
        """What was logged, formatted as `line`; in JSON the logger has a field of its own."""
        told = line.removeprefix(f"{record.name}: ") if self._structured else line
        self.warn(told, record.levelno, record.name)

    def handler(self) -> logging.Handler:
        """For what is logged."""
        return _Handler(self)

    def close(self, timeout_s: float = 2.0) -> None:
        """Write what waits, for a while, and give stdout and stderr back; safe to call twice."""
        if not self._files:
            return
        sys.stdout, sys.stderr = self._streams
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=timeout_s)
        self._writer.join(timeout_s)
        self._give_up.set()
        faulthandler.disable()
        for number, file in self._files.items():
            os.dup2(file, number)
            # A writer that is stuck in it still keeps its own.
            if not self._writer.is_alive():
                os.close(file)
        self._files = {}

    def _take(self, number: int, line: str, level: int, logger: str = "") -> None:
        told = plain(line, lines=True)
        if self._structured:
            told = _structured(told, level, logger)
        with self._lock:
            try:
                self._waiting.put_nowait((number, told, self._left_out))
                self._left_out = 0
            except queue.Full:
                self._left_out += 1
                self.lost += 1
                self.trouble = _UNREAD

    def _write_all(self) -> None:
        files = dict(self._files)
        missing = 0
        while (item := self._waiting.get()) is not None:
            number, line, left_out = item
            missing += left_out
            note = f"({missing} lines before this could not be printed: {self.trouble or _UNREAD})"
            note = _structured(note, logging.WARNING, "") if self._structured else note
            if missing and self._write(files[number], number, note):
                missing = 0
            if self._write(files[number], number, line):
                self.trouble = ""
                continue
            if self._give_up.is_set():
                return
            missing += 1
            with self._lock:
                self.lost += 1

    def _write(self, file: int, number: int, line: str) -> bool:
        """Whether all of it went out."""
        begun = "\n" if number in self._broken_off else ""
        data = f"{begun}{line}\n".encode("utf-8", "backslashreplace")
        sent = 0
        try:
            while sent < len(data):
                if not self._ready(file):
                    return False
                with contextlib.suppress(BlockingIOError):
                    sent += os.write(file, data[sent : sent + _AT_ONCE])
        except OSError as error:
            self.trouble = error.strerror or str(error)
            if sent:
                self._broken_off.add(number)
            return False
        self._broken_off.discard(number)
        return True

    def _ready(self, file: int) -> bool:
        """Once it takes something, or fails; False where nobody waits for that any more."""
        ready = select.poll()
        ready.register(file, select.POLLOUT)
        while not ready.poll(_LOOK_S * 1000):
            if self._give_up.is_set():
                return False
        return True

    def _hear(self, heard: int) -> None:
        """What libraries print, by lines, until the descriptors are given back."""
        held = b""
        with contextlib.suppress(OSError):
            while got := os.read(heard, 65536):
                *lines, held = (held + got).split(b"\n")
                for line in lines:
                    self.warn(line.decode(errors="replace"))
                held = held[-_MOST_HELD:]
        os.close(heard)


def into_the_journal() -> bool:
    """Whether stderr leads to the system's journal: its manager says so, and nobody led it elsewhere since."""
    try:
        there = os.fstat(_ERR)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def _structured(line: str, level: int, logger: str) -> str:
    named = max((known for known in _PRIORITIES if known <= level), default=logging.DEBUG)
    told = {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", "level": logging.getLevelName(named).lower()}
    told |= ({"logger": logger} if logger else {}) | {"message": line}
    return f"<{_PRIORITIES[named]}>{json.dumps(told, ensure_ascii=False)}"


_MOST_HELD = 65536
"""Bytes without an end of line."""


class _Stream(io.TextIOBase):
    """`print`, warnings and tracebacks, on their way to the console."""

    def __init__(self, console: Console, number: int) -> None:
        self._take: Callable[[str], None] = console.say if number == _OUT else console.warn
        self._number, self._held, self._lock = number, "", threading.Lock()

    def fileno(self) -> int:
        """See io.IOBase."""
        return self._number

    def writable(self) -> bool:
        """See io.IOBase."""
        return True

    def write(self, text: str, /) -> int:
        """See io.TextIOBase."""
        with self._lock:
            *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)


class _Handler(logging.Handler):
    """A console's stderr."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            self._console.said(record, self.format(record))
        except (TypeError, ValueError) as error:
            self._console.warn(f"a message can't be shown: {record.msg!r}: {error}")
