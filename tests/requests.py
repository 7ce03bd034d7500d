"""Somebody who sends commands and waits for their answers, by MQTT 5."""

from __future__ import annotations

import json
import queue
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


class Caller:
    """Asks one device."""

    def __init__(self, port: int, device_id: str = "test-box", client_id: str = "caller") -> None:
        self.root = f"holonode/v1/{device_id}"
        self.messages: queue.Queue[paho.MQTTMessage] = queue.Queue()
        self._asked = 0
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self.messages.put(message)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        for tree in ("response/#", "media/#"):
            self._client.subscribe(f"{self.root}/{tree}", qos=1)

    def ready(self, timeout_s: float = 200) -> None:
        """Wait until the device listens."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            try:
                self.ask("media", id="0" * 26, timeout_s=5)
            except AssertionError:
                continue
            return
        raise AssertionError("the device takes no commands")

    def send(
        self, command: str, payload: bytes | dict[str, Any], *, retain: bool = False, wait: bool = True, **properties: Any
    ) -> None:
        """`properties`: of MQTT 5, by their names."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        told = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(told, name, value)
        sent = self._client.publish(f"{self.root}/request/{command}", body, qos=1, retain=retain, properties=told)
        if wait:
            sent.wait_for_publish(100)

    def heard(self, topic: str, timeout_s: float = 120) -> paho.MQTTMessage:
        """The next message on a topic of the device."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                message = self.messages.get(timeout=max(until - time.monotonic(), 0.01))
            except queue.Empty as error:
                raise AssertionError(f"nothing on {topic} within {timeout_s} s") from error
            if message.topic == f"{self.root}/{topic}":
                return message

    def ask(self, command: str, timeout_s: float = 120, **parameters: Any) -> dict[str, Any]:
        """The answer to one command."""
        self._asked += 1
        correlation = str(self._asked).encode()
        self.send(command, parameters, CorrelationData=correlation)
        while True:
            answer = self.heard(f"response/{command}", timeout_s)
            if getattr(answer.properties, "CorrelationData", None) == correlation:
                return json.loads(answer.payload)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
