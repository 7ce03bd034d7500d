"""The connection to the broker: kept up in the background, MQTT 5 first, 3.1.1 where the broker lacks it.

MQTT 5 comes first because its reason codes tell a refused publish from an accepted one. A client lives for one connection: what
the broker takes is known only after its CONNACK, so nothing may wait in a client for the next one. paho's callbacks run with its
locks held: they leave notes, and the link's thread reads those.
"""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device.config import MqttConfig
from device.errors import InputError
from device.messaging.address import Address, password_of
from device.messaging.backoff import Backoff
from device.messaging.certificates import Certificates, certificates_of
from device.messaging.client import UNSUPPORTED_PROTOCOL, new_client
from device.messaging.guarded import GuardedClient
from device.messaging.limits import Limits
from device.messaging.payloads import Status, to_payload
from device.messaging.reasons import QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED, named, remedy_of
from device.messaging.requests import RequestCallback, add_request_callback, request_leaves, subscribe
from device.messaging.topics import Topics
from device.records import iso_time

__all__ = ["Connection", "ConnectionEstablished", "ConnectionEvent", "ConnectionLost", "LinkState", "Puback", "ReceivedMessage"]

_SWITCH_AFTER = 2
"""Failures to connect after which the other protocol version is tried, and after both another will."""

_LOOK_AT_FILES_S = 1.0
_RENEW_BEFORE = timedelta(days=30)
"""A person has to come or a server has to send another."""

_ANSWER_WITHIN_S = 40.0
"""To a call, TLS included; beyond, it is given up."""
_LEAVE_WITHIN_S = 2.0

_UNSPECIFIED = 128

_MOST_RECEIVED_BYTES = 65536
"""Of one packet from the broker: a collector's word is a fraction of it."""

_MOST_WAITING = 1200
"""Messages received and not yet looked at; a flood beyond is dropped and counted."""

_WILLS = (Limits(), Limits(retains=False), Limits(qos=0), Limits(qos=0, retains=False))
"""What the last will may ask of the broker. One that refuses a CONNECT over it by 3.1.1, or says nothing, doesn't say why."""

_ASK_AGAIN_S = 3600.0
"""After which the whole will is asked for again: what a broker that gives no reason refused may have been something else."""


class LinkState(Enum):
    """Where the connection stands."""

    STARTING = "starting"
    CONNECTED = "connected"
    REFUSED = "refused"
    LOST = "lost"
    STOPPED = "stopped"


_MOVES: dict[LinkState, set[LinkState]] = {
    LinkState.STARTING: {LinkState.CONNECTED, LinkState.REFUSED, LinkState.LOST, LinkState.STOPPED},
    LinkState.CONNECTED: {LinkState.LOST, LinkState.STOPPED},
    LinkState.REFUSED: {LinkState.CONNECTED, LinkState.REFUSED, LinkState.LOST, LinkState.STOPPED},
    LinkState.LOST: {LinkState.CONNECTED, LinkState.REFUSED, LinkState.LOST, LinkState.STOPPED},
    LinkState.STOPPED: set(),
}


@dataclass(frozen=True)
class ConnectionEstablished:
    """The broker took the connection."""

    limits: Limits


@dataclass(frozen=True)
class ConnectionLost:
    """A connection that stood is gone."""

    reason: int | None = None
    """A reason code; None: the other side closed it without one."""
    by_broker: bool = False
    """Whether the broker gave the reason; else this side did."""
    stood_s: float = 0.0
    asked: bool = False
    """Whether this side ended it."""


@dataclass(frozen=True)
class Puback:
    """What the broker says to one publish."""

    mid: int
    reason: ReasonCode


@dataclass(frozen=True)
class ReceivedMessage:
    """What somebody sent to this device."""

    topic: str
    payload: bytes
    retained: bool


ConnectionEvent = ConnectionEstablished | ConnectionLost | Puback | ReceivedMessage


