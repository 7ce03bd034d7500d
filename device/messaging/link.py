"""The MQTT link: what waits in the outbox goes out in order, and is done only at a successful PUBACK.

MQTT 5 first, because its reason codes tell a refused publish from an accepted one; 3.1.1 where the broker lacks it. The
wire is at-least-once; (device_id, spool_id, seq) makes the far end exactly-once.
"""

from __future__ import annotations

import queue
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import paho.mqtt.client as paho
from msgspec import Struct
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from device.config import MqttConfig
from device.errors import InputError
from device.messaging.homeassistant import Discovery
from device.messaging.payloads import Info, Status, to_payload
from device.messaging.topics import Topics
from device.storage.outbox import Outbox, Row

__all__ = ["Address", "LinkState", "MqttLink", "parse_url", "password_of"]

WINDOW = 20
"""Rows in flight at a time: enough to hide the round trip, few enough to send again."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_UNSUPPORTED_PROTOCOL = (1, 132)

_HANG_UPS_TOLD = 3
"""Connections in a row that ended with rows in flight and none answered."""

_SWITCH_AFTER = 2
"""Failures to connect after which the other protocol version is tried."""


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
class Address:
    """Where the broker is."""

    host: str
    port: int
    tls: bool


def parse_url(url: str) -> Address:
    """The address in mqtt://host:port or mqtts://host:port; InputError where it isn't one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad_url(url) from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise _bad_url(url)
    if parts.username or parts.password:
        raise InputError(
            "a broker's URL must not hold credentials", where="mqtt.url", remedy="Use mqtt.username and mqtt.password_file."
        )
    tls = parts.scheme == "mqtts"
    return Address(parts.hostname, port or (8883 if tls else 1883), tls)


def _bad_url(url: str) -> InputError:
    return InputError("not a broker's URL", where="mqtt.url", expected="mqtt://host:port or mqtts://host:port", got=url)


