"""Calls into libraries that may never come back, each with a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from device.drivers.ports import NoFrameError

__all__ = ["Bounded", "StuckError", "Threads"]

T = TypeVar("T")


class StuckError(NoFrameError):
    """A call that did not come back in time; its thread is still inside the library."""


def _spawn(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="camera call", daemon=True).start()


@dataclass(frozen=True)
class Threads:
    """Clock, threads and waiting."""

    monotonic: Callable[[], float] = time.monotonic
    spawn: Callable[[Callable[[], None]], None] = _spawn
    """Runs work in a thread of its own that doesn't keep the process alive."""
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    """Whether the event was set within so many seconds."""


class _Call:
    """One call, and whether somebody still waits for it."""

    def __init__(self, work: Callable[[], Any], late: Callable[[], None] | None) -> None:
        self.done = threading.Event()
        self.result: Any = None
        self.error: Exception | None = None
        self._work, self._late = work, late
        self._lock = threading.Lock()
        self._finished = self._given_up = False

    def run(self) -> None:
        try:
            self.result = self._work()
        except Exception as error:  # noqa: BLE001  the edge of the thread: handed to whoever waits
            self.error = error
        with self._lock:
            self._finished = True
            late = self._late if self._given_up else None
        try:
            if late is not None:
                late()
        finally:
            self.done.set()

    def give_up(self) -> bool:
        """Wait no longer; False where it has just finished after all."""
        with self._lock:
            self._given_up = not self._finished
            return self._given_up


class Bounded:
    """Runs calls in threads of their own and waits for each at most so long."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._abandoned: list[_Call] = []
        self.abandoned = 0
        """Calls that were given up, ever."""

    @property
    def stuck(self) -> int:
        """Given-up calls that are inside the library still."""
        self._abandoned = [call for call in self._abandoned if not call.done.is_set()]
        return len(self._abandoned)

    def call(self, what: str, work: Callable[[], T], limit_s: float, late: Callable[[], None] | None = None) -> T:
        """What `work` gives or raises; StuckError after `limit_s`, and then `late` cleans up whenever it does come back."""
        call = _Call(work, late)
        self._threads.spawn(call.run)
        if not self._threads.wait(call.done, limit_s) and call.give_up():
            self._abandoned.append(call)
            self.abandoned += 1
            raise StuckError(
                f"the camera hangs: {what} doesn't come back", expected=f"an answer within {limit_s:g} s", got="none",
                remedy="It is restarted; if that doesn't help, check the ribbon cable and the supply.",
            )  # fmt: skip
        if call.error is not None:
            raise call.error
        return call.result
