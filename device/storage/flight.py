"""What is out: rows that were sent and wait to be confirmed, and rows that nobody takes for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from device.storage.rows import OutboxCounters

__all__ = ["Flight"]


class Flight:
    """In memory alone: after a restart everything that waits is sent again."""

    def __init__(self, counters: OutboxCounters, resend_after_s: float, monotonic: Callable[[], float]) -> None:
        self.resend_after_s = resend_after_s
        self.published: dict[int, float] = {}
        """When each was sent."""
        self.aside: dict[int, float] = {}
        """Until when each is passed over."""
        self._counters, self._monotonic = counters, monotonic

    def hidden(self) -> set[int]:
        """Those that aren't pending at this moment."""
        now = self._monotonic()
        out = {seq for seq, at in self.published.items() if at > now - self.resend_after_s}
        out.update(seq for seq, until in self.aside.items() if until > now)
        return out

    def send(self, seqs: Sequence[int]) -> None:
        """These were sent."""
        now = self._monotonic()
        self._counters.resent += sum(seq in self.published for seq in seqs)
        self.published.update(dict.fromkeys(seqs, now))

    def lose(self, seqs: Iterable[int]) -> None:
        """These were lost on the way."""
        for seq in list(seqs):
            self.published.pop(seq, None)

    def set_aside(self, seqs: Iterable[int], for_s: float) -> None:
        """Nobody takes these."""
        for seq in seqs:
            self.published.pop(seq, None)
            self.aside[seq] = self._monotonic() + for_s

    def settle(self, seq: int) -> None:
        """The far end has this one."""
        self.published.pop(seq, None)
        self.aside.pop(seq, None)
