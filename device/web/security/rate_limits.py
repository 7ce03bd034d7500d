"""How often somebody may ask: token buckets by address and one for all, in memory of fixed size."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Allowance", "RateLimits", "TokenBucket"]

_MOST_ADDRESSES = 1024


@dataclass(frozen=True)
class Allowance:
    """So many at once, and so many a second in the long run."""

    at_once: float
    per_s: float


class TokenBucket:
    """One allowance; for one thread, or under a lock."""

    def __init__(self, allowance: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowance, self._clock = allowance, clock
        self._left, self._at_s = allowance.at_once, clock()

    def take_or_wait_s(self) -> float:
        """0 where one was taken, else how many seconds to wait."""
        if self.fill() < 1:
            return self.wait_s()
        self.take()
        return 0.0

    def fill(self) -> float:
        """What is left."""
        now_s = self._clock()
        self._left = min(self._allowance.at_once, self._left + (now_s - self._at_s) * self._allowance.per_s)
        self._at_s = now_s
        return self._left

    def take(self) -> None:
        """One; `fill` said that there is one."""
        self._left -= 1

    def wait_s(self) -> float:
        """Until there is one again."""
        return max(1 - self._left, 0) / self._allowance.per_s


class RateLimits:
    """Safe to share between threads."""

    def __init__(self, each: Allowance, everybody: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        """`each`: an address, of IPv6 its network of 64 bits."""
        self._each, self._clock = each, clock
        self._addresses: OrderedDict[str, TokenBucket] = OrderedDict()
        self._everybody = TokenBucket(everybody, clock)
        self._lock = threading.Lock()

    def refused_s(self, address: str) -> float:
        """0 where it may, else how many seconds to wait."""
        with self._lock:
            return self._refused_s(network_of(address))

    def _refused_s(self, key: str) -> float:
        bucket = self._addresses.pop(key, None) or TokenBucket(self._each, self._clock)
        self._addresses[key] = bucket
        if len(self._addresses) > _MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        buckets = (bucket, self._everybody)
        left = min([one.fill() for one in buckets])
        if left >= 1:
            for one in buckets:
                one.take()
            return 0.0
        return max(one.wait_s() for one in buckets)


def network_of(address: str) -> str:
    """The address; of IPv6, where one machine has many, the network that it is in."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    return str(found) if found.version == 4 else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
