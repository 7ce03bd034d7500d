"""One way to set up an MQTT client, for the link and for those who only ask whether it would get through."""

from __future__ import annotations

import ssl
from typing import Literal

from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.config import MqttConfig
from device.messaging.guarded import GuardedClient

__all__ = ["UNSUPPORTED_PROTOCOL", "VERSIONS", "client_id_of", "new_client"]

VERSIONS: dict[Literal["5", "3.1.1"], MQTTProtocolVersion] = {
    "5": MQTTProtocolVersion.MQTTv5,
    "3.1.1": MQTTProtocolVersion.MQTTv311,
}
_MOST_PROPERTY_BYTES = 4096
"""Of a request: a topic, what it is known by, how long it counts."""
UNSUPPORTED_PROTOCOL = (1, 132)
"""Reason codes of a broker that lacks a version."""


def client_id_of(device_id: str) -> str:
    """The name that a broker knows a device by: two clients of one name put each other out."""
    return f"holonode-{device_id}"


def new_client(
    config: MqttConfig, device_id: str, version: MQTTProtocolVersion, password: str | None, context: ssl.SSLContext | None
) -> GuardedClient:
    """A client by the device's name, for one connection; `context` None: no TLS. It hears nothing yet."""
    client = GuardedClient(
        CallbackAPIVersion.VERSION2, client_id=client_id_of(device_id), protocol=version, reconnect_on_failure=False,
        most_property_bytes=_MOST_PROPERTY_BYTES,
    )  # fmt: skip
    if config.username:
        client.username_pw_set(config.username, password)
    if context is not None:
        client.tls_set_context(context)
    return client
