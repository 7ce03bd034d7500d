"""Which row goes out next, and what becomes of it.

Live rows first, history behind them under a rate limit. In `broker` mode a row is done at a successful PUBACK; in `collector`
mode when the collector says that it has committed it. A row that is refused for good, or on which the broker hangs up, is set
aside and tried again later, so that it doesn't hold up the rest. Everything here runs on the link's thread.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from paho.mqtt.reasoncodes import ReasonCode

from device.config import DeliveryConfig
from device.messaging.confirmations import Confirmations
from device.messaging.connection import Puback
from device.messaging.limits import Limits
from device.messaging.reasons import NO_MATCHING_SUBSCRIBERS, PACKET_TOO_LARGE, PAYLOAD_FORMAT_INVALID, named, remedy_of
from device.messaging.statements import first_of
from device.messaging.topics import Topics
from device.records import Whole
from device.storage.outbox import Outbox, Row

__all__ = ["DeliveryCounters", "Sender"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0

_NOT_LIVE_AFTER_S = 30.0
"""Rows that couldn't go out for so long are history: what is made from then on goes before them."""

_REFUSED_FOR_GOOD = (PACKET_TOO_LARGE, PAYLOAD_FORMAT_INVALID)
"""Of this row, whatever the broker does with others."""

_HANG_UPS = 3
"""Connections in a row that ended with the same row first in flight, before that is told."""
_HANG_UPS_ALONE = 2
"""The same with nothing else in flight, before the row is to blame."""
_JUST_S = 0.5
_ASIDE_S, _ASIDE_FOR_GOOD_S = 20.0, 86400.0
"""The first time that the broker hangs up on a row, ten times as long each time after; where it says that it never takes it."""

_TELL_SILENT_S = 8.0
_SILENT_S = 30.0
"""Without an acknowledgement; MQTT forbids to send again on a connection that stands, so another one is made."""

_UNCONFIRMED_PER_WINDOW = 50
_LIVE_SHARE = 0.2
"""Of what may be out for confirmation: history leaves it to live rows."""
_LONGEST_RETRY_S = 3600.0

_SEQ = re.compile(rb'"seq":(\d+)')

_LOOK_THROUGH_S = 0.2
"""Of a turn: rows that can't go are passed by, however many lie before one that can."""


@dataclass
class DeliveryCounters:
    """What the sender counted since the start."""

    delivered: Whole = 0
    """Records that were confirmed."""
    refused: Whole = 0
    """Publishes that the broker refused."""
    set_aside: Whole = 0
    """Times that a record was put aside for a while."""
    unheard: Whole = 0
    """Publishes that no subscriber was there for."""
    hang_ups: Whole = 0
    """Connections that ended again and again over the same record."""
    acks: Whole = 0
    """Of a collector, that were taken."""
    acks_ignored: Whole = 0
    """Of another spool, malformed, retained, without its first number, or where the broker confirms."""
    unacknowledged: Whole = 0
    """Publishes at QoS 0, where the broker takes no more: they count as nothing."""


