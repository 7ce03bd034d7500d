"""The MQTT link: what waits in the outbox goes out, a collector's word comes in.

The wire is at-least-once; (device_id, spool_id, seq) makes the far end exactly-once.

connection  one client after the other; address, certificates and client say how it is set up, limits what the broker takes
sender      which row goes out next, and what becomes of it
statements  what is said beside the records, and shortened where it must be
backoff     when to call again, and whether another client has this one's name
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
from datetime import UTC, datetime

from msgspec import Struct

from device.config import DeliveryConfig, MqttConfig
from device.errors import InputError
from device.messaging.address import Address, parse_url, password_of
from device.messaging.backoff import Contention
from device.messaging.client import client_id_of
from device.messaging.connection import Connection, ConnectionEstablished, ConnectionLost, LinkState, Puback, ReceivedMessage
from device.messaging.homeassistant import Discovery
from device.messaging.limits import Limits
from device.messaging.payloads import Info, Status
from device.messaging.reasons import named
from device.messaging.report import Ending, LinkFigures, LinkReport
from device.messaging.requests import RequestCallback, answer_properties
from device.messaging.sender import Sender
from device.messaging.statements import Statements, earlier
from device.messaging.topics import Topics
from device.records import iso_time
from device.storage.outbox import Outbox

__all__ = ["Address", "LinkState", "MqttLink", "parse_url", "password_of"]

log = logging.getLogger("holonode")

_STEADY_S = 30.0
"""A connection that stands for so long is sound again; until then its next loss is the same trouble, told already."""
_ONE_BY_ONE = 40
"""Messages after a connection that was cut with some in flight: two windows, so that what it was cut at is among them."""
_OF_THE_CONNECTION = {"broker_lost", "broker_untrusted", "broker_refused"}


class MqttLink:
    """One connection after the other, in the background."""

    def __init__(
        self,
        config: MqttConfig,
        address: Address,
        outbox: Outbox,
        info: Info,
        *,
        on_warning: Callable[[str, str], None],
        delivery: DeliveryConfig | None = None,
        discovery: Discovery | None = None,
        on_request: RequestCallback | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`on_warning(code, message)` hears of refusals, once a cause; `on_request` of commands, in paho's thread."""
        settings = delivery or DeliveryConfig()
        self._on_warning = on_warning
        self._wake = threading.Event()
        self._active_warnings: set[tuple[str, str]] = set()
        self._stopping = False
        self._faults = self._losses = 0
        self._up_at = math.inf
        self._lost: Ending | None = None
        self._one_by_one = 0  # messages still to go out so
        self._went: Sender | Statements | None = None  # whose message went out so, and isn't proven
        self._asked = self._records_turn = False
        self._delivered = 0
        self._boot_id = outbox.boot_id
        self._topics = Topics(outbox.device_id)
        self._discovery = discovery or Discovery({}, "")
        listen = [self._topics.of("ack")] * (settings.confirm == "collector") + [self._discovery.birth_topic]
        self._contention = Contention(jitter)
        self._turned_s = time.monotonic()
        self._connection = Connection(
            config,
            address,
            outbox.device_id,
            outbox.boot_id,
            listen=[topic for topic in listen if topic],
            on_request=on_request,
            on_event=self._wake.set,
            raise_warning=self._raise_warning,
            clear_warning=self._clear_warning,
            jitter=jitter,
        )
        self._statements = Statements(self._topics.root, self._connection.publish, self._raise_warning, self._clear_warning)
        self._statements.keep(self._topics.of("status"), Status.now("online", self._boot_id))
        self._statements.keep(self._topics.of("info"), info)
        self._announce()
        self._sender = Sender(
            outbox,
            settings,
            self._publish_row,
            raise_warning=self._raise_warning,
            clear_warning=self._clear_warning,
            jitter=jitter,
        )
        self._thread = threading.Thread(target=self._work, name="mqtt-sender", daemon=True)

    @property
    def state(self) -> LinkState:
        """Where the connection stands."""
        return self._connection.state

    @property
    def refused_publishes(self) -> int:
        """By the broker, since the start."""
        return self._sender.counters.refused

    @property
    def published(self) -> int:
        """Records delivered since the start."""
        return self._sender.counters.delivered

    def stats(self) -> dict[str, int]:
        """What was counted since the start, for `stats`."""
        figures = LinkFigures(
            **asdict(self._sender.counters),
            flooded=self._connection.flooded,
            dropped=self._statements.dropped,
            connections=self._connection.calls,
            losses=self._losses,
            put_out=self._contention.count,
            faults=self._faults,
        )
        return asdict(figures)

    def report(self) -> LinkReport:
        """How it is."""
        limits, contended = self._connection.limits, self._contention.holds
        return LinkReport(
            state=self.state,
            limits=limits,
            limitations=tuple(limits.restrictions(client_id_of(self._topics.device_id))),
            left_out=tuple(self._statements.left_out.copy().values()),
            too_large=self._sender.too_large,
            unconfirmable=self._sender.unconfirmable,
            stalled_s=self._sender.stalled_s,
            lost=self._lost,
            losses=self._losses,
            contended=contended,
            contention_certain=self._contention.certain,
            put_out=self._contention.count,
            refused=self._sender.counters.refused,
        )

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

    def publish(self, leaf: str, payload: Struct, *, retain: bool = False, qos: int = 0) -> None:
        """Say how things are: what is to be retained now and on every connection from here on, anything else now or never."""
        topic = self._topics.of(leaf)
        if retain:
            self._statements.keep(topic, payload)
        else:
            self._statements.say(topic, payload, qos=qos)
        self._wake.set()

    def send(
        self, topic: str, payload: Struct | bytes, *, qos: int = 1, correlation: bytes | None = None, content: str = ""
    ) -> None:
        """Publish what somebody asked for, to a full topic. Dropped where there is no connection; InputError where the broker
        takes no packet of that size.
        """
        limits = self._connection.limits
        properties = answer_properties(correlation, content) if limits.modern else None
        if isinstance(payload, bytes) and not limits.fits(topic, payload, qos, properties):
            raise InputError(
                "the broker takes no packet of this size", where=topic, expected=f"at most {limits.most_bytes} bytes",
                got=limits.packet_bytes(topic, payload, qos, properties), remedy="Raise the broker's largest packet.",
            )  # fmt: skip
        self._statements.say(topic, payload, qos=qos, properties=properties)
        self._wake.set()

    def publish_info(self, info: Info) -> None:
        """`info`, at once and on every connection from here on."""
        self.publish("info", info, retain=True)

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let what waits go out for a while, say `stopped`, disconnect."""
        until = time.monotonic() + timeout_s
        while self._has_more and time.monotonic() < until:
            self._wake.set()
            time.sleep(0.02)
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._drain_events()
        self._connection.close(timeout_s)

    @property
    def _has_more(self) -> bool:
        if self.state is not LinkState.CONNECTED:
            return False
        return self._statements.waiting or (self._sender.busy and not self._sender.unconfirmable)

    def _publish_row(self, leaf: str, payload: bytes) -> int:
        return self._connection.publish(self._topics.of(leaf), payload, qos=1)

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
        self._drain_events()
        if time.monotonic() - self._up_at > _STEADY_S:
            self._active_warnings = {told for told in self._active_warnings if told[0] not in _OF_THE_CONNECTION}
            if not self._contention.holds:
                self._lost = None
                self._clear_warning("identity_contended")
        self._connection.tend()
        if self._sender.wants_renewal:
            self._connection.renew()
        self._drain_events()
        connected = self.state is LinkState.CONNECTED
        if connected and self._one_by_one:
            self._one()
        else:
            self._sender.work(connected=connected)
            if connected:
                self._statements.work()
        if self._sender.counters.delivered > self._delivered or time.monotonic() - self._up_at > _STEADY_S:
            self._delivered = self._sender.counters.delivered
            self._connection.sound()

    def _one(self) -> None:
        """The next one, a record or a statement by turns, once the one before is proven: what is cut at is to blame.

        An acknowledgement proves nothing: the broker may hang up on what it has just acknowledged. An answer after it does.
        """
        if self._sender.in_flight or self._statements.waits_for_answer or self._connection.asking:
            self._sender.work(connected=True, most=0)
            return
        if self._went is not None and not self._asked:
            self._asked = True
            self._connection.ask()
            return
        self._statements.sound()
        self._went, self._asked = None, False
        self._records_turn = not self._records_turn
        if not self._records_turn and self._statements.work(one=True):
            self._went = self._statements
            return
        self._sender.work(connected=True, most=1)
        if self._sender.in_flight:
            self._went = self._sender
        elif self._statements.work(one=True):
            self._went = self._statements

    def _drain_events(self) -> None:
        """What came in since the last time; only the link's thread calls this, or nobody after it has ended."""
        answers: list[Puback] = []
        while True:
            try:
                event = self._connection.events.get_nowait()
            except queue.Empty:
                break
            if isinstance(event, Puback):
                answers.append(event)
                continue
            self._answered(answers)
            answers = []
            if isinstance(event, ConnectionEstablished):
                self._up(event.limits)
            elif isinstance(event, ConnectionLost):
                self._ended(event)
            else:
                self._received(event)
        self._answered(answers)

    def _up(self, limits: Limits) -> None:
        self._up_at = time.monotonic()
        self._statements.keep(self._topics.of("status"), Status.now("online", self._boot_id))
        self._statements.up(limits)
        self._sender.up(limits)
        told = limits.restrictions(client_id_of(self._topics.device_id))
        if limits.hinders:
            self._raise_warning("broker_limits", f"The broker sets limits: {'; '.join(told)}.", "; ".join(told))

    def _answered(self, answers: list[Puback]) -> None:
        for answer in answers:
            self._statements.answered(answer.mid)
        self._one_by_one = max(self._one_by_one - len(answers), 0)
        if not self._one_by_one:
            self._statements.sound()
            self._went, self._asked = None, False
        self._sender.answered(answers)

    def _received(self, message: ReceivedMessage) -> None:
        if message.topic == self._topics.of("ack"):
            self._sender.acked(message.payload, retained=message.retained)
        elif message.topic == self._discovery.birth_topic and message.payload == b"online":
            self._statements.again(self._discovery.messages)

    def _announce(self) -> None:
        """What Home Assistant is told."""
        for topic, payload in self._discovery.messages.items():
            self._statements.keep(topic, payload)

    def _ended(self, event: ConnectionLost) -> None:
        self._up_at = math.inf
        heads = [mid for mid in (self._sender.head(), self._statements.head()) if mid is not None]
        blamed = None if event.asked or not heads else min(heads, key=lambda mid: sum(earlier(other, mid) for other in heads))
        alone = self._sender.in_flight + self._statements.in_flight <= 1
        went = None if heads or event.asked else self._went
        self._went, self._asked = None, False
        reason = event.reason if event.by_broker else None
        # `status` follows whatever else went out first: a row that was acknowledged and hung up on comes before it.
        of_row = self._sender.lost(
            None if self._statements.is_status(blamed) else blamed, reason, alone=alone, met=went is self._sender
        )
        of_statement = self._statements.lost(None if of_row else blamed, reason, alone=alone, met=went is self._statements)
        if blamed is not None or of_row or of_statement:
            self._one_by_one = _ONE_BY_ONE
        if event.asked:
            return
        self._losses += 1
        self._lost = Ending(event.reason, event.by_broker, event.stood_s, iso_time(datetime.now(UTC)))
        self._warn_of_ending(self._lost)
        delay_s = self._contention.put_out(event.reason, event.stood_s, blameless=not (of_row or of_statement))
        if delay_s is not None:
            self._connection.call_after(delay_s)
            self._warn_of_contention()

    def _warn_of_ending(self, ending: Ending) -> None:
        message = f"The connection to the broker was lost ({ending.words()}); records wait in the outbox. {ending.remedy}."
        self._raise_warning("broker_lost", message, "" if ending.reason is None else named(ending.reason))

    def _warn_of_contention(self) -> None:
        name = client_id_of(self._topics.device_id)
        how = "the broker says so" if self._contention.certain else "connections are cut a moment after they stand"
        self._raise_warning(
            "identity_contended",
            f"Another client connects to the broker as {name} ({how}). Give each box a device.id of its own: their records can't "
            "be told apart. Measuring goes on, records wait, the broker is called ever less often.",
        )

    def _raise_warning(self, code: str, message: str, about: str = "") -> None:
        """Once for each thing that it is about."""
        if (code, about) not in self._active_warnings:
            self._active_warnings.add((code, about))
            self._on_warning(code, message)

    def _clear_warning(self, code: str, about: str | None = None) -> None:
        self._active_warnings = {told for told in self._active_warnings if told[0] != code or about not in (None, told[1])}
