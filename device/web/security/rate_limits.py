"""How often somebody may ask: token buckets by address and one for all, in memory of fixed size."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Allowance", "RateLimits"]

_MOST_ADDRESSES = 1024


@dataclass(frozen=True)
class Allowance:
    """So many at once, and so many a second in the long run."""

    at_once: float
    per_s: float


class _Bucket:
    def __init__(self, allowance: Allowance, now_s: float) -> None:
        self._allowance, self._left, self._at_s = allowance, allowance.at_once, now_s

    def fill(self, now_s: float) -> float:
        """What is left."""
        self._left = min(self._allowance.at_once, self._left + (now_s - self._at_s) * self._allowance.per_s)
        self._at_s = now_s
        return self._left

    def take(self) -> None:
        self._left -= 1

    def wait_s(self) -> float:
        """Until there is one again."""
        return max(1 - self._left, 0) / self._allowance.per_s


class RateLimits:
    """Safe to share between threads."""

    def __init__(self, each: Allowance, everybody: Allowance, clock: Callable[[], float] = time.monotonic) -> None:
        """`each`: an address, of IPv6 its network of 64 bits."""
        self._each, self._clock = each, clock
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._everybody = _Bucket(everybody, clock())
        self._lock = threading.Lock()

    def refused_s(self, address: str) -> float:
        """0 where it may, else how many seconds to wait."""
        with self._lock:
            return self._refused_s(network_of(address), self._clock())

    def _refused_s(self, key: str, now_s: float) -> float:
        bucket = self._addresses.pop(key, None) or _Bucket(self._each, now_s)
        self._addresses[key] = bucket
        if len(self._addresses) > _MOST_ADDRESSES:
            self._addresses.popitem(last=False)
        buckets = (bucket, self._everybody)
        left = min([one.fill(now_s) for one in buckets])
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
