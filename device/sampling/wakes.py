"""Waiting for the next wake, by a wall clock that may be set meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from device.errors import InputError
from device.sampling.schedule import Schedule, missed

__all__ = ["STATE_KEY", "Wakes"]

STATE_KEY = "last_wake"
_LONGEST_SLEEP_S = 60.0
"""The clock is looked at again after this long: it may have been set."""
_MOST_SET_BACK = timedelta(days=1)
"""A clock that is set back by more was wrong before: the last wake by it tells nothing."""


class Wakes:
    """The wakes of a schedule, one after the other; none comes twice, whatever the clock does."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        state: str | None,
        sleep: Callable[[float], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        simulated: bool = False,
    ) -> None:
        self._schedule, self._sleep, self._now, self._simulated = schedule, sleep, now, simulated
        self.last = None if state is None else datetime.fromisoformat(state)
        self.upcoming: datetime | None = None
        """The wake that is waited for; None: none is, or time is simulated."""
        if self.last is not None and (self.last > now() or simulated):
            # The clock was ahead when it was kept, or time was only simulated: a schedule must not wait for that.
            self.last = None

    def missed(self) -> int:
        """Wakes since the last one that was kept, at the start of the service."""
        return 0 if self.last is None else missed(self._schedule, self.last, self._now())

    def wait(self) -> datetime:
        """Sleep until the next wake, and say when that was; InputError where the schedule has no more."""
        while True:
            now = self._now()
            if self.last is not None and self.last - now > _MOST_SET_BACK:
                self.last = None
            after = now if self.last is None else max(now, self.last)
            wake = self._schedule.next_after(after)
            if wake is None:
                raise InputError("the schedule has no next wake", where="sampling.schedule", remedy="Check days and months.")
            if self._simulated:
                self._sleep((wake - after).total_seconds())
            elif not self._slept_until(wake, now):
                continue
            self.last = wake
            return wake

    def _slept_until(self, wake: datetime, since: datetime) -> bool:
        """False where the clock was set back meanwhile: another wake may come first."""
        self.upcoming = wake
        try:
            while (now := self._now()) < wake:
                if now < since:
                    return False
                since = now
                self._sleep(min((wake - now).total_seconds(), _LONGEST_SLEEP_S))
        finally:
            self.upcoming = None
        return True
