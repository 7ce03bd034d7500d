"""What is said beside the records: status, info, health, stats, discovery, answers. Records never wait for any of it.

Of what is kept by the broker only the newest version matters: it is said on every connection. What the broker can't take is
shortened or left out, and told by its name and size. A broker may cut without having announced anything: what it cuts at twice
is shortened, and left out where it cuts at that, too.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct
from paho.mqtt.properties import Properties

from device.messaging.limits import Limits
from device.messaging.payloads import to_payload
from device.messaging.reasons import PACKET_TOO_LARGE
from device.messaging.shortening import versions

__all__ = ["LeftOut", "MessagePublisher", "Statements", "bodies", "earlier", "first_of"]

_MOST_WAITING = 64
"""Answers; a flood of requests beyond loses its own."""
_CUTS = 2
"""In a row at the same message with nothing else in flight, before it is to blame."""
_CUTS_AT_STATUS = 6
"""It comes first on every connection: whatever cuts those cuts at it."""
_SUSPECT_S = 5.0
"""After what went by QoS 0, which is never acknowledged."""
_TRY_AGAIN_S = 6 * 3600.0
"""What was cut at is tried again: somebody may have mended the broker."""


class MessagePublisher(Protocol):
    """As `Connection.publish`."""

    def __call__(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, properties: Properties | None = None
    ) -> int:
        """Returns the message's id."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """What the broker can't be told in full."""

    name: str
    """Topic below the device's root, or the whole topic."""
    size: int
    """Bytes of the whole packet."""
    most: int | None
    """Bytes that the broker takes; None: it doesn't say, and hangs up on more."""
    to: int | None
    """Bytes of what is said instead; None: nothing is."""

    def words(self) -> str:
        """For a person."""
        what = "left out" if self.to is None else f"shortened to {self.to} bytes"
        why = "the broker hangs up on it" if self.most is None else f"the broker takes packets of {self.most} bytes"
        return f"{self.name} ({self.size} bytes) is {what}: {why}"


@dataclass(frozen=True)
class _Statement:
    topic: str
    payload: Struct | bytes
    qos: int
    retain: bool
    properties: Properties | None = None


