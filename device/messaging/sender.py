"""Which row goes out next, and what becomes of it.

Live rows first, history behind them under a rate limit. In `broker` mode a row is done at a successful PUBACK; in `collector`
mode when the collector says that it has committed it. A row that is refused for good, or on which the broker hangs up, is set
aside and tried again later, so that it doesn't hold up the rest. Everything here runs on the link's thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct
from paho.mqtt.reasoncodes import ReasonCode

from device.config import DeliveryConfig
from device.messaging.connection import Answer, Up
from device.storage.outbox import Outbox, Row

__all__ = ["Sender", "Told"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0

_NOT_LIVE_AFTER_S = 30.0
"""Rows that couldn't go out for so long are history: what is made from then on goes before them."""

_REFUSED_FOR_GOOD = (149, 153)
"""Packet too large, payload format invalid: of this row, whatever the broker does with others."""
_NOBODY_LISTENS = 16

_HANG_UPS = 3
"""Connections in a row that ended with the same row first in flight."""
_ASIDE_S, _ASIDE_FOR_GOOD_S = 600.0, 86400.0

_TELL_SILENT_S = 8.0
_SILENT_S = 30.0
"""Without an acknowledgement; MQTT forbids to send again on a connection that stands, so another one is made."""

_UNCONFIRMED_PER_WINDOW = 50
_LIVE_SHARE = 0.2
"""Of what may be out for confirmation: history leaves it to live rows."""
_LONGEST_RETRY_S = 3600.0

_OVERHEAD_BYTES = 32
"""Of a PUBLISH beside topic and payload."""


class Ack(Struct, frozen=True, kw_only=True):
    """`ack`, from a collector: it has committed everything from `first` up to `seq`."""

    spool_id: str
    seq: int
    first: int = 1


@dataclass
class Told:
    """What the sender counted since the start."""

    delivered: int = 0
    refused: int = 0
    set_aside: int = 0
    unheard: int = 0
    """Publishes that no subscriber was there for."""
    hang_ups: int = 0
    acks: int = 0
    acks_ignored: int = 0
    """Of another spool, malformed, retained, or where the broker confirms."""


