"""What was asked from afar and the loop has still to do, handed from thread to thread: between two samples it looks here."""

from __future__ import annotations

import threading
from collections.abc import Callable

from device.service.work import Work
from device.storage.outbox import Outbox

__all__ = ["Job", "LoopRequests"]

_STATE_KEY, _STOPPED = "sampling", "stopped"

Job = Callable[[bool], None]
"""Something that needs the instrument; told whether what is sampled goes over several intervals and is under way."""


class LoopRequests:
    """Start and stop, a sample at once, another configuration, a job for the instrument."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox, self._lock = outbox, threading.Lock()
        self.paused = outbox.get_state(_STATE_KEY) == _STOPPED
        """Whether sampling is stopped; the service goes on."""
        self._sample = False
        self._work: Work | None = None
        self._job: Job | None = None

    def pause(self, *, paused: bool) -> None:
        """Stop or start sampling, from the next sample on and over restarts; TransientError where it can't be kept."""
        self._outbox.keep({_STATE_KEY: _STOPPED if paused else "started"})
        self.paused = paused

    def ask_sample(self) -> None:
        """One sample, whatever the schedule says."""
        self._sample = True

    def give_work(self, work: Work, *, unless_given: bool = False) -> None:
        """Go on as this; `unless_given`: where nobody gave another already."""
        with self._lock:
            if self._work is None or not unless_given:
                self._work = work

    def give_job(self, job: Job) -> bool:
        """False where another one still waits."""
        with self._lock:
            if self._job is not None:
                return False
            self._job = job
            return True

    @property
    def pending(self) -> bool:
        """Whether the loop should not sleep on."""
        return self.paused or self._sample or self._work is not None or self._job is not None

    def sample_asked(self) -> bool:
        """Whether a sample was asked for; once."""
        asked, self._sample = self._sample, False
        return asked

    def next_work(self, under_way: bool) -> Work | None:
        """Do the job that waits, then say whether to go on as another work."""
        with self._lock:
            job = self._job
        if job is not None:
            job(under_way)
        with self._lock:
            self._job = None if job is not None else self._job
            work, self._work = self._work, None
            return work
