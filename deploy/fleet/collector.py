"""From a shared subscription into PostgreSQL: a message is acknowledged only after the commit that holds it.

One thread: it reads a batch, commits it, says how far each spool is whole, acknowledges, and reads on. What is not
acknowledged stays with the broker, in this collector's session, and comes again.
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from deploy.fleet.intake import KINDS, Arrival, Rejection, read
from deploy.fleet.line import address, encrypt, password
from deploy.fleet.notes import Notes
from deploy.fleet.store import BatchResult, Store
from device.errors import InputError, TransientError
from device.messaging.guarded import GuardedClient, topic_of
from device.messaging.payloads import Ack, to_payload
from device.messaging.topics import ROOT, Topics

__all__ = ["Collector", "Settings", "Totals"]

_GROUP = "collectors"
_SESSION_S = 7 * 86_400
"""How long the broker keeps what waits for a collector that is away."""

_LINGER_S = 0.02
"""How long a batch that isn't full waits for more."""

_BATCH_BYTES = 8 * 2**20
"""That a batch is full at, whatever the number of its messages: a dozen copies of it fit into the memory of a small server."""

_LARGEST_PACKET = 64 * 2**20
"""Bytes that a broker may send at once; the MQTT client holds a message several times over while it comes."""

_QUIET_S = 3.0
"""Without a message, after which a collector that leaves has all that waited for it."""

_UNREADABLE = (MQTTException, ValueError, IndexError, KeyError, struct.error)
"""What the MQTT client raises over a packet that it can't take apart."""

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_TAKEN_OVER = 142
_SHORT_S, _SHORT_ONES = 5.0, 3
"""Connections in a row that were cut short: what a second collector of the same name looks like (mosquitto doesn't say)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where from, and as whom."""

    urls: tuple[str, ...]
    """mqtt://host:port or mqtts://host:port; of a cluster several, the next one where one doesn't answer."""
    protocol: Literal["5", "3.1.1"] = "5"
    """3.1.1 has no shared subscriptions: each collector takes every record."""
    name: str
    """Of this collector: one session at the broker, the same after every start, another for each collector."""
    username: str = ""
    password_file: str = ""
    ca_file: str = ""
    leave: bool = False
    """Take what waits in this collector's session and give the session up; others get its share from then on."""
    batch: int = 500
    """Messages in one commit, and the most that are on their way to this collector."""


@dataclass
class Totals:
    """Since the start."""

    records: int = 0
    again: int = 0
    rejected: int = 0
    conflicts: int = 0
    """Under a number that another record has."""
    batches: int = 0

    def add(self, written: BatchResult) -> None:
        """A batch more."""
        self.records += written.records
        self.again += written.again
        self.rejected += written.rejected
        self.conflicts += written.conflicts
        self.batches += 1


@dataclass(frozen=True)
class _CappedMessage:
    """Read when it comes, so that of one that is too large no more is held than is kept."""

    mid: int
    qos: int
    taken: Arrival | Rejection


@dataclass
class _Unacknowledged:
    """What came over the connection that stands, and is not acknowledged."""

    number: int = 0
    stands: bool = False
    since: float = 0.0
    heard: float = 0.0
    """When it began or the last message came."""
    messages: list[_CappedMessage] = field(default_factory=list)
    size: int = 0
    """Bytes of these."""

    def take(self, message: _CappedMessage, size: int) -> None:
        """One more."""
        self.messages.append(message)
        self.size += size
        self.heard = time.monotonic()

    def give(self) -> list[_CappedMessage]:
        """All of them, and begin anew."""
        given, self.messages, self.size = self.messages, [], 0
        return given


