"""What the start waits for rather than end: a disk that is full, a controller that isn't plugged in.

A manager that starts a program again and again mends none of these, and each start wears the card and fills the journal.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TypeVar

from device.errors import HardwareError, HolonodeError, InputError, TransientError
from device.service.heartbeat import Steps
from device.stopping import StoppedError, Stopping

__all__ = ["Patience"]

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_GRACE_S = 30.0
_PASSES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
"""What a disk says that may pass; another folder than this user's doesn't."""


class Patience:
    """Of the service's start."""

    def __init__(self, stopping: Stopping, steps: Steps, say: Callable[[str], None]) -> None:
        self._stopping, self._steps, self._say = stopping, steps, say
        self.waited: list[str] = []
        """What was waited for, in words: before there is a store nobody can keep an event."""

    def until(self, what: str, make: Callable[[], T], told: Callable[[str], object] = lambda _message: None) -> T:
        """What `make` gives, once it does; `told` hears what is waited for and why, once for each reason.

        StoppedError where somebody asks to stop meanwhile.
        """
        pause_s, last = _FIRST_PAUSE_S, ""
        while True:
            try:
                made = make()
            except (HardwareError, TransientError, InputError) as error:
                if not _may_pass(error):
                    raise
                message = f"the start waits for {what}: {error}"
            else:
                if last:
                    self._say(f"the start goes on: {what} is there")
                return made
            if message != last:
                last = message
                self._say(message)
                self.waited.append(message)
                told(message)
            with self._steps.step(message, pause_s + _GRACE_S):
                self._stopping.wait(pause_s)
            self._stopping.check()
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _may_pass(error: HolonodeError) -> bool:
    if isinstance(error, StoppedError):
        return False
    if isinstance(error, InputError):
        return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSES
    return True
