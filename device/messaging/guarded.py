"""paho's client, but that what stands in a message's MQTT 5 properties can neither end nor stall it, and that it can be asked to
ping.

Properties are anybody's who may publish: over some of them paho raises (U+FEFF in a text), over many it takes minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

__all__ = ["GuardedClient", "topic_of"]


class GuardedClient(paho.Client):
    """Properties are read up to `most_property_bytes`; beyond it, and where they can't be read, a message has none."""

    def __init__(self, *arguments: Any, most_property_bytes: int = 0, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._most_property_bytes = most_property_bytes
        self.unread_properties = 0
        """Messages whose properties were passed over."""
        self.on_pong: Callable[[], None] = lambda: None
        self.pongs = 0
        """Pings that the broker answered: whatever went out before them it has dealt with."""
        self._pings = 0
        self._pinging = threading.RLock()

    def ping(self) -> int:
        """Ask for an answer, keep-alive or not; which one of `pongs` it will be."""
        with self._pinging:
            self._send_pingreq()
            return self._pings

    def _send_pingreq(self) -> MQTTErrorCode:
        with self._pinging:
            self._pings += 1
            return super()._send_pingreq()

    def _handle_pingresp(self) -> MQTTErrorCode:
        self.pongs += 1
        self.on_pong()
        return super()._handle_pingresp()

    def _handle_publish(self) -> MQTTErrorCode:
        packet, qos = memoryview(self._in_packet["packet"]), (self._in_packet["command"] & 0x06) >> 1
        end = 2 + int.from_bytes(packet[:2])
        message = paho.MQTTMessage(topic=bytes(packet[2:end]))
        if qos:
            message.mid = int.from_bytes(packet[end : end + 2])
            end += 2
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            begin, end = end, _after_properties(packet, end)
            message.properties = self._read_properties(bytes(packet[begin:end]))
        message.qos, message.retain = qos, bool(self._in_packet["command"] & 0x01)
        message.payload = bytes(packet[end:])
        self._handle_on_message(message)
        # Everything is subscribed to at QoS 0 or 1.
        return self._send_puback(message.mid) if qos and not self._manual_ack else MQTTErrorCode.MQTT_ERR_SUCCESS

    def _read_properties(self, content: bytes) -> Properties:
        found = Properties(PacketTypes.PUBLISH)
        if not self._most_property_bytes or len(content) <= 1:
            return found
        if len(content) <= self._most_property_bytes:
            try:
                found.unpack(content)
                return found
            except Exception:  # noqa: BLE001  whatever a parser raises over what a stranger wrote: the message has none
                found = Properties(PacketTypes.PUBLISH)
        self.unread_properties += 1
        return found


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
