"""Can this box publish? One real connection with the service's own name and secrets, one publish that is acknowledged."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from device.config import MqttConfig
from device.errors import HolonodeError
from device.messaging.link import Address, parse_url, password_of
from device.messaging.payloads import Check
from device.messaging.topics import Topics

__all__ = ["broker_check"]

_TIMEOUT_S = 8.0
_NO_SUCH_PROTOCOL = (1, 132)
_VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


@dataclass
class _Answers:
    """What the broker said."""

    connected: threading.Event = field(default_factory=threading.Event)
    published: threading.Event = field(default_factory=threading.Event)
    connection: ReasonCode | None = None
    publish: ReasonCode | None = None
    hung_up: bool = False


def broker_check(config: MqttConfig, device_id: str, health: bytes | None = None) -> Check:
    """Connect, and publish this retained `health` where there is one; nobody else may use the device's client id meanwhile."""
    try:
        address = parse_url(config.url)
        password = password_of(config)
    except HolonodeError as error:
        return _failed(config, str(error), "Correct mqtt.url and mqtt.password_file")
    versions = ("5", "3.1.1") if config.protocol == "auto" else (config.protocol,)
    for version in versions:
        try:
            check = _try(config, address, password, version, device_id, health)
        except ssl.SSLError as error:
            return _failed(
                config, f"no TLS connection: {error.reason or error}", "Check mqtt.ca_file and the broker's certificate"
            )
        except (OSError, socket.gaierror, ValueError) as error:
            return _failed(config, f"no answer: {error}", "Check mqtt.url, the network and that the broker runs")
        if check is not None:
            return check
    return _failed(config, f"speaks no MQTT {' nor '.join(versions)}", "Check mqtt.url and mqtt.protocol")


def _try(
    config: MqttConfig, address: Address, password: str | None, version: str, device_id: str, health: bytes | None
) -> Check | None:
    """None where the broker lacks this version of the protocol: it says so, or hangs up without a word."""
    answers = _Answers()
    client = _client(config, address, password, version, device_id, answers)
    client.connect(address.host, address.port, config.keepalive_s)
    client.loop_start()
    try:
        answers.connected.wait(_TIMEOUT_S)
        reason = answers.connection
        if reason is None or reason.value in _NO_SUCH_PROTOCOL:
            return None
        if reason.is_failure:
            return _failed(config, f"refuses the connection: {reason}", "Check mqtt.username and mqtt.password_file")
        if health is None:
            return Check(name="broker", status="ok", value=config.url, message=f"takes this device by MQTT {version}")
        topic = Topics(device_id).of("health")
        client.publish(topic, health, qos=1, retain=True)
        answers.published.wait(_TIMEOUT_S)
        return _published(config, version, topic, answers)
    finally:
        client.disconnect()
        client.loop_stop()


def _client(
    config: MqttConfig, address: Address, password: str | None, version: str, device_id: str, answers: _Answers
) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"holonode-{device_id}", protocol=_VERSIONS[version])
    client.connect_timeout = _TIMEOUT_S / 2
    if config.username:
        client.username_pw_set(config.username, password)
    if address.tls:
        client.tls_set(ca_certs=config.ca_file or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)

    def connected(_client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, _props: Any = None) -> None:
        answers.connection = reason
        answers.connected.set()

    def published(_client: paho.Client, _user: Any, _mid: int, reason: ReasonCode, _props: Any = None) -> None:
        answers.publish = reason
        answers.published.set()

    def disconnected(_client: paho.Client, _user: Any, _flags: Any, _reason: ReasonCode, _props: Any = None) -> None:
        answers.hung_up = True
        answers.connected.set()
        answers.published.set()

    client.on_connect, client.on_publish, client.on_disconnect = connected, published, disconnected
    return client


def _published(config: MqttConfig, version: str, topic: str, answers: _Answers) -> Check:
    remedy = f"Let this device write {topic.rsplit('/', 1)[0]}/#"
    if answers.publish is None:
        how = "hangs up on what is published" if answers.hung_up else f"acknowledges nothing within {_TIMEOUT_S:g} s"
        return _failed(config, how, remedy)
    if answers.publish.is_failure:
        return _failed(config, f"refuses what is published: {answers.publish}", remedy)
    # A 3.1.1 broker has no way to say that it drops what it acknowledges.
    doubt = "" if version == "5" else "; what MQTT 3.1.1 acknowledges may still be dropped"
    return Check(
        name="broker", status="ok", value=config.url, message=f"took a message of this device by MQTT {version}{doubt}"
    )


def _failed(config: MqttConfig, message: str, remedy: str) -> Check:
    return Check(name="broker", status="failed", value=config.url, message=message, remedy=f"{remedy}; records wait meanwhile")
