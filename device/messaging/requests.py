"""Commands as paho brings them: subscribed to, with their MQTT 5 properties; answers carry theirs back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from device.messaging.commands import MOST_BYTES, Message, command_of
from device.messaging.topics import Topics

__all__ = ["EVERY", "Hand", "answer_properties", "hear_requests", "subscribe"]

EVERY = "request/+"
"""Every command, known or not."""

Hand = Callable[[Message], None]
"""Takes a request as it came in, in paho's thread; must not wait."""


def subscribe(client: paho.Client, topics: Sequence[str]) -> None:
    """At QoS 1; by MQTT 5 a retained message says so even to who is there already."""
    if client.protocol == MQTTProtocolVersion.MQTTv5:
        client.subscribe([(topic, SubscribeOptions(qos=1, retainAsPublished=True)) for topic in topics])
    else:
        client.subscribe([(topic, 1) for topic in topics])


def hear_requests(client: paho.Client, topics: Topics, hand: Hand) -> None:
    """Hand over every request."""

    def heard(_client: paho.Client, _user: Any, message: paho.MQTTMessage) -> None:
        hand(_message(topics, message))

    client.message_callback_add(topics.of(EVERY), heard)


def _message(topics: Topics, message: paho.MQTTMessage) -> Message:
    properties = message.properties
    expiry_s = getattr(properties, "MessageExpiryInterval", None)
    return Message(
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