class Statements:
    """Safe to add to from any thread; the link's thread sends."""

    def __init__(
        self,
        root: str,
        publish: MessagePublisher,
        raise_warning: Callable[[str, str, str], None],
        clear_warning: Callable[[str, str], None],
    ):
        """`raise_warning(code, message, about)` is heard once until `clear_warning(code, about)`."""
        self.left_out: dict[str, LeftOut] = {}
        """By topic."""
        self.dropped = 0
        """That were for one connection, and it ended or too many waited."""
        self._root, self._publish, self._raise_warning, self._clear_warning = root, publish, raise_warning, clear_warning
        self._status = f"{root}/status"
        self._lock = threading.Lock()
        self._kept: dict[str, _Statement] = {}
        self._due: dict[str, None] = {}  # topics of what is kept and not said on this connection
        self._once: deque[_Statement] = deque()
        self._limits: Limits | None = None
        self._in_flight: dict[int, tuple[str, int]] = {}  # message id -> topic, size
        self._unproven: dict[int, tuple[str, int, float]] = {}  # the same of QoS 0, and when
        self._cuts: tuple[str, int] = ("", 0)
        self._met: tuple[str, int] | None = None  # topic, size of what the broker acknowledged last
        self._caps: dict[str, tuple[int, float]] = {}  # topic -> most bytes, until when

    # -- from any thread --------------------------------------------------------------------------------------------------

    def keep(self, topic: str, payload: Struct | bytes) -> None:
        """Said now and on every connection from here on, retained."""
        with self._lock:
            self._kept[topic] = _Statement(topic, payload, 1, retain=True)
            self._due[topic] = None

    def say(self, topic: str, payload: Struct | bytes, *, qos: int = 0, properties: Properties | None = None) -> None:
        """Said once, on this connection or never."""
        with self._lock:
            if self._limits is None or len(self._once) >= _MOST_WAITING:
                self.dropped += 1
                return
            self._once.append(_Statement(topic, payload, qos, retain=False, properties=properties))

    def again(self, topics: Iterable[str]) -> None:
        """What is kept on these topics is said once more."""
        with self._lock:
            self._due.update({topic: None for topic in topics if topic in self._kept})

    @property
    def waiting(self) -> bool:
        """Whether something is still to be said, or to be acknowledged."""
        return bool(self._due or self._once or self._in_flight)

    # -- the link's thread ------------------------------------------------------------------------------------------------

    def up(self, limits: Limits) -> None:
        """A connection stands."""
        now = time.monotonic()
        with self._lock:
            self._caps = {topic: cap for topic, cap in self._caps.items() if cap[1] > now}
            self._limits = limits
            self._due = dict.fromkeys(self._kept)
            self._in_flight.clear()
            self._unproven.clear()

    def work(self, *, one: bool = False) -> bool:
        """Say what may be said; `one`: no more than one. Whether anything was."""
        said = False
        while (limits := self._limits) is not None and not (said and one):
            with self._lock:
                statement = self._next(limits)
            if statement is None:
                break
            said |= self._send(statement, limits)
        return said

    def _next(self, limits: Limits) -> _Statement | None:
        room = limits.statements_in_flight == 0 or len(self._in_flight) < limits.statements_in_flight
        for topic in self._due:
            if room:
                del self._due[topic]
                return self._kept[topic]
        if self._once and (room or self._once[0].qos == 0):
            return self._once.popleft()
        return None

    def _send(self, statement: _Statement, limits: Limits) -> bool:
        topic = statement.topic
        qos = statement.qos if limits.statements_in_flight else 0
        body = self._fitting(statement, qos, limits)
        if body is None:
            return False
        mid = self._publish(topic, body, qos=qos, retain=statement.retain, properties=statement.properties)
        if qos:
            self._in_flight[mid] = (topic, len(body))
        else:
            self._unproven[mid] = (topic, len(body), time.monotonic())
        return True

    def _fitting(self, statement: _Statement, qos: int, limits: Limits) -> bytes | None:
        """The longest version that the broker takes; None where there is none."""
        topic, properties = statement.topic, statement.properties
        most, _ = self._caps.get(topic, (None, 0.0))
        if most is not None and limits.most_bytes is not None:
            most = min(most, limits.most_bytes)
        bounds = limits if most is None else Limits(modern=limits.modern, most_bytes=most)
        whole: bytes | None = None
        for body in bodies(statement.payload):
            whole = whole if whole is not None else body
            if bounds.fits(topic, body, qos, properties):
                if body is not whole:
                    self._leave_out(topic, bounds, whole, body, qos, properties)
                elif self.left_out.pop(topic, None):
                    self._clear_warning("message_shortened", topic)
                return body
        self._leave_out(topic, bounds, whole or b"", None, qos, properties)
        return None

    def _leave_out(
        self, topic: str, bounds: Limits, whole: bytes, body: bytes | None, qos: int, properties: Properties | None
    ) -> None:
        size = bounds.packet_bytes(topic, whole, qos, properties)
        to = None if body is None else bounds.packet_bytes(topic, body, qos, properties)
        most = self._limits.most_bytes if self._limits is not None and topic not in self._caps else None
        left_out = LeftOut(topic.removeprefix(self._root + "/"), size, most, to)
        self.left_out[topic] = left_out
        self._raise_warning("message_shortened", f"{left_out.words()}. Records go on.", topic)

    def answered(self, mid: int) -> None:
        """The broker has it; and whatever it took before."""
        found = self._in_flight.pop(mid, None)
        if found is not None:
            self._met = found
            self.proven(mid)

    def sound(self) -> None:
        """Nothing that was acknowledged so far is what the broker cuts at."""
        if self._met is not None and self._met[0] == self._cuts[0]:
            self._cuts = ("", 0)
        self._met = None
        self._unproven.clear()

    def proven(self, mid: int) -> None:
        """Something that was sent later is acknowledged."""
        self._unproven = {other: sent for other, sent in self._unproven.items() if not earlier(other, mid)}

    @property
    def in_flight(self) -> int:
        """Statements that the broker hasn't acknowledged, and those of a moment ago that it never will."""
        return len(self._in_flight) + len(self._fresh())

    @property
    def waits_for_answer(self) -> bool:
        """Whether one is out that the broker will acknowledge."""
        return bool(self._in_flight)

    def _fresh(self) -> list[int]:
        now = time.monotonic()
        return [mid for mid, (_, _, at) in self._unproven.items() if now - at < _SUSPECT_S]

    def head(self) -> int | None:
        """The message id of the first that the broker may have met and not taken."""
        return first_of([*self._in_flight, *self._fresh()])

    def is_status(self, mid: int | None) -> bool:
        """Whether this message is `status`."""
        return mid is not None and self._in_flight.get(mid, ("", 0))[0] == self._status

    def lost(self, blamed: int | None, reason: int | None, *, alone: bool = False, met: bool = False) -> bool:
        """The connection is gone; whether that is put down to `blamed`, the first that wasn't acknowledged.

        `alone`: nothing else was in flight; `met`: nothing at all was, and the last that was acknowledged is to blame.
        """
        with self._lock:
            self._limits = None
            self.dropped += len(self._once)
            self._once.clear()
        found = self._met if met else None if blamed is None else self._in_flight.get(blamed) or self._unproven.get(blamed)
        self._met = None
        self._in_flight.clear()
        self._unproven.clear()
        if found is None or not alone:
            return False
        topic, size = found[:2]
        self._cuts = (topic, self._cuts[1] + 1 if self._cuts[0] == topic else 1)
        patience = _CUTS if topic != self._status else _CUTS_AT_STATUS
        if self._cuts[1] >= patience or reason == PACKET_TOO_LARGE or topic in self._caps:
            most = 0 if topic in self._caps else size // 2
            self._caps[topic] = (most, time.monotonic() + _TRY_AGAIN_S)
            self._cuts = ("", 0)
        return topic != self._status


def bodies(payload: Struct | bytes) -> Iterable[bytes]:
    """The payload as it goes out, and ever shorter ones."""
    return [payload] if isinstance(payload, bytes) else map(to_payload, versions(payload))


def earlier(one: int, other: int) -> bool:
    """Whether a message id was given before another, on one connection; ids come round after 65,535."""
    return one != other and (other - one) % 65_535 < 32_768


def first_of(mids: Iterable[int]) -> int | None:
    """The earliest; None of none."""
    first: int | None = None
    for mid in mids:
        if first is None or earlier(mid, first):
            first = mid
    return first
