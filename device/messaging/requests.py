"""Commands as paho brings them: subscribed to, with their MQTT 5 properties; answers carry theirs back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from device.messaging.limits import Limits
from device.messaging.request_messages import MOST_BYTES, REQUESTS, IncomingRequest, command_of
from device.messaging.topics import Topics

__all__ = ["EVERY", "RequestCallback", "add_request_callback", "answer_properties", "request_leaves", "subscribe"]

EVERY = "request/+"
"""Every command, known or not."""

RequestCallback = Callable[[IncomingRequest], None]
"""Takes a request as it came in, in paho's thread; must not wait."""


def subscribe(client: paho.Client, topics: Sequence[str], limits: Limits) -> dict[int | None, list[str]]:
    """At QoS 1, as far as the broker takes it; returns the topics by message id.

    By MQTT 5 a retained message says so even to who is there already. Each topic goes by itself: one packet for all could be
    larger than the broker takes, and one topic that it refuses must not take the others along.
    """
    found: dict[int | None, list[str]] = {}
    for topic in topics:
        qos = limits.qos
        if limits.modern:
            _, mid = client.subscribe([(topic, SubscribeOptions(qos=qos, retainAsPublished=True))])
        else:
            _, mid = client.subscribe([(topic, qos)])
        found[mid] = [topic]
    return found


def request_leaves(limits: Limits) -> list[str]:
    """What to subscribe to for commands: without wildcards an unknown command is never heard."""
    return [EVERY] if limits.wildcards else [f"request/{name}" for name in REQUESTS]


def add_request_callback(client: paho.Client, topics: Topics, on_request: RequestCallback) -> None:
    """Hand over every request."""

    def heard(_client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        on_request(_message(topics, message))

    client.message_callback_add(topics.of(EVERY), heard)


def _message(topics: Topics, message: paho.MQTTMessage) -> IncomingRequest:
    properties = message.properties
    expiry_s = getattr(properties, "MessageExpiryInterval", None)
    return IncomingRequest(
        command=command_of(topics, message.topic),
        payload=bytes(message.payload[: MOST_BYTES + 1]),  # enough to be refused for its length
        retained=bool(message.retain),
        response_topic=str(getattr(properties, "ResponseTopic", "")),
        correlation=getattr(properties, "CorrelationData", None),
        expires_at_s=None if expiry_s is None else time.monotonic() + float(expiry_s),
    )


def answer_properties(correlation: bytes | None, content: str) -> Properties:
    """MQTT 5 properties of an answer or of media."""
    properties = Properties(PacketTypes.PUBLISH)
    if correlation is not None:
        properties.CorrelationData = correlation
    if content:
        properties.ContentType = content
    return properties