class MqttLink:
    """One connection, kept up in the background."""

    def __init__(
        self,
        config: MqttConfig,
        address: Address,
        outbox: Outbox,
        info: Info,
        *,
        on_trouble: Callable[[str, str], None],
        discovery: Discovery | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_trouble(code, message)` hears of refusals, once a cause."""
        self.state = LinkState.STARTING
        self.refused_publishes = 0
        self.published = 0
        self._config, self._address, self._outbox, self._info = config, address, outbox, info
        self._topics = Topics(outbox.device_id)
        self._discovery = discovery or Discovery({}, "")
        self._on_trouble, self._jitter = on_trouble, jitter
        self._password = password_of(config)
        self._wake = threading.Event()
        self._answers: queue.SimpleQueue[tuple[int, ReasonCode]] = queue.SimpleQueue()
        self._in_flight: dict[int, int] = {}  # message id -> seq; the sender's thread alone touches it
        self._sent_to = 0
        self._pause_until = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._failures = 0
        self._hang_ups = 0
        self._told: set[str] = set()
        self._stopping = False
        self._version = MQTTProtocolVersion.MQTTv311 if config.protocol == "3.1.1" else MQTTProtocolVersion.MQTTv5
        self._client = self._new_client()
        self._thread = threading.Thread(target=self._work, name="mqtt-sender", daemon=True)

    def start(self) -> None:
        """Connect in the background; rows go out as soon as it stands."""
        self._open()
        self._thread.start()

    def notify(self) -> None:
        """Rows are waiting."""
        self._wake.set()

    def publish(self, leaf: str, payload: Struct | dict[str, Any], *, retain: bool = False, qos: int = 0) -> None:
        """Publish what isn't kept: stats, health. Dropped where there is no connection."""
        if self.state is LinkState.CONNECTED:
            self._client.publish(self._topics.of(leaf), to_payload(payload), qos=qos, retain=retain)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let what waits go out for a while, say `stopped`, disconnect."""
        until = time.monotonic() + timeout_s
        while self.state is LinkState.CONNECTED and self._outbox.depth() and time.monotonic() < until:
            self._wake.set()
            time.sleep(0.02)
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_s)
        self._settle()
        if self.state is LinkState.CONNECTED:
            status = Status.now("stopped", self._outbox.boot_id)
            sent = self._client.publish(self._topics.of("status"), to_payload(status), qos=1, retain=True)
            sent.wait_for_publish(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()
        self._move(LinkState.STOPPED)

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"holonode-{self._outbox.device_id}", protocol=self._version
        )
        client.max_inflight_messages_set(WINDOW)
        client.reconnect_delay_set(1, 30)
        if self._config.username:
            client.username_pw_set(self._config.username, self._password)
        if self._address.tls:
            client.tls_set(ca_certs=self._config.ca_file or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        will = Status.now("offline", self._outbox.boot_id)
        client.will_set(self._topics.of("status"), to_payload(will), qos=1, retain=True)
        client.on_connect = self._connected
        client.on_connect_fail = self._unreachable
        client.on_disconnect = self._disconnected
        client.on_publish = self._acknowledged
        if self._discovery.birth_topic:
            client.message_callback_add(self._discovery.birth_topic, self._home_assistant_said)
        return client

    def _open(self) -> None:
        self._client.connect_async(self._address.host, self._address.port, self._config.keepalive_s)
        self._client.loop_start()

    def _move(self, state: LinkState) -> None:
        if state is not self.state and state in _MOVES[self.state]:
            self.state = state

    def _connected(self, client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        if reason.is_failure:
            self._move(LinkState.REFUSED)
            self._failures += 1 if reason.value not in _UNSUPPORTED_PROTOCOL else 2
            if reason.value not in _UNSUPPORTED_PROTOCOL:
                self._tell(
                    "broker_refused",
                    f"The broker at {self._address.host}:{self._address.port} refuses the connection: {reason}.",
                )
            return
        self._failures = 0
        self._told.discard("broker_lost")
        client.publish(self._topics.of("status"), to_payload(Status.now("online", self._outbox.boot_id)), qos=1, retain=True)
        client.publish(self._topics.of("info"), to_payload(self._info), qos=1, retain=True)
        if self._discovery.birth_topic:
            client.subscribe(self._discovery.birth_topic, qos=1)
        self._announce(client)
        self._move(LinkState.CONNECTED)
        self._wake.set()

    def _announce(self, client: paho.Client) -> None:
        """What Home Assistant is told."""
        for topic, payload in self._discovery.messages.items():
            client.publish(topic, payload, qos=1, retain=True)

    def _home_assistant_said(self, client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        if message.payload == b"online":
            self._announce(client)

    def _unreachable(self, _client: paho.Client, _user: Any) -> None:
        self._move(LinkState.LOST)
        self._tell(
            "broker_lost", f"No broker answers at {self._address.host}:{self._address.port}; records wait in the outbox."
        )

    def _disconnected(self, _client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        if self.state is LinkState.CONNECTED and not self._stopping:
            self._note_hang_up()
            self._tell("broker_lost", f"The connection to the broker was lost ({reason}); records wait in the outbox.")
        elif self.state is not LinkState.CONNECTED:
            # A broker that lacks MQTT 5 may just hang up on it.
            self._failures += 1
        if self.state is not LinkState.REFUSED:
            self._move(LinkState.LOST)
        self._wake.set()

    def _note_hang_up(self) -> None:
        """Some brokers answer a publish they deny by closing the connection (mosquitto 2.0.11 does)."""
        self._hang_ups = self._hang_ups + 1 if self._in_flight and self._answers.empty() else 0
        if self._hang_ups >= _HANG_UPS_TOLD:
            self.refused_publishes += 1
            topic = f"{self._topics.root}/#"
            self._tell(
                "publish_refused",
                f"The broker hangs up on what is published; does it let {topic} be written? Records are kept.",
            )

    def _acknowledged(self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _props: Any = None) -> None:
        # paho calls this with its own lock held: anything but leaving a note here could wait for a thread in publish().
        self._answers.put((mid, reason))
        self._wake.set()

    def _settle(self) -> None:
        """Rows whose answers have come; only the sender's thread calls this, or nobody after it has ended."""
        done: list[int] = []
        while True:
            try:
                mid, reason = self._answers.get_nowait()
            except queue.Empty:
                break
            seq = self._in_flight.pop(mid, None)
            if seq is None:
                continue
            if reason.is_failure:
                self.refused_publishes += 1
                self._pause_until = time.monotonic() + self._pause_s * (0.5 + self._jitter())
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
                self._tell("publish_refused", f"The broker refuses what is published ({reason}); records are kept.")
            else:
                done.append(seq)
                self._hang_ups = 0
        if done:
            self._outbox.delivered(done)
            self.published += len(done)
            self._pause_s = _FIRST_PAUSE_S
            self._told.discard("publish_refused")

    def _tell(self, code: str, message: str) -> None:
        if code not in self._told:
            self._told.add(code)
            self._on_trouble(code, message)

    def _work(self) -> None:
        while not self._stopping:
            self._wake.wait(timeout=0.5)
            self._wake.clear()
            self._settle()
            if self._failures >= _SWITCH_AFTER and self._config.protocol == "auto" and self.state is not LinkState.CONNECTED:
                self._switch_protocol()
            if self.state is LinkState.CONNECTED and time.monotonic() >= self._pause_until:
                self._send()

    def _switch_protocol(self) -> None:
        older = self._version == MQTTProtocolVersion.MQTTv5
        self._version = MQTTProtocolVersion.MQTTv311 if older else MQTTProtocolVersion.MQTTv5
        self._failures = 0
        version = "3.1.1" if older else "5"
        self._tell(
            "protocol_switched", f"The broker doesn't take the connection; trying MQTT {version}. mqtt.protocol can fix one."
        )
        self._client.loop_stop()
        self._in_flight.clear()
        self._client = self._new_client()
        self._open()

    def _send(self) -> None:
        if not self._in_flight:
            # What was refused, or lost with an old connection, is looked at again from the first waiting row.
            self._sent_to = 0
        for row in self._outbox.pending(WINDOW - len(self._in_flight), self._sent_to):
            sent = self._client.publish(self._topics.of(row.kind), self._body(row), qos=1)
            self._in_flight[sent.mid] = row.seq
            self._sent_to = row.seq

    def _body(self, row: Row) -> bytes:
        """The record; marked historical where an earlier run of the service made it."""
        if row.boot == self._outbox.boot_id:
            return row.body
        record = msgspec.json.decode(row.body)
        record["historical"] = True
        return msgspec.json.encode(record)


def password_of(config: MqttConfig) -> str | None:
    """What the password file holds; None where there is none, InputError where it can't be read."""
    if not config.password_file:
        return None
    try:
        return Path(config.password_file).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError("the password file can't be read", where="mqtt.password_file", got=error.strerror) from error
