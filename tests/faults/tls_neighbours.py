"""Boxes on one broker, each with its own certificate, trying each other's topics; a part of tests.faults.tls_matrix."""

from __future__ import annotations

import contextlib
import itertools
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.authority import Authority, FleetBroker

SAYS = (
    "status", "info", "health", "stats", "detections", "intervals", "events", "media/m1", "response/doctor",
)  # fmt: skip
HEARS = ("ack", "request/doctor")
_QUIET_S = 0.7


@dataclass(frozen=True)
class Neighbours:
    """What came of every box's attempts."""

    boxes: int
    tried_own: int
    own_failed: int
    tried_others: int
    others_acknowledged: int
    """Publishes to another box's topics that the broker did not refuse in its answer."""
    others_arrived: int
    """Of those and of what was only heard, what got through to one who sees all, or to a box that it isn't for."""
    wills_failed: int
    """Last wills on a box's own `status` that nobody heard."""
    wills_sent: int
    """On another's that somebody heard."""
    thrown_off: int
    """Boxes that lost their connection to another who took their client's id."""
    subscriptions_refused: int
    """By SUBACK; mosquitto 2.0.11 grants all and then delivers what the access list lets through."""

    def __str__(self) -> str:
        return (
            f"neighbours: {self.boxes} boxes; own: {self.tried_own} tried, {self.own_failed} failed; others': "
            f"{self.tried_others} tried, {self.others_acknowledged} acknowledged, {self.others_arrived} arrived; "
            f"{self.wills_sent} wills sent, {self.thrown_off} thrown off; "
            f"{self.subscriptions_refused} subscriptions refused by SUBACK"
        )

    @property
    def sound(self) -> bool:
        bad = self.own_failed + self.others_acknowledged + self.others_arrived
        bad += self.wills_failed + self.wills_sent + self.thrown_off
        return bad == 0 and self.tried_own > 0 and self.tried_others > 0


@dataclass
class Client:
    """Whoever connects with a certificate."""

    name: str
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    answers: dict[int, ReasonCode] = field(default_factory=dict)
    granted: dict[int, list[ReasonCode]] = field(default_factory=dict)
    lost: int = 0

    def connect(self, port: int, authority: Authority, *, client_id: str = "", will: str = "") -> Client:
        self._up, self._down = threading.Event(), threading.Event()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id or f"holonode-{self.name}", protocol=MQTTProtocolVersion.MQTTv5
        )
        context = ssl.create_default_context(cafile=str(authority.file))
        context.load_cert_chain(authority.folder / f"{self.name}.crt", authority.folder / f"{self.name}.key")
        self.client.tls_set_context(context)
        if will:
            self.client.will_set(will, b"will", qos=1, retain=True)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._disconnected
        self.client.on_publish = self._acknowledged
        self.client.on_subscribe = self._subscribed
        self.client.on_message = lambda _c, _u, message: self.heard.append((message.topic, bytes(message.payload)))
        self.client.connect("localhost", port)
        self.client.loop_start()
        assert self._up.wait(60), f"{self.name} got no answer"
        return self

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> ReasonCode:
        mid = self.client.publish(topic, payload, qos=1, retain=retain).mid
        return self._await(self.answers, mid)

    def subscribe(self, topic: str) -> ReasonCode:
        _, mid = self.client.subscribe(topic, qos=1)
        assert mid is not None
        return self._await(self.granted, mid)[0]

    def close(self, *, with_will: bool = False) -> None:
        self._leaving = True
        self.client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=4) if with_will else None)
        self.client.loop_stop()

    def _await(self, answers: dict[int, Any], mid: int) -> Any:
        until = time.monotonic() + 60
        while mid not in answers:
            assert time.monotonic() < until, f"{self.name} got no answer"
            time.sleep(0.002)
        return answers.pop(mid)

    def _connected(self, _client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Properties | None) -> None:
        assert not reason.is_failure, reason
        self._up.set()

    def _disconnected(self, _client: paho.Client, _user: Any, _flags: Any, _reason: ReasonCode, _props: Any = None) -> None:
        self.lost += not getattr(self, "_leaving", False)

    def _acknowledged(self, _client: paho.Client, _user: Any, mid: int, reason: ReasonCode, _props: Any = None) -> None:
        self.answers[mid] = reason

    def _subscribed(self, _client: paho.Client, _user: Any, mid: int, reasons: list[ReasonCode], _props: Any = None) -> None:
        self.granted[mid] = reasons


def said_by(box: str) -> list[str]:
    """What only this box may publish."""
    return [f"holonode/v1/{box}/{leaf}" for leaf in SAYS] + [f"homeassistant/device/holonode/{box}/config"]


def heard_by(box: str) -> list[str]:
    """What only this box may hear."""
    return [f"holonode/v1/{box}/{leaf}" for leaf in HEARS]