class Sender:
    """Rows out, a window at a time."""

    def __init__(
        self,
        outbox: Outbox,
        settings: DeliveryConfig,
        publish: Callable[[str, bytes], int],
        *,
        raise_warning: Callable[[str, str], None],
        clear_warning: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`publish(leaf, payload)` returns the message's id; `raise_warning(code, message)` is heard once until `clear_warning(code)`."""
        self.counters = DeliveryCounters()
        self.wants_renewal = False
        """Only a new connection lets go of what is in flight."""
        self._outbox, self._settings, self._publish = outbox, settings, publish
        self._raise_warning, self._clear_warning, self._monotonic, self._jitter = (
            raise_warning,
            clear_warning,
            monotonic,
            jitter,
        )
        self._collector = settings.confirm == "collector"
        self._topics = Topics(outbox.device_id)
        self._in_flight: dict[int, int] = {}  # message id -> seq
        self._confirmations = Confirmations(outbox, raise_warning)
        self._limits = Limits()
        self._window = settings.window
        self._head, self._hang_ups, self._hang_ups_alone = 0, 0, 0
        self._answered = (0, -math.inf)  # the last row that the broker answered, and when
        self._answered_size = (0, 0)  # its own seq, bytes of the packet
        self._sizes: dict[int, tuple[int, int]] = {}  # row in flight -> its own seq, bytes of the packet
        self._cut_at, self._cut_until, self._cuts = 0, 0.0, 0  # bytes that the broker hangs up on, until when held to, times
        self._too_large: dict[int, tuple[int, int]] = {}  # row -> its own seq, bytes of the packet
        self._said_to = [0, 0]  # by QoS 0: the last of the live rows, the last of history
        self._pause_until, self._pause_s = 0.0, _FIRST_PAUSE_S
        self._tokens, self._tokens_at = 0.0, monotonic()
        self._live_since = self._progress_at = self._confirmed_at = self._moved_at = monotonic()
        outbox.resend_after_s = settings.retry_s

    @property
    def busy(self) -> bool:
        """Whether there is something that could go out or is out."""
        return self._outbox.depth() > self._outbox.aside

    @property
    def stalled_s(self) -> float:
        """How long records wait and none was delivered; 0 where none waits."""
        return self._monotonic() - self._moved_at if self.busy else 0.0

    @property
    def too_large(self) -> dict[int, int]:
        """Bytes of the packet by seq, of those that the broker doesn't take for their size."""
        return dict(self._too_large.copy().values())

    @property
    def unconfirmable(self) -> bool:
        """Whether nothing can count as delivered: the broker acknowledges nothing, and no collector is asked."""
        return self._limits.qos == 0 and not self._collector

    def up(self, limits: Limits) -> None:
        """A connection stands, and nothing is in flight."""
        if limits.most_bytes != self._limits.most_bytes:
            for seq in self._too_large:
                self._outbox.set_aside(seq, 0.0)
            self._too_large.clear()
        self._limits = limits
        self._window = max(min(self._settings.window, limits.records_in_flight), 1)
        self._progress_at = self._monotonic()
        self.wants_renewal = False
        # What the broker acknowledged and didn't keep is gone.
        self._forget_flight()

    @property
    def in_flight(self) -> int:
        """Rows that the broker hasn't acknowledged."""
        return len(self._in_flight)

    def head(self) -> int | None:
        """The message id of the first that the broker may have met and not taken."""
        return first_of(self._in_flight)

    def lost(self, blamed: int | None, reason: int | None = None, *, alone: bool = False, met: bool = False) -> bool:
        """A connection is gone; whether that is put down to `blamed`, the first that wasn't acknowledged.

        Some brokers answer a row they don't take by hanging up (mosquitto 2.0.11 does), some acknowledge it first. `alone`: nothing
        else was in flight; `met`: nothing at all was, and the row that was acknowledged last is to blame.
        """
        head = self._answered[0] if met else self._just_met() if blamed is None else self._in_flight.get(blamed, 0)
        number, size = self._sizes.get(head, self._answered_size if head == self._answered[0] else (head, 0))
        self._forget_flight()
        if not head or abs(head - self._head) > 1:
            self._hang_ups = self._hang_ups_alone = 0
        self._head = head
        if not head:
            return False
        self._hang_ups += 1
        self._hang_ups_alone += alone
        if self._hang_ups == _HANG_UPS or (self._hang_ups < _HANG_UPS and self._hang_ups_alone == _HANG_UPS_ALONE):
            self.counters.hang_ups += 1
            self.counters.refused += 1
            self._raise_warning(
                "publish_refused", "The broker hangs up on what is published; does it let this device write? Records are kept."
            )
            self._pause()
        if alone and reason == PACKET_TOO_LARGE:
            self._set_aside(head, number, _ASIDE_FOR_GOOD_S, f"the broker hangs up on it: {named(reason)}")
        elif alone and (self._hang_ups_alone >= _HANG_UPS_ALONE or 0 < self._cut_at <= size):
            self._blame(head, number, size)
        # A row that went out and is another each time doesn't explain it: somebody else may connect by this name.
        return self._hang_ups > 1

    def _just_met(self) -> int:
        """The row that the broker met last, where that was a moment ago."""
        seq, at = self._answered
        return seq if self._monotonic() - at < _JUST_S else 0

    def _blame(self, row: int, number: int, size: int) -> None:
        """Set it aside, and what is as large for as long: were each row tried, none would get through behind many."""
        hold_s = min(_ASIDE_S * 10**self._cuts, _ASIDE_FOR_GOOD_S)
        self._cuts += 1
        self._cut_at = min(size, self._cut_at or size)
        self._cut_until = self._monotonic() + hold_s
        self._hang_ups = self._hang_ups_alone = 0
        self._too_large[row] = (number, size)
        self._set_aside(row, number, hold_s, f"the broker hangs up on it ({size} bytes)")

    def _forget_flight(self) -> None:
        self._in_flight.clear()
        self._sizes.clear()
        self._confirmations.forget()
        self._outbox.unpublished()

    def answered(self, answers: Sequence[Puback]) -> None:
        """What the broker said; at QoS 0, that a message was written to the connection."""
        done: list[int] = []
        for answer in answers:
            seq = self._in_flight.pop(answer.mid, None)
            if seq is None:
                continue
            number, size = self._sizes.pop(seq, (seq, 0))
            self._progress_at = self._monotonic()
            self._answered, self._answered_size = (seq, self._progress_at), (number, size)
            if self._limits.qos == 0:
                self.counters.unacknowledged += 1
                continue
            self._clear_warning("broker_silent")
            if answer.reason.is_failure:
                self._refused(seq, number, answer.reason)
            elif answer.reason.value == NO_MATCHING_SUBSCRIBERS and self._collector:
                self._unheard(seq)
            else:
                done.append(seq)
                if 0 < self._cut_at <= size:
                    self._cut_at = self._cuts = 0
        if done:
            self._taken(done)

    def acked(self, payload: bytes, *, retained: bool) -> None:
        """A collector's word."""
        ack = None if retained or not self._collector else self._confirmations.read(payload)
        if ack is None:
            self.counters.acks_ignored += 1
            return
        self.counters.acks += 1
        self._confirmed(self._confirmations.settle(ack, self._in_flight.values()))

    def _confirmed(self, settled: int) -> None:
        if not settled:
            return
        self.counters.delivered += settled
        self._confirmed_at = self._moved_at = self._monotonic()
        self._outbox.resend_after_s = self._settings.retry_s
        self._clear_warning("not_confirmed")

    def work(self, *, connected: bool, most: int | None = None) -> None:
        """Send what may go, up to `most` in flight."""
        now = self._monotonic()
        if not self.busy:
            self._moved_at = now
        if not self.unconfirmable:
            self._age(now)
        if connected and not self.wants_renewal:
            self._watch(now)
            if now >= self._pause_until:
                window = self._window if most is None else most
                while self._send(now, window) and self._monotonic() - now < _LOOK_THROUGH_S:
                    pass

    def _age(self, now: float) -> None:
        """What has been in the way for long becomes history."""
        if not self._pending(self._outbox.pending_live, 1, 0):
            self._live_since = now
        elif now - self._live_since > _NOT_LIVE_AFTER_S:
            self._outbox.begin_live()
            self._live_since = now

    def _watch(self, now: float) -> None:
        """Whether the broker answers, and the collector confirms."""
        if not self._in_flight:
            self._progress_at = now
        elif now - self._progress_at > _TELL_SILENT_S:
            self._raise_warning(
                "broker_silent", f"The broker acknowledges nothing; {len(self._in_flight)} records are out and kept."
            )
            self.wants_renewal = now - self._progress_at > _SILENT_S
        if not self._collector:
            return
        out = self._outbox.unconfirmed
        if out == 0:
            self._confirmed_at = now
        elif now - self._confirmed_at > _TELL_SILENT_S:
            self._raise_warning(
                "not_confirmed", f"The broker took {out} records, no collector confirms them; all are kept and sent again."
            )
            quiet_s = now - self._confirmed_at
            self._outbox.resend_after_s = min(max(self._settings.retry_s, quiet_s), _LONGEST_RETRY_S)

    def _send(self, now: float, window: int) -> bool:
        """Whether rows were passed by, so that others may go in their place."""
        passed = False
        for row in self._next(now, window):
            body = _body(row)
            topic = self._topics.of(row.kind)
            size = self._limits.packet_bytes(topic, body, 1)
            if self._is_left_for_size(row.seq, _number(body), size, now):
                passed = True
                continue
            if not self._in_flight:
                self._progress_at = now
            self._in_flight[self._publish(row.kind, body)] = row.seq
            self._sizes[row.seq] = (_number(body), size)
            if self.unconfirmable:
                self._said_to[row.historical] = row.seq
            else:
                self._outbox.published([row.seq])
        return passed

    def _is_left_for_size(self, row: int, number: int, size: int, now: float) -> bool:
        most = self._limits.most_bytes
        if most is not None and size > most:
            self._too_large[row] = (number, size)
            self._set_aside(row, number, _ASIDE_FOR_GOOD_S, f"{size} bytes, the broker takes packets of {most} bytes")
            return True
        if self._cut_at and size >= self._cut_at and now < self._cut_until:
            self._too_large[row] = (number, size)
            self._set_aside(row, number, self._cut_until - now, f"{size} bytes, the broker hangs up on {self._cut_at}")
            return True
        self._too_large.pop(row, None)
        return False

    def _next(self, now: float, window: int) -> list[Row]:
        """The rows that may go out."""
        room = window - len(self._in_flight)
        most_out = _UNCONFIRMED_PER_WINDOW * self._settings.window
        out = self._outbox.unconfirmed if self._collector else 0
        live = self._pending(self._outbox.pending_live, min(room, most_out - out), self._said_to[False])
        spare = min(room - len(live), round(most_out * (1 - _LIVE_SHARE)) - out, self._history_allowance(now))
        history = self._pending(self._outbox.pending_history, spare, self._said_to[True])
        self._tokens -= len(history)
        return live + history

    def _pending(self, source: Callable[[int, int], list[Row]], limit: int, after_seq: int) -> list[Row]:
        """Rows that aren't in flight: one that the broker is slow to acknowledge is pending again by its age."""
        if limit <= 0:
            return []
        held = set(self._in_flight.values())
        after = after_seq if self.unconfirmable else 0
        return [row for row in source(limit + len(held), after) if row.seq not in held][:limit]

    def _history_allowance(self, now: float) -> int:
        """Whole rows that the rate limit allows; half a second's worth can be saved up."""
        rate = self._settings.history_per_s
        self._tokens = min(self._tokens + (now - self._tokens_at) * rate, max(1.0, rate / 2))
        self._tokens_at = now
        return int(self._tokens)

    def _taken(self, seqs: list[int]) -> None:
        """By the broker."""
        self._pause_s = _FIRST_PAUSE_S
        self._clear_warning("publish_refused")
        self._clear_warning("no_subscriber")
        if not self._collector:
            self._outbox.delivered(seqs)
            self.counters.delivered += len(seqs)
            self._moved_at = self._monotonic()
        self._confirmed(self._confirmations.acknowledged(seqs))

    def _refused(self, seq: int, number: int, reason: ReasonCode) -> None:
        self.counters.refused += 1
        if reason.value in _REFUSED_FOR_GOOD:
            self._set_aside(seq, number, _ASIDE_FOR_GOOD_S, f"the broker says: {named(reason.value)}")
            return
        self._outbox.unpublished([seq])
        self._pause()
        self._raise_warning(
            "publish_refused",
            f"The broker refuses what is published: {named(reason.value)}. {remedy_of(reason.value)}. Records are kept.",
        )

    def _unheard(self, seq: int) -> None:
        self.counters.unheard += 1
        self._outbox.unpublished([seq])
        self._pause()
        self._raise_warning("no_subscriber", "Nobody listens to this device's records; they are kept until a collector does.")

    def _set_aside(self, row: int, number: int, for_s: float, why: str) -> None:
        self.counters.set_aside += 1
        self._outbox.set_aside(row, for_s)
        self._raise_warning(
            "record_set_aside",
            f"Record {number} can't be delivered: {why}. It is kept and tried again; others go on, and those that meet this are "
            "counted in `stats`.",
        )

    def _pause(self) -> None:
        now = self._monotonic()
        if now < self._pause_until:
            return
        self._pause_until = now + self._pause_s * (0.5 + self._jitter())
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


def _number(body: bytes) -> int:
    """A record's own seq: rows may be counted otherwise."""
    found = _SEQ.search(body)
    return int(found[1]) if found else 0


def _body(row: Row) -> bytes:
    """The record; marked where it comes late."""
    if not row.historical:
        return row.body
    record: dict[str, Any] = msgspec.json.decode(row.body)
    record["historical"] = True
    return msgspec.json.encode(record)
