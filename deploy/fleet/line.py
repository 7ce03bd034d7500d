"""How a collector calls a broker: address, authority of its certificate, password; and how it takes a message off the line."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

from device.errors import InputError

__all__ = ["Client", "address", "encrypt", "password", "topic_of"]


def address(url: str) -> tuple[str, int, bool]:
    """(host, port, whether with TLS)."""
    expected = "mqtt://host:port or mqtts://host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("not a broker's URL", where="--mqtt", expected=expected, remedy="Look at its port.") from None
    if parts.username or parts.password:
        raise InputError(
            "a broker's URL must not hold credentials", where="--mqtt", remedy="Use --username and --password-file."
        )
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise InputError("not a broker's URL", where="--mqtt", expected=expected, got=url)
    tls = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if tls else 1883), tls


def encrypt(client: paho.Client, ca_file: str) -> None:
    """Only to a broker whose certificate names its host and comes from the authority."""
    try:
        client.tls_set(ca_certs=ca_file or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    except OSError as error:
        raise InputError(
            "the broker's authority can't be read", where="--ca-file", expected="a certificate in PEM", got=error.strerror
        ) from error


def password(path: str) -> str | None:
    """From a file, so that it is in no list of processes."""
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError("the password file can't be read", where="--password-file", got=error.strerror) from error


class Client(paho.Client):
    """paho's, but that it skips the properties of a message, which are anybody's: over some paho raises, over many it takes minutes.

    A collector needs none of them.
    """

    def _handle_publish(self) -> MQTTErrorCode:
        packet, qos = memoryview(self._in_packet["packet"]), (self._in_packet["command"] & 0x06) >> 1
        end = 2 + int.from_bytes(packet[:2])
        message = paho.MQTTMessage(topic=bytes(packet[2:end]))
        if qos:
            message.mid = int.from_bytes(packet[end : end + 2])
            end += 2
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            end = _after_properties(packet, end)
        message.qos, message.retain = qos, bool(self._in_packet["command"] & 0x01)
        message.payload = bytes(packet[end:])
        self._handle_on_message(message)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _after_properties(packet: memoryview, at: int) -> int:
    """Where they end: a variable byte integer says how long they are (MQTT 5, section 1.5.5)."""
    length = shift = 0
    while True:
        byte = packet[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return at + length
        if shift > 21:
            raise ValueError("the length of a message's properties has more than four bytes")


def topic_of(message: paho.MQTTMessage) -> str:
    """Its topic; of one that is no UTF-8, which a broker should not let through, nothing."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return ""
