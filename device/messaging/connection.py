"""The connection to the broker: kept up in the background, MQTT 5 first, 3.1.1 where the broker lacks it.

MQTT 5 comes first because its reason codes tell a refused publish from an accepted one. paho's callbacks run with its locks
held: they leave notes, and the link's thread reads those.
"""

from __future__ import annotations

import queue
import random
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from device.messaging.certificates import Certificates, certificates_of
from device.messaging.client import UNSUPPORTED_PROTOCOL, new_client
from device.messaging.homeassistant import Discovery
from device.messaging.payloads import Info, Status, to_payload
from device.messaging.requests import EVERY, Hand, answer_properties, hear_requests, subscribe
from device.messaging.topics import Topics
from device.records import iso_time

__all__ = ["Answer", "Connection", "LinkState", "Lost", "Message", "Note", "Up"]

_SWITCH_AFTER = 2
"""Failures to connect after which the other protocol version is tried."""

_NOT_RECORDS = 8
"""Of what a broker takes unacknowledged, left to `status`, `info`, `health`, discovery and answers; beyond its maximum it hangs
up."""

_LOOK_AT_FILES_S = 1.0
_RENEW_BEFORE = timedelta(days=30)
"""A person has to come or a server has to send another."""

_MOST_RECEIVED_BYTES = 65536
"""Of one packet from the broker: a collector's word is a fraction of it."""

_MOST_WAITING = 200
"""Messages received and not yet looked at; a flood beyond is dropped and counted."""


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
class Up:
    """The broker took the connection."""

    most_in_flight: int
    """Records that it takes unacknowledged."""
    most_bytes: int | None
    """The largest packet that it takes; None: it sets no limit, or can't say."""


@dataclass(frozen=True)
class Lost:
    """A connection that stood is gone."""


@dataclass(frozen=True)
class Answer:
    """What the broker says to one publish."""

    mid: int
    reason: ReasonCode


@dataclass(frozen=True)
class Message:
    """What somebody sent to this device."""

    leaf: str
    """Topic below the device's root."""
    payload: bytes
    retained: bool


Note = Up | Lost | Answer | Message


