"""SIGINT and SIGTERM as a request to stop: caught from a program's first line on, heard where it does no harm.

A handler only counts and wakes: it may run between any two lines of the main thread, where a lock can be held.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading

from device.errors import TransientError

__all__ = ["PROGRAM", "StoppedError", "Stopping"]

_ASK = (signal.SIGINT, signal.SIGTERM)
_NOT_FOR_US = ("SIGHUP", "SIGTTOU")
"""A terminal that went away or wants no output ends no measurement."""
_LONGEST_POLL_MS = 2**31 - 1
"""Milliseconds that fit: 24 days."""


class StoppedError(TransientError):
    """Somebody asked to stop before it was done."""


class Stopping:
    """Whether somebody asked to stop, and how often."""

    def __init__(self) -> None:
        self._count = 0
        self._caught = False
        self._lock = threading.Lock()
        self._read = self._wake = -1

    @property
    def asked(self) -> bool:
        """Once is enough."""
        return self._count > 0

    @property
    def hurried(self) -> bool:
        """Asked again: what would only be nice is left out."""
        return self._count > 1

    def ask(self) -> None:
        """As a signal does; safe in a handler and in any thread."""
        self._count += 1
        if self._wake >= 0:
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake, b"!")

    def check(self) -> None:
        """StoppedError where somebody asked."""
        if self.asked:
            raise StoppedError("the service was asked to stop")

    def wait(self, seconds: float) -> bool:
        """Sleep, cut short by a request; whether there is one."""
        self._open()
        if not self.asked and seconds > 0:
            # What woke it is never read, so that everybody who waits hears it.
            ready = select.poll()
            ready.register(self._read, select.POLLIN)
            ready.poll(min(seconds * 1000, _LONGEST_POLL_MS))
        return self.asked

    def _open(self) -> None:
        """The pipe that wakes; not before somebody waits, when descriptors 0, 1 and 2 are surely taken."""
        with self._lock:
            if self._wake < 0:
                self._read, wake = os.pipe()
                os.set_blocking(wake, False)
                self._wake = wake

    def catch(self) -> None:
        """Hear the signals from here on."""
        if self._caught:
            return
        self._caught = True
        for number in _ASK:
            signal.signal(number, lambda _number, _frame: self.ask())
        for name in _NOT_FOR_US:
            signal.signal(getattr(signal, name), signal.SIG_IGN)

    def end(self) -> None:
        """What is left is the end itself: no signal has anything more to ask for."""
        if self._caught:
            for number in _ASK:
                signal.signal(number, signal.SIG_IGN)


PROGRAM = Stopping()
"""The one of this process."""
