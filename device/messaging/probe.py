"""Can this box publish? One real connection with the service's own name and secrets, one publish that is acknowledged."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from device.config import MqttConfig
from device.errors import HolonodeError
from device.messaging.address import Address, parse_url, password_of
from device.messaging.certificates import certificates_of
from device.messaging.client import UNSUPPORTED_PROTOCOL, VERSIONS, client_id_of, new_client
from device.messaging.limits import Limits
from device.messaging.payloads import Check, Health
from device.messaging.reasons import named
from device.messaging.statements import bodies
from device.messaging.topics import Topics

__all__ = ["broker_check"]

_TIMEOUT_S = 8.0


@dataclass
class _Answers:
    """What the broker said."""

    connected: threading.Event = field(default_factory=threading.Event)
    published: threading.Event = field(default_factory=threading.Event)
    connection: ReasonCode | None = None
    limits: Limits = field(default_factory=Limits)
    publish: ReasonCode | None = None
    hung_up: bool = False


def broker_check(config: MqttConfig, device_id: str, health: Health | bytes | None = None) -> Check:
    """Connect, and publish this retained `health` where there is one; nobody else may use the device's client id meanwhile."""
    try:
        address = parse_url(config.url)
        certificates = certificates_of(config, device_id, tls=address.tls)
        if certificates is not None:
            certificates.replaced()
        context = certificates.context if certificates is not None else None
        password = password_of(config)
    except HolonodeError as error:
        return _failed(config, str(error), error.remedy or "Correct mqtt.url and the files beside it")
    versions: tuple[Literal["5", "3.1.1"], ...] = ("5", "3.1.1") if config.protocol == "auto" else (config.protocol,)
    for version in versions:
        answers = _Answers()
        client = new_client(config, device_id, VERSIONS[version], password, context)
        client.connect_timeout = _TIMEOUT_S / 2
        _listen(client, answers)
        try:
            check = _try(config, client, address, version, answers, Topics(device_id).of("health"), health)
        except ssl.SSLError as error:
            why = getattr(error, "verify_message", "") or error.reason or error
            return _failed(config, f"no safe connection: {why}", "Check mqtt.ca_file and the broker's certificate")
        except (OSError, socket.gaierror, ValueError) as error:
            return _failed(config, f"no answer: {error}", "Check mqtt.url, the network and that the broker runs")
        if check is not None:
            return check
    doubt = " or doesn't take this device's certificate" if address.tls else " or wants TLS (mqtts://)"
    return _failed(config, f"speaks no MQTT {' nor '.join(versions)}{doubt}", "Check mqtt.url and what is set beside it")


def _try(
    config: MqttConfig,
    client: paho.Client,
    address: Address,
    version: Literal["5", "3.1.1"],
    answers: _Answers,
    topic: str,
    health: Health | bytes | None,
) -> Check | None:
    """None where the broker lacks this version of the protocol: it says so, or hangs up without a word."""
    client.connect(address.host, address.port, config.keepalive_s)
    client.loop_start()
    try:
        answers.connected.wait(_TIMEOUT_S)
        reason = answers.connection
        if reason is None or reason.value in UNSUPPORTED_PROTOCOL:
            return None
        if reason.is_failure:
            remedy = "Check mqtt.username, mqtt.password_file and mqtt.cert_file"
            return _failed(config, f"refuses the connection: {named(reason.value)}", remedy)
        limits = answers.limits
        if limits.qos == 0:
            return _failed(config, "takes QoS 0 alone: no record is ever acknowledged", "Let the broker take QoS 1")
        if health is None:
            return _taken(config, f"takes this device by MQTT {version}", limits, topic.split("/")[-2])
        body = next((found for found in bodies(health) if limits.fits(topic, found, 1)), None)
        if body is None:
            return _failed(
                config, f"takes packets of {limits.most_bytes} bytes: too few for anything", "Raise its largest packet"
            )
        client.publish(topic, body, qos=1, retain=limits.retains)
        answers.published.wait(_TIMEOUT_S)
        return _published(config, version, topic, answers)
    finally:
        client.disconnect()
        client.loop_stop()


def _listen(client: paho.Client, answers: _Answers) -> None:
    def connected(client: paho.Client, _user: Any, _flags: Any, reason: ReasonCode, props: Any = None) -> None:
        answers.connection = reason
        answers.limits = Limits.of(props, modern=client.protocol == VERSIONS["5"])
        answers.connected.set()

    def published(_client: paho.Client, _user: Any, _mid: int, reason: ReasonCode, _props: Any = None) -> None:
        answers.publish = reason
        answers.published.set()

    def disconnected(_client: paho.Client, _user: Any, _flags: Any, _reason: ReasonCode, _props: Any = None) -> None:
        answers.hung_up = True
        answers.connected.set()
        answers.published.set()

    client.on_connect, client.on_publish, client.on_disconnect = connected, published, disconnected


def _published(config: MqttConfig, version: str, topic: str, answers: _Answers) -> Check:
    remedy = f"Let this device write {topic.rsplit('/', 1)[0]}/#"
    if answers.publish is None:
        how = "hangs up on what is published" if answers.hung_up else f"acknowledges nothing within {_TIMEOUT_S:g} s"
        return _failed(config, how, remedy)
    if answers.publish.is_failure:
        return _failed(config, f"refuses what is published: {named(answers.publish.value)}", remedy)
    # A 3.1.1 broker has no way to say that it drops what it acknowledges.
    doubt = "" if version == "5" else "; what MQTT 3.1.1 acknowledges may still be dropped"
    return _taken(config, f"took a message of this device by MQTT {version}{doubt}", answers.limits, topic.split("/")[-2])


def _taken(config: MqttConfig, message: str, limits: Limits, device_id: str) -> Check:
    """With what it limits, which a person may want to know before he leaves."""
    told = limits.restrictions(client_id_of(device_id))
    return Check(
        name="broker", status="ok" if limits.retains else "warning", value=config.url, message="; ".join([message, *told]),
        remedy="" if limits.retains else "Let the broker retain messages",
    )  # fmt: skip


def _failed(config: MqttConfig, message: str, remedy: str) -> Check:
    return Check(name="broker", status="failed", value=config.url, message=message, remedy=f"{remedy}; records wait meanwhile")
