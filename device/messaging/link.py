"""The MQTT link: what waits in the outbox goes out, a collector's word comes in.

The wire is at-least-once; (device_id, spool_id, seq) makes the far end exactly-once.

connection  the client, kept up; address, certificates and client say how it is set up
sender      which row goes out next, and what becomes of it
"""

from __future__ import annotations

import logging
import math
import queue
import random
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from msgspec import Struct

from device.config import DeliveryConfig, MqttConfig
from device.messaging.address import Address, parse_url, password_of
from device.messaging.connection import Answer, Connection, LinkState, Lost, Up
from device.messaging.homeassistant import Discovery
from device.messaging.payloads import Info, to_payload
from device.messaging.requests import Hand
from device.messaging.sender import Sender
from device.storage.outbox import Outbox

__all__ = ["Address", "LinkState", "MqttLink", "parse_url", "password_of"]

log = logging.getLogger("holonode")

_STEADY_S = 30.0
"""A connection that stands for so long is sound again; until then its next loss is the same trouble, told already."""
_OF_THE_CONNECTION = {"broker_lost", "broker_untrusted", "broker_refused"}


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
        delivery: DeliveryConfig | None = None,
        discovery: Discovery | None = None,
        on_request: Hand | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_trouble(code, message)` hears of refusals, once a cause; `on_request` of commands, in paho's thread."""
        settings = delivery or DeliveryConfig()
        self._on_trouble = on_trouble
        self._wake = threading.Event()
        self._told: set[str] = set()
        self._stopping = False
        self._faults = 0
        self._up_at = math.inf
        self._turned_s = time.monotonic()
        self._connection = Connection(
            config,
            address,
            info,
            outbox.boot_id,
            window=settings.window,
            discovery=discovery or Discovery({}, ""),
            listen=["ack"] if settings.confirm == "collector" else [],
            hand=on_request,
            wake=self._wake.set,
            tell=self._tell,
            untell=self._told.discard,
            jitter=jitter,
        )
        self._sender = Sender(outbox, settings, self._publish_row, tell=self._tell, untell=self._told.discard, jitter=jitter)
        self._thread = threading.Thread(target=self._work, name="mqtt-sender", daemon=True)

    @property
    def state(self) -> LinkState:
        """Where the connection stands."""
        return self._connection.state

    @property
    def refused_publishes(self) -> int:
        """By the broker, since the start."""
        return self._sender.told.refused

    @property
    def published(self) -> int:
        """Records delivered since the start."""
        return self._sender.told.delivered

    def stats(self) -> dict[str, Any]:
        """What was counted since the start, for `stats`."""
        return {**asdict(self._sender.told), "flooded": self._connection.flooded, "faults": self._faults}

    def start(self) -> None:
        """Connect in the background; rows go out as soon as it stands."""
        self._connection.open()
        self._turned_s = time.monotonic()
        self._thread.start()

    def late(self, allow_s: float) -> str | None:
        """What takes longer than a turn of the link's thread may; None where nothing does."""
        hangs = not self._stopping and time.monotonic() - self._turned_s > allow_s
        return f"the link takes more than {allow_s:g} s" if hangs else None

    def notify(self) -> None:
        """Rows are waiting."""
        self._wake.set()

    def publish(self, leaf: str, payload: Struct | dict[str, Any], *, retain: bool = False, qos: int = 0) -> None:
        """Publish what isn't kept: stats, health. Dropped where there is no connection."""
        if self.state is LinkState.CONNECTED:
            self._connection.publish(leaf, to_payload(payload), qos=qos, retain=retain)

    def send(self, topic: str, payload: bytes, *, qos: int = 1, correlation: bytes | None = None, content: str = "") -> None:
        """Publish what somebody asked for, to a full topic. Dropped where there is no connection."""
        if self.state is LinkState.CONNECTED:
            self._connection.answer(topic, payload, qos=qos, correlation=correlation, content=content)

    def tell(self, info: Info) -> None:
        """`info`, at once and on every connection from here on."""
        self._connection.info = info
        self.publish("info", info, retain=True, qos=1)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let what waits go out for a while, say `stopped`, disconnect."""
        until = time.monotonic() + timeout_s
        while self.state is LinkState.CONNECTED and self._sender.busy and time.monotonic() < until:
            self._wake.set()
            time.sleep(0.02)
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._hear()
        self._connection.close(timeout_s)

    def _publish_row(self, leaf: str, payload: bytes) -> int:
        return self._connection.publish(leaf, payload, qos=1)

    def _work(self) -> None:
        while not self._stopping:
            self._turned_s = time.monotonic()
            self._wake.wait(timeout=0.5)
            self._wake.clear()
            try:
                self._turn()
            except Exception:
                # Records go on being made whatever happens here; a link that ended by itself would never send them.
                self._faults += 1
                if self._faults == 1:
                    log.exception("the link met a fault; further ones are only counted")
                time.sleep(1.0)

    def _turn(self) -> None:
        self._hear()
        if time.monotonic() - self._up_at > _STEADY_S:
            self._told -= _OF_THE_CONNECTION
        if self._connection.tend():
            self._sender.renewed()
        if self._sender.wants_renewal:
            self._connection.renew()
            self._sender.renewed()
        self._sender.work(connected=self.state is LinkState.CONNECTED)

    def _hear(self) -> None:
        """What came in since the last time; only the link's thread calls this, or nobody after it has ended."""
        answers: list[Answer] = []
        while True:
            try:
                note = self._connection.notes.get_nowait()
            except queue.Empty:
                break
            if isinstance(note, Answer):
                answers.append(note)
                continue
            self._sender.answered(answers)
            answers = []
            if isinstance(note, Up):
                self._up_at = time.monotonic()
                self._sender.up(note)
            elif isinstance(note, Lost):
                self._up_at = math.inf
                self._sender.lost()
            else:
                self._sender.acked(note.payload, retained=note.retained)
        self._sender.answered(answers)

    def _tell(self, code: str, message: str) -> None:
        if code not in self._told:
            self._told.add(code)
            self._on_trouble(code, message)
