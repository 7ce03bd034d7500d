"""Time that passes only while every thread waits: hours of faults in seconds, with real threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class VirtualTime:
    """Clock, sleep, threads and waiting for one test; only threads started by `spawn`, and the one that made it, take part."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s
        self._awake = 1
        self._waiting: dict[int, tuple[float, Callable[[], bool]]] = {}
        self._tickets = 0
        self._changed = threading.Condition()

    def monotonic(self) -> float:
        """Seconds."""
        return self._now_s

    def sleep(self, seconds: float) -> None:
        """Until that much time has passed."""
        self._wait(lambda: False, seconds)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Whether the event was set in time; a thread sets it as the last thing it does."""
        self._wait(event.is_set, timeout_s)
        return event.is_set()

    def spawn(self, work: Callable[[], None]) -> None:
        """A thread that takes part."""
        with self._changed:
            self._awake += 1

        def body() -> None:
            try:
                work()
            finally:
                with self._changed:
                    self._awake -= 1
                    self._let_pass()

        threading.Thread(target=body, daemon=True).start()

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            until_s = self._now_s + max(seconds, 0.0)
            if done() or until_s <= self._now_s:
                return
            self._tickets += 1
            ticket = self._tickets
            self._waiting[ticket] = (until_s, done)
            self._awake -= 1
            self._let_pass()
            while not done() and self._now_s < until_s:
                # A wait that nothing ends is a mistake of the test: it shows as a failure instead of hanging.
                if not self._changed.wait(timeout=60):
                    raise AssertionError("virtual time stands still")
            del self._waiting[ticket]
            self._awake += 1

    def _let_pass(self) -> None:
        """On to the next moment at which somebody wakes, where nobody is awake."""
        ready = any(done() or until_s <= self._now_s for until_s, done in self._waiting.values())
        if self._awake == 0 and self._waiting and not ready:
            self._now_s = min(until_s for until_s, _ in self._waiting.values())
        self._changed.notify_all()