def neighbours(folder: Path, names: Sequence[str]) -> Neighbours:
    """The whole matrix."""
    authority = Authority.made(folder / "ours")
    for name in (*names, "oracle"):
        authority.client(name)
    broker = FleetBroker.of(folder / "broker", authority)
    broker.start()
    with contextlib.ExitStack() as stack:
        stack.callback(broker.stop)
        oracle, *boxes = (Client(name).connect(broker.port, authority) for name in ("oracle", *names))
        for client in (oracle, *boxes):
            stack.callback(client.close)
        return Neighbours(len(names), **_publishes(oracle, boxes), **_takeovers(broker, authority, oracle, boxes))


def _publishes(oracle: Client, boxes: Sequence[Client]) -> dict[str, int]:
    """Every box on every topic, written and read."""
    assert not oracle.subscribe("#").is_failure
    refusals = sum(box.subscribe(topic).is_failure for box in boxes for topic in _wanted(boxes))
    own_failed = acknowledged = tried_own = tried_others = 0
    expected: set[tuple[str, bytes]] = set()
    for box, owner in itertools.product(boxes, boxes):
        for topic in said_by(owner.name) + heard_by(owner.name):
            mine = box is owner and topic in said_by(owner.name)
            payload = f"{box.name} to {topic}".encode()
            refused = box.publish(topic, payload).is_failure
            tried_own, tried_others = tried_own + mine, tried_others + (not mine)
            own_failed += mine and refused
            acknowledged += not mine and not refused
            if mine:
                expected.add((topic, payload))
    time.sleep(_QUIET_S)
    through = set(oracle.heard)
    own_failed += len(expected - through)
    arrived = len(through - expected)
    heard = _hearing(oracle, boxes)
    return {
        "tried_own": tried_own + heard.tried_own, "own_failed": own_failed + heard.own_failed,
        "tried_others": tried_others + heard.tried_others, "others_acknowledged": acknowledged,
        "others_arrived": arrived + heard.others_arrived, "subscriptions_refused": refusals,
    }  # fmt: skip


def _wanted(boxes: Sequence[Client]) -> Iterator[str]:
    """Topics that a curious box subscribes to: everything, by all the ways there are, and each by name."""
    yield from ("#", "holonode/#", "holonode/v1/+/events", "$share/curious/holonode/v1/+/request/+", "homeassistant/#")
    for owner in boxes:
        yield from said_by(owner.name) + heard_by(owner.name)


@dataclass(frozen=True)
class _Heard:
    tried_own: int
    own_failed: int
    tried_others: int
    others_arrived: int


def _hearing(oracle: Client, boxes: Sequence[Client]) -> _Heard:
    """The oracle says something on every topic; each box is subscribed to all of them."""
    arrived = sum(topic not in heard_by(box.name) for box in boxes for topic, _ in box.heard)
    for box in boxes:
        box.heard.clear()
    topics = [topic for box in boxes for topic in said_by(box.name) + heard_by(box.name)]
    for topic in topics:
        assert not oracle.publish(topic, f"oracle to {topic}".encode(), retain=True).is_failure
    time.sleep(_QUIET_S)
    # And what was said before somebody listened.
    for box, topic in itertools.product(boxes, ("#", "holonode/v1/#")):
        box.subscribe(topic)
    time.sleep(_QUIET_S)
    failed = 0
    for box in boxes:
        found = {topic for topic, _ in box.heard}
        failed += len(set(heard_by(box.name)) - found)
        arrived += len(found - set(heard_by(box.name)))
    own = sum(len(heard_by(box.name)) for box in boxes)
    return _Heard(own, failed, len(boxes) * len(topics) - own, arrived)


def _takeovers(broker: FleetBroker, authority: Authority, oracle: Client, boxes: Sequence[Client]) -> dict[str, int]:
    """A box that connects as another would: with its client's id, with its last will."""
    attacker, *victims = boxes
    before = [box.lost for box in victims]
    oracle.heard.clear()
    # Its first connection ends by this: one name, one connection.
    for victim in victims:
        for client_id in (victim.name, f"holonode-{victim.name}"):
            Client(attacker.name).connect(broker.port, authority, client_id=client_id).close()
    for box in boxes:
        Client(attacker.name).connect(broker.port, authority, will=_status_of(box)).close(with_will=True)
    time.sleep(_QUIET_S)
    wills = [topic for topic, payload in oracle.heard if payload == b"will"]
    return {
        "wills_failed": int(_status_of(attacker) not in wills),
        "wills_sent": sum(topic != _status_of(attacker) for topic in wills),
        "thrown_off": sum(box.lost - was for box, was in zip(victims, before, strict=True)),
    }


def _status_of(box: Client) -> str:
    return f"holonode/v1/{box.name}/status"