class Sender:
    """Rows out, a window at a time."""

    def __init__(
        self,
        outbox: Outbox,
        settings: DeliveryConfig,
        publish: Callable[[str, bytes], int],
        *,
        tell: Callable[[str, str], None],
        untell: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`publish(leaf, payload)` returns the message's id; `tell(code, message)` is heard once until `untell(code)`."""
        self.told = Told()
        self.wants_renewal = False
        """Only a new connection lets go of what is in flight."""
        self._outbox, self._settings, self._publish = outbox, settings, publish
        self._tell, self._untell, self._monotonic, self._jitter = tell, untell, monotonic, jitter
        self._collector = settings.confirm == "collector"
        self._in_flight: dict[int, int] = {}  # message id -> seq, in the order they went out
        self._window = settings.window
        self._most_bytes: int | None = None
        self._alone = 0  # rows still to go out one by one, so that the one the broker hangs up on is found
        self._head, self._hang_ups = 0, 0
        self._pause_until, self._pause_s = 0.0, _FIRST_PAUSE_S
        self._tokens, self._tokens_at = 0.0, monotonic()
        self._live_since = self._progress_at = self._confirmed_at = monotonic()
        outbox.resend_after_s = settings.retry_s

    @property
    def busy(self) -> bool:
        """Whether there is something that could go out or is out."""
        return self._outbox.depth() > self._outbox.aside

    def up(self, note: Up) -> None:
        """A connection stands; the client sends what is in flight again by itself."""
        self._window = note.most_in_flight
        self._most_bytes = note.most_bytes
        self._progress_at = self._monotonic()
        if self._collector:
            # What the broker acknowledged and didn't keep is gone.
            self._outbox.unpublished(self._outbox.published_besides(self._in_flight.values()))

    def lost(self) -> None:
        """A connection is gone. Some brokers answer a row they don't take by hanging up (mosquitto 2.0.11 does)."""
        head = next(iter(self._in_flight.values()), 0)
        self._hang_ups = self._hang_ups + 1 if head == self._head else 1
        self._head = head
        if not head or self._hang_ups < _HANG_UPS:
            return
        self._hang_ups = 0
        self.told.hang_ups += 1
        self.told.refused += 1
        self._tell(
            "publish_refused", "The broker hangs up on what is published; does it let this device write? Records are kept."
        )
        if len(self._in_flight) == 1:
            self._set_aside(head, _ASIDE_S, "the broker hangs up on it")
        self._alone = 2 * self._settings.window
        self._pause()
        self.wants_renewal = True

    def renewed(self) -> None:
        """Nothing is in flight any more."""
        self.wants_renewal = False
        self._in_flight.clear()
        self._outbox.unpublished()

    def answered(self, answers: Sequence[Answer]) -> None:
        """What the broker said."""
        done: list[int] = []
        for answer in answers:
            seq = self._in_flight.pop(answer.mid, None)
            if seq is None:
                continue
            self._progress_at = self._monotonic()
            self._untell("broker_silent")
            if answer.reason.is_failure:
                self._refused(seq, answer.reason)
            elif answer.reason.value == _NOBODY_LISTENS and self._collector:
                self._unheard(seq)
            else:
                done.append(seq)
        if done:
            self._taken(done)

    def acked(self, payload: bytes, *, retained: bool) -> None:
        """A collector's word."""
        try:
            ack = msgspec.json.decode(payload, type=Ack)
        except msgspec.MsgspecError:
            ack = None
        if ack is None or retained or not self._collector or not self._outbox.places(ack.spool_id, ack.seq, ack.first):
            self.told.acks_ignored += 1
            return
        self.told.acks += 1
        settled = self._outbox.confirmed_to(ack.spool_id, ack.seq, ack.first)
        if settled:
            self.told.delivered += settled
            self._confirmed_at = self._monotonic()
            self._outbox.resend_after_s = self._settings.retry_s
            self._untell("not_confirmed")

    def work(self, *, connected: bool) -> None:
        """Send what may go."""
        now = self._monotonic()
        self._age(now)
        if connected and not self.wants_renewal:
            self._watch(now)
            if now >= self._pause_until:
                self._send(now)

    def _age(self, now: float) -> None:
        """What has been in the way for long becomes history."""
        if not self._pending(self._outbox.pending_live, 1):
            self._live_since = now
        elif now - self._live_since > _NOT_LIVE_AFTER_S:
            self._outbox.begin_live()
            self._live_since = now

    def _watch(self, now: float) -> None:
        """Whether the broker answers, and the collector confirms."""
        if not self._in_flight:
            self._progress_at = now
        elif now - self._progress_at > _TELL_SILENT_S:
            self._tell("broker_silent", f"The broker acknowledges nothing; {len(self._in_flight)} records are out and kept.")
            self.wants_renewal = now - self._progress_at > _SILENT_S
        if not self._collector:
            return
        out = self._outbox.unconfirmed
        if out == 0:
            self._confirmed_at = now
        elif now - self._confirmed_at > _TELL_SILENT_S:
            self._tell(
                "not_confirmed", f"The broker took {out} records, no collector confirms them; all are kept and sent again."
            )
            quiet_s = now - self._confirmed_at
            self._outbox.resend_after_s = min(max(self._settings.retry_s, quiet_s), _LONGEST_RETRY_S)

    def _send(self, now: float) -> None:
        for row in self._next(now):
            body = _body(row)
            if (
                self._most_bytes is not None
                and len(body) + 2 * _OVERHEAD_BYTES + len(self._outbox.device_id) > self._most_bytes
            ):
                self._set_aside(row.seq, _ASIDE_FOR_GOOD_S, f"the broker takes packets of {self._most_bytes} bytes")
                continue
            if not self._in_flight:
                self._progress_at = now
            self._in_flight[self._publish(row.kind, body)] = row.seq
            self._outbox.published([row.seq])

    def _next(self, now: float) -> list[Row]:
        """The rows that may go out."""
        room = (1 if self._alone else self._window) - len(self._in_flight)
        most_out = _UNCONFIRMED_PER_WINDOW * self._settings.window
        out = self._outbox.unconfirmed if self._collector else 0
        live = self._pending(self._outbox.pending_live, min(room, most_out - out))
        spare = min(room - len(live), round(most_out * (1 - _LIVE_SHARE)) - out, self._history_allowance(now))
        history = self._pending(self._outbox.pending_history, spare)
        self._tokens -= len(history)
        return live + history

    def _pending(self, source: Callable[[int], list[Row]], limit: int) -> list[Row]:
        """Rows that aren't in flight: one that the client keeps through an outage is pending again by its age."""
        if limit <= 0:
            return []
        held = set(self._in_flight.values())
        return [row for row in source(limit + len(held)) if row.seq not in held][:limit]

    def _history_allowance(self, now: float) -> int:
        """Whole rows that the rate limit allows; half a second's worth can be saved up."""
        rate = self._settings.history_per_s
        self._tokens = min(self._tokens + (now - self._tokens_at) * rate, max(1.0, rate / 2))
        self._tokens_at = now
        return int(self._tokens)

    def _taken(self, seqs: list[int]) -> None:
        self._alone = max(self._alone - len(seqs), 0)
        self._pause_s = _FIRST_PAUSE_S
        self._untell("publish_refused")
        self._untell("no_subscriber")
        if not self._collector:
            self._outbox.delivered(seqs)
            self.told.delivered += len(seqs)

    def _refused(self, seq: int, reason: ReasonCode) -> None:
        self.told.refused += 1
        if reason.value in _REFUSED_FOR_GOOD:
            self._set_aside(seq, _ASIDE_FOR_GOOD_S, f"the broker says: {reason}")
            return
        self._outbox.unpublished([seq])
        self._pause()
        self._tell("publish_refused", f"The broker refuses what is published ({reason}); records are kept.")

    def _unheard(self, seq: int) -> None:
        self.told.unheard += 1
        self._outbox.unpublished([seq])
        self._pause()
        self._tell("no_subscriber", "Nobody listens to this device's records; they are kept until a collector does.")

    def _set_aside(self, seq: int, for_s: float, why: str) -> None:
        self.told.set_aside += 1
        self._outbox.set_aside(seq, for_s)
        self._tell(
            "record_set_aside",
            f"Record {seq} can't be delivered, {why}. It is kept and tried again; others that meet this are counted in `stats`.",
        )

    def _pause(self) -> None:
        now = self._monotonic()
        if now < self._pause_until:
            return
        self._pause_until = now + self._pause_s * (0.5 + self._jitter())
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)


def _body(row: Row) -> bytes:
    """The record; marked where it comes late."""
    if not row.historical:
        return row.body
    record: dict[str, Any] = msgspec.json.decode(row.body)
    record["historical"] = True
    return msgspec.json.encode(record)
