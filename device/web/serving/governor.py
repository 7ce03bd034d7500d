"""How much of a core the server takes, however many ask: the rest, and the interpreter, belong to the sampler."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["Governor", "unhurried"]

SHARE = 0.25
"""Of a core."""

_Item = TypeVar("_Item")


class Governor:
    """Keeps the loop's thread, and what works for it, to a share of a core by having the loop sleep.

    What was saved may be spent in a burst, so that a page comes at once.
    """

    def __init__(
        self,
        share: float = SHARE,
        burst_s: float = 1.0,
        *,
        used_s: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share, self._burst_s = share, burst_s
        self._used_s, self._clock, self._sleep = used_s, clock, sleep
        self._left_s, self._used_at_s, self._at_s = burst_s, 0.0, clock()
        self._charged_s = 0.0
        self._lock = threading.Lock()

    def charge(self, seconds: float) -> None:
        """Processor time that another thread spent."""
        with self._lock:
            self._charged_s += seconds

    def check(self) -> None:
        """Sleep where the thread has had more than its share."""
        with self._lock:
            charged_s = self._charged_s
        used_s, now_s = self._used_s() + charged_s, self._clock()
        self._left_s += self._share * (now_s - self._at_s) - (used_s - self._used_at_s)
        self._left_s = min(self._left_s, self._burst_s)
        self._used_at_s, self._at_s = used_s, now_s
        if self._left_s < 0:
            self._sleep(min(-self._left_s / self._share, 1.0))

    async def keep(self, every_s: float = 0.1) -> None:
        """Until cancelled. In a flood the loop comes here once a turn."""
        self._used_at_s = self._used_s() + self._charged_s
        while True:
            self.check()
            await asyncio.sleep(every_s)


def unhurried(items: Iterator[_Item], sleep: Callable[[float], None] = time.sleep) -> Iterator[_Item]:
    """The same, in worker threads, with pauses that keep it to the share: a long download is in nobody's way."""
    while True:
        began_s = time.thread_time()
        try:
            item = next(items)
        except StopIteration:
            return
        sleep((1 / SHARE - 1) * (time.thread_time() - began_s))
        yield item
