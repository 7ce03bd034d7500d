"""What a service prints: stdout and stderr may be slow, full, closed or gone, and the service goes on.

A thread of its own writes, so that nobody waits for a reader. What can't be written is counted, and said in one line once
something can. Descriptors 1 and 2 lead here too, for what libraries print past Python.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import logging
import os
import queue
import select
import sys
import threading
from typing import TextIO

from device.text import plain

__all__ = ["Console"]

_OUT, _ERR = 1, 2
_MOST_WAITING = 1000
"""Lines that wait for a slow reader; further ones are counted."""
_AT_ONCE = 512
"""Bytes: a pipe that is ready takes as many without blocking (POSIX's least PIPE_BUF)."""
_LOOK_S = 0.5
_UNREAD = "nobody reads it"


class Console:
    """Takes the place of stdout and stderr between `with` and its end."""

    def __init__(self) -> None:
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
        self._take(_OUT, line)

    def warn(self, line: str) -> None:
        """A line on stderr; likewise."""
        self._take(_ERR, line)

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

    def _take(self, number: int, line: str) -> None:
        with self._lock:
            try:
                self._waiting.put_nowait((number, plain(line, lines=True), self._left_out))
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


_MOST_HELD = 65536
"""Bytes without an end of line."""


class _Stream(io.TextIOBase):
    """`print`, warnings and tracebacks, on their way to the console."""

    def __init__(self, console: Console, number: int) -> None:
        self._take = console.say if number == _OUT else console.warn
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
            self._console.warn(self.format(record))
        except (TypeError, ValueError) as error:
            self._console.warn(f"a message can't be shown: {record.msg!r}: {error}")
