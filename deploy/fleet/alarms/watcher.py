"""What boxes say of themselves, kept; and every round: what stands, who is to be told, tell them.

Any number of watchers may run: all keep what they hear, the one that holds the database's lock does the rounds, and another
takes over when it goes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import paho.mqtt.client as paho
import psycopg
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from deploy.fleet.alarms.book import letters, queue_letters, settle, settle_letter
from deploy.fleet.alarms.channels import Channel, channels, words
from deploy.fleet.alarms.conditions import conditions
from deploy.fleet.alarms.settings import WatchSettings
from deploy.fleet.database import Connection, connect
from deploy.fleet.line import address, encrypt, password
from deploy.fleet.schema import check
from device.errors import TransientError
from device.messaging.guarded import GuardedClient, topic_of
from device.messaging.topics import ROOT

__all__ = ["AlarmWatcher", "Broker"]

_TOPIC = re.compile(rf"^{ROOT}/(?P<device>[a-z0-9-]{{1,64}})/(?P<kind>status|info|health|stats)$")
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_MOST_BYTES = 256 * 2**10
_MOST_KEPT = 10_000
"""Payloads that wait for the database: the newest of each box and topic."""
_LOCK = 0x416C61726D73
"""Of the rounds: the bytes of 'Alarms'."""
_PUBACK_S = 10.0

_KEEP = """INSERT INTO latest (device_id, topic, payload) SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[])
ORDER BY 1, 2 ON CONFLICT (device_id, topic) DO UPDATE SET payload = EXCLUDED.payload, received_at = now()"""


@dataclass(frozen=True, kw_only=True)
class Broker:
    """Where boxes are heard."""

    url: str
    username: str = ""
    password_file: str = ""
    ca_file: str = ""


class AlarmWatcher:
    """Runs until `stop`."""

    def __init__(self, settings: WatchSettings, broker: Broker, database: str, report: Callable[[str], None]) -> None:
        """`report` hears what a person should know, once a cause."""
        self.unreadable = 0
        """Messages that were no status, info, health or stats."""
        self._settings, self._broker, self._database, self._report = settings, broker, database, report
        self._channels: dict[str, Channel] = channels(settings, self._publish)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, str], str] = {}
        self._connection: Connection | None = None
        self._troubles: set[str] = set()
        self._client = self._new_client()

    def stop(self) -> None:
        """End after the round in hand; safe in a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Outages of broker and database are waited for; InputError where the database refuses for good."""
        host, port, _ = address(self._broker.url)
        self._client.connect_async(host, port, keepalive=60)
        self._client.loop_start()
        try:
            while not self._stopping.is_set():
                self.round()
                self._stopping.wait(self._settings.every_s)
        finally:
            self._client.disconnect()
            self._client.loop_stop()
            if self._connection is not None:
                self._connection.close()

    def round(self) -> None:
        """Keep what was heard, look, tell."""
        try:
            connection = self._open()
            self._keep(connection)
            if connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() != (True,):
                return
            rules = self._settings.rules
            settle(connection, conditions(connection, rules), rules.clear_after_s)
            queue_letters(connection, self._channels)
            self._tell(connection)
            # A connection holds it once for each time that it asked.
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            self._over("database", "PostgreSQL answers again.")
        except (TransientError, psycopg.Error) as error:
            self._trouble("database", f"{' '.join(str(error).split())}; trying on.")
            if self._connection is not None:
                self._connection.close()

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database)
            check(self._connection)
        return self._connection

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            heard, self._heard = self._heard, {}
        if not heard:
            return
        try:
            _keep(connection, heard)
        except psycopg.DataError:
            # One of them is what jsonb can't hold (a zero character): each by itself, that one left out.
            for key, payload in heard.items():
                try:
                    _keep(connection, {key: payload})
                except psycopg.DataError:
                    self.unreadable += 1
        except psycopg.Error:
            with self._lock:
                self._heard = heard | self._heard
            raise

    def _tell(self, connection: Connection) -> None:
        broken: set[str] = set()
        for letter in letters(connection, self._channels):
            if letter.channel in broken or self._stopping.is_set():
                continue
            try:
                self._channels[letter.channel](letter)
            except TransientError as error:
                broken.add(letter.channel)
                self._trouble(letter.channel, f"{letter.channel}: {error} Tried again.")
                settle_letter(connection, letter, str(error))
                continue
            settle_letter(connection, letter, None)
            self._over(letter.channel, f"{letter.channel} takes alarms again.")
            self._report(f"{letter.channel} was told: {words(letter)}")

    # -- the broker -------------------------------------------------------------------------------------------------------

    def _new_client(self) -> paho.Client:
        client = GuardedClient(CallbackAPIVersion.VERSION2, "", protocol=MQTTProtocolVersion.MQTTv5)
        if self._broker.username:
            client.username_pw_set(self._broker.username, password(self._broker.password_file))
        if address(self._broker.url)[2]:
            encrypt(client, self._broker.ca_file)
        client.on_connect, client.on_disconnect, client.on_message = self._connected, self._disconnected, self._arrived
        client.reconnect_delay_set(1, 30)
        return client

    def _connected(self, client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        if reason.is_failure:
            self._trouble("broker", f"The broker at {self._broker.url} refuses the connection: {reason}; trying on.")
            return
        self._over("broker", "Connected to the broker.")
        client.subscribe([(f"{ROOT}/+/{kind}", 1) for kind in ("status", "info", "health", "stats")])

    def _disconnected(self, _client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        if not self._stopping.is_set():
            self._trouble("broker", f"The connection to the broker was lost ({reason}); trying on.")

    def _arrived(self, _client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        found, payload = _TOPIC.fullmatch(topic_of(message)), bytes(message.payload)
        text = None if found is None else _text(payload)
        if found is None or text is None:
            self.unreadable += bool(payload)  # an empty one takes a retained one away
            return
        with self._lock:
            if len(self._heard) < _MOST_KEPT or (found["device"], found["kind"]) in self._heard:
                self._heard[found["device"], found["kind"]] = text

    def _publish(self, topic: str, payload: bytes) -> None:
        if not self._client.is_connected():
            raise TransientError("no connection to the broker", where=self._broker.url)
        told = self._client.publish(topic, payload, qos=1)
        until = time.monotonic() + _PUBACK_S
        while not told.is_published() and time.monotonic() < until and not self._stopping.is_set():
            time.sleep(0.02)
        if not told.is_published():
            raise TransientError("the broker acknowledged nothing", where=topic)

    def _trouble(self, cause: str, message: str) -> None:
        if cause not in self._troubles:
            self._troubles.add(cause)
            self._report(message)

    def _over(self, cause: str, message: str) -> None:
        if cause in self._troubles:
            self._troubles.discard(cause)
            self._report(message)


def _text(payload: bytes) -> str | None:
    """An object in JSON; None where it is none, or too large."""
    if len(payload) > _MOST_BYTES:
        return None
    try:
        _OBJECT.decode(payload)
        return payload.decode("utf-8")
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return None


def _keep(connection: Connection, heard: dict[tuple[str, str], str]) -> None:
    devices, topics = [device for device, _ in heard], [topic for _, topic in heard]
    connection.execute(_KEEP, (devices, topics, list(heard.values())))
