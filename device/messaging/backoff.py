"""When to call the broker again, and whether somebody else lives by this client's name.

A broker that is away is called ever later. So is one that hangs up without having taken anything. Two clients of one name put
each other out whenever one of them calls: both must call ever later, and both must say so. MQTT 5 names the reason (142); by
3.1.1 it shows as connections that are taken, work, and are cut a moment after.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from device.messaging.reasons import SESSION_TAKEN_OVER

__all__ = ["Backoff", "Contention"]

_FIRST_S, _LONGEST_S = 1.0, 30.0
_LONGEST_CONTENDED_S = 300.0
"""A few lost minutes of each hour's link are cheaper than two boxes that put each other out every second."""

_CUT_SHORT_S = 10.0
_CUTS = 3
"""In a row, by 3.1.1: once is a broker that restarts."""
_CALM_AFTER_S = 3600.0
"""Without being put out: more than both boxes' longest delays together."""


class Backoff:
    """The delay before the next call, doubled each time; a thousand boxes must not come back in the same second."""

    def __init__(self, jitter: Callable[[], float] = random.random, *, longest_s: float = _LONGEST_S) -> None:
        self._jitter, self._longest_s = jitter, longest_s
        self._next_s = _FIRST_S
        self.last_s = 0.0
        """The delay that was given last."""

    def delay_s(self) -> float:
        """The next one: between half and one and a half of what is due."""
        self.last_s = self._next_s * (0.5 + self._jitter())
        self._next_s = min(2 * self._next_s, self._longest_s)
        return self.last_s

    def reset(self) -> None:
        """The connection did what it is for."""
        self._next_s = _FIRST_S


class Contention:
    """Whether another client connects by this one's name."""

    def __init__(self, jitter: Callable[[], float] = random.random, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        """Times that this client was put out."""
        self.certain = False
        """Whether the broker says so; else it only looks like it."""
        self._backoff = Backoff(jitter, longest_s=_LONGEST_CONTENDED_S)
        self._monotonic = monotonic
        self._cuts = 0
        self._last_s: float | None = None

    @property
    def holds(self) -> bool:
        """Seen, and not so long ago that it is over."""
        if self._last_s is not None and self._monotonic() - self._last_s > _CALM_AFTER_S:
            self._last_s, self._cuts, self.certain = None, 0, False
            self._backoff.reset()
        return self._last_s is not None

    def put_out(self, reason: int | None, stood_s: float, *, blameless: bool) -> float | None:
        """A connection ended, by the broker's `reason` or none; the delay before the next call, None where nobody else shows.

        `blameless`: nothing that was published explains it.
        """
        if reason == SESSION_TAKEN_OVER:
            self.certain = True
        elif not self._looks_like_it(reason, stood_s, blameless=blameless):
            return None
        self._last_s = self._monotonic()
        self.count += 1
        return self._backoff.delay_s()

    def _looks_like_it(self, reason: int | None, stood_s: float, *, blameless: bool) -> bool:
        # While both wait ever longer, each stands as long as the other waits.
        cut_short = reason is None and blameless and stood_s < max(_CUT_SHORT_S, 3 * self._backoff.last_s)
        self._cuts = self._cuts + 1 if cut_short else 0
        return self._cuts >= _CUTS

    def unreachable(self) -> None:
        """No broker answers: then it is the broker that went, not another client that came."""
        if not self.holds:
            self._cuts = 0