class Collector:
    """Runs until `stop`."""

    def __init__(
        self, settings: Settings, store: Store, *, report: Callable[[str], None], jitter: Callable[[], float] = random.random
    ) -> None:
        """`report` hears what a person should know, once a cause."""
        self.totals = Totals()
        self._settings, self._store, self._report, self._jitter = settings, store, report, jitter
        self._notes = Notes(report)
        self._line = _Unacknowledged()
        self._refused: InputError | None = None
        self._troubles: set[str] = set()
        self._stopping = False
        self._cut_short = 0
        self._addresses = [address(url) for url in settings.urls]
        self._attempts = 0
        self._client = self._new_client()

    def stop(self) -> None:
        """Finish the batch in hand and end; safe in a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """InputError where broker or database refuse for good; outages are waited for."""
        self._look_at_database()
        self._call()
        while not self._stopping:
            if not self._serve(1.0 if not self._line.messages else 0.0):
                self._call()
            elif self._line.messages and self._gather():
                self._settle()
            elif self._settings.leave and time.monotonic() - self._line.heard > _QUIET_S:
                self._forget()
        self._client.disconnect()
        self._store.close()

    def _look_at_database(self) -> None:
        """What is wrong with it is said before the first record comes."""
        try:
            self._store.open()
        except TransientError as error:
            self._trouble("database", f"{error} Records wait at the broker.")

    def _forget(self) -> None:
        """End the session with the connection; 3.1.1 can't, but nothing comes into one without a subscription."""
        self._stopping = True
        self._report(f"{self._settings.name} has what waited for it and gives up its place.")
        if self._settings.protocol == "5":
            ended = Properties(PacketTypes.DISCONNECT)
            ended.SessionExpiryInterval = 0
            self._client.disconnect(properties=ended)

    # -- the line ---------------------------------------------------------------------------------------------------------

    def _new_client(self) -> paho.Client:
        modern = self._settings.protocol == "5"
        client = GuardedClient(
            CallbackAPIVersion.VERSION2, f"holonode-collector-{self._settings.name}", manual_ack=True,
            clean_session=None if modern else False,
            protocol=MQTTProtocolVersion.MQTTv5 if modern else MQTTProtocolVersion.MQTTv311,
        )  # fmt: skip
        if self._settings.username:
            client.username_pw_set(self._settings.username, password(self._settings.password_file))
        if len({tls for *_, tls in self._addresses}) != 1:
            raise InputError(
                "either all brokers are called with TLS or none", where="--mqtt", got=", ".join(self._settings.urls)
            )
        if self._addresses[0][2]:
            encrypt(client, self._settings.ca_file)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_subscribe, client.on_message = self._subscribed, self._arrived
        return client

    def _dial(self) -> None:
        """Connect to the next address."""
        host, port, _ = self._addresses[self._attempts % len(self._addresses)]
        self._attempts += 1
        if self._settings.protocol == "5":
            lasting = Properties(PacketTypes.CONNECT)
            lasting.SessionExpiryInterval = _SESSION_S
            lasting.ReceiveMaximum = self._settings.batch
            lasting.MaximumPacketSize = _LARGEST_PACKET
            self._client.connect_async(host, port, keepalive=60, clean_start=False, properties=lasting)
        else:
            self._client.connect_async(host, port, keepalive=60)
        self._client.reconnect()

    @property
    def _where(self) -> str:
        return self._settings.urls[(self._attempts - 1) % len(self._addresses)]

    def _call(self) -> None:
        """Connect; tried until it works."""
        pause_s = _FIRST_PAUSE_S
        while not self._stopping and not self._line.stands:
            try:
                self._dial()
                until = time.monotonic() + 10
                while not self._line.stands and not self._stopping and time.monotonic() < until and self._serve(0.5):
                    pass
            except OSError as error:
                self._trouble("broker", f"No broker at {self._where} ({error}); trying on.")
            if not self._line.stands:
                self._rest(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _serve(self, timeout_s: float) -> bool:
        """Read and write once; False where there is no connection."""
        try:
            served = self._client.loop(timeout_s) is MQTTErrorCode.MQTT_ERR_SUCCESS
        except _UNREADABLE as error:
            # Called anew, the client begins with a whole packet again.
            self._trouble("broker", f"What the broker at {self._where} sent can't be read ({error}); trying on.")
            self._line = _Unacknowledged(self._line.number)
            self._rest(_FIRST_PAUSE_S)
            served = False
        if self._refused is not None:
            raise self._refused
        return served

    def _rest(self, pause_s: float) -> None:
        """Sleep, but not through a `stop`."""
        until = time.monotonic() + pause_s * (0.5 + self._jitter())
        while not self._stopping and time.monotonic() < until:
            time.sleep(0.05)

    def _connected(self, client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        if reason.is_failure:
            self._trouble("broker", f"The broker at {self._where} refuses the connection: {reason}; trying on.")
            return
        self._over("broker", "Connected to the broker.")
        self._line = _Unacknowledged(self._line.number + 1, stands=True, since=time.monotonic(), heard=time.monotonic())
        topics = [f"{self._share}{ROOT}/+/{kind}" for kind in KINDS]
        if self._settings.leave:
            client.unsubscribe(topics)
        else:
            client.subscribe([(topic, 1) for topic in topics])

    @property
    def _share(self) -> str:
        return f"$share/{_GROUP}/" if self._settings.protocol == "5" else ""

    def _subscribed(self, _client: paho.Client, _user: Any, _mid: int, reasons: list[ReasonCode], _props: Any = None) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        if refused:
            self._refused = InputError(
                "the broker refuses the subscription", where=self._where, expected=f"{self._share}{ROOT}/+/detections",
                got=refused[0], remedy="Does its access list let this user read? One without shared subscriptions: --protocol 3.1.1.",
            )  # fmt: skip
        elif self._line.number == 1:
            self._report(f"Collects from {self._where} as {self._settings.name}.")

    def _disconnected(self, _client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        # The broker sends again what it has no answer to; an answer on the next connection could be for another message.
        short = self._line.stands and time.monotonic() - self._line.since < _SHORT_S
        self._cut_short = self._cut_short + 1 if short else 0
        self._line = _Unacknowledged(self._line.number)
        if self._cut_short >= _SHORT_ONES:
            self._trouble(
                "name", f"The broker cuts connections short: does another collector have the name {self._settings.name}?"
            )
        if reason.value == _TAKEN_OVER:
            self._refused = InputError(
                "another collector has this name", where=self._where, got=self._settings.name,
                remedy="Give each collector a --name of its own.",
            )  # fmt: skip
        elif not self._stopping:
            self._trouble("broker", f"The connection to the broker was lost ({reason}); trying on.")

    def _arrived(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        self._line.take(
            _CappedMessage(message.mid, message.qos, read(topic_of(message), bytes(message.payload))), len(message.payload)
        )

    # -- batches ----------------------------------------------------------------------------------------------------------

    def _gather(self) -> bool:
        """Let a batch fill for a moment; False where the connection is lost."""
        until = time.monotonic() + _LINGER_S
        while not self._is_full and (left_s := until - time.monotonic()) > 0:
            if not self._serve(left_s):
                return False
        return bool(self._line.messages)

    @property
    def _is_full(self) -> bool:
        return len(self._line.messages) >= self._settings.batch or self._line.size >= _BATCH_BYTES

    def _settle(self) -> None:
        """Commit what has come, say so, acknowledge; while the database is away, wait with it."""
        line = self._line
        batch = line.give()
        taken = [message.taken for message in batch]
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                written = self._store.commit(taken)
                break
            except TransientError as error:
                self._trouble("database", f"{error} Records wait at the broker.")
                if self._stopping or not self._wait_connected(line, pause_s):
                    return
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        self._over("database", "PostgreSQL takes records again.")
        self.totals.add(written)
        self._notes.add(written.notes)
        for mark in written.marks:
            ack = Ack(spool_id=mark.spool_id, seq=mark.seq, first=mark.first)
            self._client.publish(Topics(mark.device_id).of("ack"), to_payload(ack), qos=1)
        for message in batch:
            # Of a connection that has ended, the broker sends these again: they are in the database, and known by their key.
            if self._line is not line:
                return
            self._client.ack(message.mid, message.qos)

    def _wait_connected(self, line: _Unacknowledged, pause_s: float) -> bool:
        """Pause; False at once when the connection is lost, for then the batch comes again."""
        until = time.monotonic() + pause_s * (0.5 + self._jitter())
        while not self._stopping and (left_s := until - time.monotonic()) > 0:
            if not self._serve(min(left_s, 0.2)) or self._line is not line:
                return False
        return not self._stopping

    def _trouble(self, cause: str, message: str) -> None:
        if cause not in self._troubles:
            self._troubles.add(cause)
            self._report(message)

    def _over(self, cause: str, message: str) -> None:
        if cause in self._troubles:
            self._troubles.discard(cause)
            self._report(message)