class Connection:
    """One client, made anew where the protocol, the certificates or what it holds must go."""

    def __init__(
        self,
        config: MqttConfig,
        address: Address,
        info: Info,
        boot_id: str,
        *,
        window: int,
        discovery: Discovery,
        listen: Sequence[str],
        hand: Hand | None = None,
        wake: Callable[[], None],
        tell: Callable[[str, str], None],
        untell: Callable[[str], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`listen`: leaves to subscribe to; `hand` hears of commands, None: none are taken; `wake` is called for every note;
        `tell(code, message)` hears of troubles, once until `untell(code)`.
        """
        self.state = LinkState.STARTING
        self.notes: queue.SimpleQueue[Note] = queue.SimpleQueue()
        self.flooded = 0
        """Messages dropped: too many at once, or too large."""
        self.info = info
        """Told on every connection."""
        self._config, self._address, self._boot_id, self._window = config, address, boot_id, window
        self._discovery, self._hand = discovery, hand
        self._wake, self._tell, self._untell, self._jitter = wake, tell, untell, jitter
        self._topics = Topics(info.device_id)
        leaves = [*listen, EVERY] if hand else listen
        self._listen = [self._topics.of(leaf) for leaf in leaves] + [discovery.birth_topic] * bool(discovery.birth_topic)
        self._password = password_of(config)
        self._certificates = certificates_of(config, info.device_id, tls=address.tls)
        self._looked_at_s = time.monotonic()
        self._failures = self._hang_ups = 0
        self._leaving = False
        self._version = MQTTProtocolVersion.MQTTv311 if config.protocol == "3.1.1" else MQTTProtocolVersion.MQTTv5
        self._client = self._new_client()

    def open(self) -> None:
        """Connect, and again whenever the connection is lost, in the background; never without certificates that are sound."""
        if self._certificates is not None and not self._take_up(self._certificates) and self._certificates.context is None:
            self._move(LinkState.REFUSED)
            return
        self._client = self._new_client()
        limits = None
        if self._version == MQTTProtocolVersion.MQTTv5:
            limits = Properties(PacketTypes.CONNECT)
            limits.MaximumPacketSize = _MOST_RECEIVED_BYTES
        self._client.connect_async(self._address.host, self._address.port, self._config.keepalive_s, properties=limits)
        self._client.loop_start()

    def publish(self, leaf: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> int:
        """Hand a message to the client; returns its id."""
        return self._client.publish(self._topics.of(leaf), payload, qos, retain).mid

    def answer(self, topic: str, payload: bytes, *, qos: int, correlation: bytes | None, content: str) -> None:
        """Publish to a full topic what somebody asked for."""
        properties = answer_properties(correlation, content) if self._version == MQTTProtocolVersion.MQTTv5 else None
        self._client.publish(topic, payload, qos, properties=properties)

    def tend(self) -> bool:
        """Look after it now and then; whether it was made anew, so that nothing is in flight any more."""
        if self._failures >= _SWITCH_AFTER and self._config.protocol == "auto" and self.state is not LinkState.CONNECTED:
            self._switch_protocol()
            return True
        if self._certificates is not None and time.monotonic() - self._looked_at_s > _LOOK_AT_FILES_S:
            return self._look_at_files(self._certificates)
        return False

    def renew(self) -> None:
        """A new connection from scratch; what the old one held is forgotten."""
        self._leave()
        self._leaving = False
        self.open()

    def close(self, timeout_s: float) -> None:
        """Say `stopped` and leave; for good."""
        if self.state is LinkState.CONNECTED:
            status = Status.now("stopped", self._boot_id)
            self._client.publish(self._topics.of("status"), to_payload(status), qos=1, retain=True).wait_for_publish(timeout_s)
        self._leave()
        self._move(LinkState.STOPPED)

    def _leave(self) -> None:
        self._leaving = True
        self._client.disconnect()
        self._client.loop_stop()
        self._move(LinkState.LOST)

    def _switch_protocol(self) -> None:
        older = self._version == MQTTProtocolVersion.MQTTv5
        self._version = MQTTProtocolVersion.MQTTv311 if older else MQTTProtocolVersion.MQTTv5
        self._failures = 0
        version = "3.1.1" if older else "5"
        self._tell(
            "protocol_switched", f"The broker doesn't take the connection; trying MQTT {version}. mqtt.protocol can fix one."
        )
        self.renew()

    def _look_at_files(self, certificates: Certificates) -> bool:
        self._looked_at_s = time.monotonic()
        if self._take_up(certificates):
            self.renew()
            return True
        ends = certificates.identity.not_after if certificates.identity is not None else None
        if ends is not None and ends - datetime.now(UTC) < _RENEW_BEFORE:
            self._tell("certificate_expiring", f"This device's certificate ends at {iso_time(ends)}; put another in its place.")
        return False

    def _take_up(self, certificates: Certificates) -> bool:
        """Whether other files than before are in use now."""
        try:
            replaced = certificates.replaced()
        except InputError as error:
            goes_on = (
                "There is no connection until they are mended" if certificates.context is None else "The earlier ones hold"
            )
            self._untell("certificate_rejected")
            self._tell("certificate_rejected", f"{error} {goes_on}; records are kept.")
            return False
        if replaced:
            self._untell("certificate_rejected")
            self._untell("certificate_expiring")
        return replaced

    def _new_client(self) -> paho.Client:
        context = self._certificates.context if self._certificates is not None else None
        client = new_client(self._config, self._topics.device_id, self._version, self._password, context)
        client.max_inflight_messages_set(self._window + _NOT_RECORDS)
        # A thousand boxes behind one broker that comes back must not come back in the same second.
        client.reconnect_delay_set(0.5 + self._jitter(), 30 * (0.5 + self._jitter()))  # type: ignore[arg-type]
        will = Status.now("offline", self._boot_id)
        client.will_set(self._topics.of("status"), to_payload(will), qos=1, retain=True)
        client.on_connect = self._connected
        client.on_connect_fail = self._unreachable
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged
        client.on_subscribe = self._subscribed
        client.on_message = self._received
        if self._hand is not None:
            hear_requests(client, self._topics, self._hand)
        return client

    def _move(self, state: LinkState) -> None:
        if state is not self.state and state in _MOVES[self.state]:
            self.state = state

    def _note(self, note: Note) -> None:
        self.notes.put(note)
        self._wake()

    def _connected(self, client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, props: Properties | None) -> None:
        if reason.is_failure:
            self._move(LinkState.REFUSED)
            self._failures += 1 if reason.value not in UNSUPPORTED_PROTOCOL else 2
            if reason.value not in UNSUPPORTED_PROTOCOL:
                where = f"{self._address.host}:{self._address.port}"
                self._tell("broker_refused", f"The broker at {where} refuses the connection: {reason}.")
            self._wake()
            return
        self._failures = self._hang_ups = 0
        most_in_flight = getattr(props, "ReceiveMaximum", self._window + _NOT_RECORDS) - _NOT_RECORDS
        status = Status.now("online", self._boot_id)
        client.publish(self._topics.of("status"), to_payload(status), qos=1, retain=True)
        client.publish(self._topics.of("info"), to_payload(self.info), qos=1, retain=True)
        if self._listen:
            subscribe(client, self._listen)
        self._announce(client)
        self._move(LinkState.CONNECTED)
        self._note(Up(max(min(self._window, most_in_flight), 1), getattr(props, "MaximumPacketSize", None)))

    def _announce(self, client: paho.Client) -> None:
        """What Home Assistant is told."""
        for topic, payload in self._discovery.messages.items():
            client.publish(topic, payload, qos=1, retain=True)

    def _unreachable(self, _client: paho.Client, _user: Any) -> None:
        self._move(LinkState.LOST)
        where, error = f"{self._address.host}:{self._address.port}", sys.exception()  # paho calls this while it handles it
        if isinstance(error, ssl.SSLError):
            why = getattr(error, "verify_message", "") or error.reason or str(error)
            self._tell("broker_untrusted", f"No safe connection to the broker at {where}: {why}; records wait in the outbox.")
            return
        self._tell("broker_lost", f"No broker answers at {where}; records wait in the outbox.")

    def _disconnected(self, _client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        stood = self.state is LinkState.CONNECTED
        if not stood:
            # A broker that lacks MQTT 5 may just hang up on it, and one that wants another certificate.
            self._failures += 1
            self._hung_up()
        if self.state is not LinkState.REFUSED:
            self._move(LinkState.LOST)
        if stood and not self._leaving:
            self._tell("broker_lost", f"The connection to the broker was lost ({reason}); records wait in the outbox.")
            self._note(Lost())
        self._wake()

    def _hung_up(self) -> None:
        """Before it answered."""
        self._hang_ups += 1
        versions = 2 if self._config.protocol == "auto" else 1
        if self._hang_ups >= _SWITCH_AFTER * versions and not self._leaving:
            why = "does it take this device's certificate?" if self._address.tls else "does it want TLS (mqtts://)?"
            where = f"{self._address.host}:{self._address.port}"
            self._tell("broker_refused", f"The broker at {where} ends every connection without an answer; {why}")

    def _acknowledged(self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _props: Any = None) -> None:
        self._note(Answer(mid, reason))

    def _subscribed(self, _client: paho.Client, _user: Any, _mid: int, reasons: list[ReasonCode], _props: Any = None) -> None:
        refused = [topic for topic, reason in zip(self._listen, reasons, strict=False) if reason.is_failure]
        if refused:
            self._tell("subscribe_refused", f"The broker doesn't let this device read {', '.join(refused)}.")

    def _received(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if message.topic == self._discovery.birth_topic:
            if message.payload == b"online":
                self._announce(client)
            return
        if self.notes.qsize() >= _MOST_WAITING + self._window or len(message.payload) > _MOST_RECEIVED_BYTES:
            self.flooded += 1
            return
        leaf = message.topic.removeprefix(self._topics.root + "/")
        self._note(Message(leaf, bytes(message.payload), retained=bool(message.retain)))