class Connection:
    """One connection after the other."""

    def __init__(
        self,
        config: MqttConfig,
        address: Address,
        device_id: str,
        boot_id: str,
        *,
        listen: Sequence[str],
        on_request: RequestCallback | None = None,
        on_event: Callable[[], None],
        raise_warning: Callable[[str, str], None],
        clear_warning: Callable[[str], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`listen`: topics to subscribe to; `on_request` hears of commands, None: none are taken; `on_event` is called for every event;
        `raise_warning(code, message)` hears of troubles, once until `clear_warning(code)`.
        """
        self.state = LinkState.STARTING
        self.events: queue.SimpleQueue[ConnectionEvent] = queue.SimpleQueue()
        self.flooded = 0
        """Messages dropped: too many at once, or too large."""
        self.calls = 0
        """Connections that were tried."""
        self.limits = Limits()
        """Of the last connection."""
        self._config, self._address, self._boot_id = config, address, boot_id
        self._topics = Topics(device_id)
        self._listen, self._on_request = list(listen), on_request
        self._on_event, self._raise_warning, self._clear_warning = on_event, raise_warning, clear_warning
        self._password = password_of(config)
        self._certificates = certificates_of(config, device_id, tls=address.tls)
        self._looked_at_s = time.monotonic()
        self._failures = self._hang_ups = 0
        self._will, self._will_at_s = 0, 0.0
        self._learned = Limits()
        self._version = MQTTProtocolVersion.MQTTv311 if config.protocol == "3.1.1" else MQTTProtocolVersion.MQTTv5
        self._client: GuardedClient | None = None
        self._asked = 0
        self._over = threading.Event()
        self._over.set()
        self._leaving = self._closed = self._answered = False
        self._backoff = Backoff(jitter)
        self._call_at_s = self._called_at_s = self._up_at_s = 0.0
        self._subscribing: dict[int | None, list[str]] = {}

    # -- for the link's thread --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, and again whenever the connection is lost, as `tend` sees to; never without certificates that are sound."""
        if self._certificates is not None and not self._take_up(self._certificates) and self._certificates.context is None:
            self._move(LinkState.REFUSED)
            return
        self._call()

    def tend(self) -> None:
        """Look after it now and then."""
        now = time.monotonic()
        if self._certificates is not None and now - self._looked_at_s > _LOOK_AT_FILES_S:
            self._look_at_files(self._certificates)
        if self.state is LinkState.CONNECTED and self._will and now - self._will_at_s > _ASK_AGAIN_S:
            self._will = 0
            self.renew()
        if self.state is LinkState.CONNECTED or self._closed:
            return
        if self._failures >= _SWITCH_AFTER and self._over.is_set():
            self._try_another_way()
        if not self._over.is_set() and now - self._called_at_s > _ANSWER_WITHIN_S:
            self._hung_up()
            self._leave()
            self._call_at_s = now + self._backoff.delay_s()
        sound = self._certificates is None or self._certificates.context is not None
        if self._over.is_set() and now >= self._call_at_s and sound:
            self._call()

    def publish(
        self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False, properties: Properties | None = None
    ) -> int:
        """Hand a message to the client, at the QoS and retained as far as the broker takes that; returns its id."""
        limits, client = self.limits, self._client
        if client is None:
            return 0
        kept = retain and limits.retains
        return client.publish(topic, payload, min(qos, limits.qos), kept, properties if limits.modern else None).mid

    def ask(self) -> None:
        """Have the broker answer: once it has, it hung up on nothing that went out before."""
        if self._client is not None:
            self._asked = self._client.ping()

    @property
    def asking(self) -> bool:
        """Whether that answer is still to come."""
        return self._client is not None and self._client.pongs < self._asked

    def sound(self) -> None:
        """The connection did what it is for: its loss would be the first."""
        self._backoff.reset()

    def call_after(self, delay_s: float) -> None:
        """Not before."""
        self._call_at_s = time.monotonic() + delay_s

    def renew(self) -> None:
        """A new connection from scratch, at once."""
        self._leave()
        self._call()

    def close(self, timeout_s: float) -> None:
        """Say `stopped` and leave; for good."""
        self._closed = True
        if self.state is LinkState.CONNECTED and self._client is not None:
            status = to_payload(Status.now("stopped", self._boot_id))
            topic, limits = self._topics.of("status"), self.limits
            if limits.fits(topic, status, limits.qos):
                # ValueError, RuntimeError: the connection went away meanwhile.
                with contextlib.suppress(ValueError, RuntimeError):
                    self._client.publish(topic, status, limits.qos, limits.retains).wait_for_publish(timeout_s)
        self._leave()
        self._move(LinkState.STOPPED)

    def _call(self) -> None:
        self._leave()
        self._leaving = self._answered = False
        self._over.clear()
        self._called_at_s = time.monotonic()
        self.calls += 1
        self._asked = 0
        self._client = client = self._new_client()
        limits = None
        if self._version == MQTTProtocolVersion.MQTTv5:
            limits = Properties(PacketTypes.CONNECT)
            limits.MaximumPacketSize = _MOST_RECEIVED_BYTES
        client.connect_async(self._address.host, self._address.port, self._config.keepalive_s, properties=limits)
        client.loop_start()

    def _leave(self) -> None:
        """End the connection, or the attempt."""
        self._leaving = True
        if self._client is None:
            return
        self._client.disconnect()
        if not self._over.wait(_LEAVE_WITHIN_S) and isinstance(line := self._client.socket(), socket.socket):
            # What can't be written would be waited for as long as the keep-alive lasts.
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        # A thread of the client's that looks up a name may take a minute to come back; nothing here waits for that.
        ends = threading.Thread(target=self._client.loop_stop, name="mqtt-leaves", daemon=True)
        ends.start()
        ends.join(_LEAVE_WITHIN_S)
        self._client = None
        self._over.set()
        if self.state is LinkState.CONNECTED:
            self._move(LinkState.LOST)

    def _try_another_way(self) -> None:
        """The other version of the protocol, where both may be spoken, and another will once that was tried as well."""
        self._failures = 0
        versions = 2 if self._config.protocol == "auto" else 1
        if self._hang_ups and self._hang_ups % (_SWITCH_AFTER * versions) == 0:
            self._will = (self._will + 1) % len(_WILLS)
            self._will_at_s = time.monotonic()
        if versions == 2:
            older = self._version == MQTTProtocolVersion.MQTTv5
            self._version = MQTTProtocolVersion.MQTTv311 if older else MQTTProtocolVersion.MQTTv5
            self._raise_warning(
                "protocol_switched",
                f"The broker doesn't take the connection; trying MQTT {'3.1.1' if older else '5'}. mqtt.protocol can fix one.",
            )
            self._call_at_s = 0.0

    # -- certificates -----------------------------------------------------------------------------------------------------

    def _look_at_files(self, certificates: Certificates) -> None:
        self._looked_at_s = time.monotonic()
        if self._take_up(certificates):
            self.renew()
            return
        ends = certificates.identity.not_after if certificates.identity is not None else None
        if ends is not None and ends - datetime.now(UTC) < _RENEW_BEFORE:
            self._raise_warning(
                "certificate_expiring", f"This device's certificate ends at {iso_time(ends)}; put another in its place."
            )

    def _take_up(self, certificates: Certificates) -> bool:
        """Whether other files than before are in use now."""
        try:
            replaced = certificates.replaced()
        except InputError as error:
            goes_on = (
                "There is no connection until they are mended" if certificates.context is None else "The earlier ones hold"
            )
            self._clear_warning("certificate_rejected")
            self._raise_warning("certificate_rejected", f"{error} {goes_on}; records are kept.")
            return False
        if replaced:
            self._clear_warning("certificate_rejected")
            self._clear_warning("certificate_expiring")
        return replaced

    # -- for paho's thread ------------------------------------------------------------------------------------------------

    def _new_client(self) -> GuardedClient:
        context = self._certificates.context if self._certificates is not None else None
        client = new_client(self._config, self._topics.device_id, self._version, self._password, context)
        client.max_inflight_messages_set(0)  # the link sees to it, by what the broker announces
        client.reconnect_delay_set(0, 1)
        ask = _WILLS[self._will].narrowed(self._learned)
        will = Status.now("offline", self._boot_id)
        client.will_set(self._topics.of("status"), to_payload(will), qos=ask.qos, retain=ask.retains)
        client.on_connect = self._connected
        client.on_connect_fail = self._unreachable
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        client.on_pong = self._on_event
        if self._on_request is not None:
            add_request_callback(client, self._topics, self._on_request)
        return client

    def _move(self, state: LinkState) -> None:
        if state is not self.state and state in _MOVES[self.state]:
            self.state = state

    def _put_event(self, event: ConnectionEvent) -> None:
        self.events.put(event)
        self._on_event()

    @property
    def _where(self) -> str:
        return f"{self._address.host}:{self._address.port}"

    def _connected(self, client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, props: Properties | None) -> None:
        self._answered = True
        if reason.is_failure:
            self._refused(reason.value)
            return
        if self._leaving:
            client.disconnect()
            return
        modern = self._version == MQTTProtocolVersion.MQTTv5
        # By 3.1.1, that a lesser will was taken is all there is to know.
        learned = self._learned if modern else self._learned.narrowed(_WILLS[self._will])
        self.limits = Limits.of(props, modern=modern).narrowed(learned)
        self._failures = self._hang_ups = 0
        if modern or time.monotonic() - self._will_at_s > _ASK_AGAIN_S:
            self._will = 0
        self._up_at_s = time.monotonic()
        self._move(LinkState.CONNECTED)
        self._put_event(ConnectionEstablished(self.limits))
        leaves = request_leaves(self.limits) if self._on_request else []
        self._subscribing = subscribe(client, [*self._listen, *map(self._topics.of, leaves)], self.limits)

    def _refused(self, code: int) -> None:
        self._move(LinkState.REFUSED)
        if code in UNSUPPORTED_PROTOCOL:
            self._failures += _SWITCH_AFTER
        elif code in (RETAIN_NOT_SUPPORTED, QOS_NOT_SUPPORTED):
            # Of the last will: another one is tried at once.
            self._learn(code)
        else:
            self._failures += 1
            self._raise_warning(
                "broker_refused", f"The broker at {self._where} refuses the connection: {named(code)}. {remedy_of(code)}."
            )
        self._on_event()

    def _learn(self, code: int) -> None:
        before = self._learned
        qos, retains = code == QOS_NOT_SUPPORTED, code == RETAIN_NOT_SUPPORTED
        self._learned = replace(before, qos=0 if qos else before.qos, retains=before.retains and not retains)
        if self._learned != before:
            self._backoff.reset()

    def _unreachable(self, _client: paho.Client, _user: Any) -> None:
        self._move(LinkState.LOST)
        error = sys.exception()  # paho calls this while it handles it
        self._end()
        if isinstance(error, ssl.SSLError):
            why = getattr(error, "verify_message", "") or error.reason or str(error)
            self._raise_warning(
                "broker_untrusted", f"No safe connection to the broker at {self._where}: {why}; records wait in the outbox."
            )
            return
        self._raise_warning("broker_lost", f"No broker answers at {self._where}; records wait in the outbox.")

    def _end(self) -> None:
        if not self._leaving:
            self._call_at_s = time.monotonic() + self._backoff.delay_s()
        self._over.set()
        self._on_event()

    def _disconnected(self, _client: paho.Client, _user: Any, flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        stood = self.state is LinkState.CONNECTED
        said = flags.is_disconnect_packet_from_server
        if stood:
            if said and reason.value in (RETAIN_NOT_SUPPORTED, QOS_NOT_SUPPORTED):
                self._learn(reason.value)
            # paho calls what was closed without a word unspecified.
            code = reason.value if said or reason.value != _UNSPECIFIED else None
            self.events.put(ConnectionLost(code, said, time.monotonic() - self._up_at_s, asked=self._leaving))
        elif not self._answered and not self._leaving:
            # A broker that lacks MQTT 5 may just hang up on it, and one that wants another certificate.
            self._failures += 1
            self._hung_up()
        if stood or not self._answered:
            self._move(LinkState.LOST)
        self._end()

    def _hung_up(self) -> None:
        """Before it answered."""
        self._hang_ups += 1
        versions = 2 if self._config.protocol == "auto" else 1
        if self._hang_ups >= _SWITCH_AFTER * versions:
            why = "does it take this device's certificate?" if self._address.tls else "does it want TLS (mqtts://)?"
            self._raise_warning("broker_refused", f"The broker at {self._where} ends every connection without an answer; {why}")

    def _acknowledged(self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _props: Any = None) -> None:
        self._put_event(Puback(mid, reason))

    def _subscribed(self, _client: paho.Client, _user: Any, mid: int, reasons: list[ReasonCode], _props: Any = None) -> None:
        topics = self._subscribing.get(mid, [])
        refused = [(topic, reason) for topic, reason in zip(topics, reasons, strict=False) if reason.is_failure]
        if refused:
            told = ", ".join(f"{topic} ({named(reason.value)})" for topic, reason in refused)
            self._raise_warning("subscribe_refused", f"The broker doesn't let this device read {told}.")

    def _received(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if self.events.qsize() >= _MOST_WAITING or len(message.payload) > _MOST_RECEIVED_BYTES:
            self.flooded += 1
            return
        self._put_event(ReceivedMessage(message.topic, bytes(message.payload), retained=bool(message.retain)))
