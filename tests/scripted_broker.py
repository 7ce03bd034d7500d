"""A broker of few words that announces limits in its CONNACK and holds a client to them: what breaks one is cut, and counted.

MQTT 5 and 3.1.1 as far as a box speaks them; publishes go to nobody.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK, PINGREQ, DISCONNECT = 1, 2, 3, 4, 8, 9, 12, 14


@dataclass(frozen=True, kw_only=True)
class Announced:
    """What the broker takes; None: it doesn't say, and takes anything."""

    most_bytes: int | None = None
    receive_maximum: int | None = None
    qos: int | None = None
    retain: int | None = None
    topic_aliases: int | None = None
    wildcards: int | None = None
    keepalive_s: int | None = None
    silent: bool = False
    """It holds to all that and announces none of it."""
    names_reasons: bool = True
    """It says why it ends a connection (MQTT 5)."""
    puback_after_s: float = 0.002
    hangs_up_on: str = ""
    """The end of a topic: such a publish is acknowledged, and the connection ended a moment after."""

    def properties(self) -> Properties:
        """Of the CONNACK."""
        said = Properties(PacketTypes.CONNACK)
        if self.silent:
            return said
        for name, value in (
            ("MaximumPacketSize", self.most_bytes), ("ReceiveMaximum", self.receive_maximum), ("MaximumQoS", self.qos),
            ("RetainAvailable", self.retain), ("TopicAliasMaximum", self.topic_aliases),
            ("WildcardSubscriptionAvailable", self.wildcards), ("ServerKeepAlive", self.keepalive_s),
        ):  # fmt: skip
            if value is not None:
                setattr(said, name, value)
        return said


@dataclass
class Heard:
    """One publish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    size: int
    at_s: float = field(default_factory=time.monotonic)


class ScriptedBroker:
    """Listens on a port of its own until it is closed."""

    def __init__(self, announced: Announced) -> None:
        self.announced = announced
        self.connections = 0
        """That were taken."""
        self.refused = 0
        self.broken: list[str] = []
        """What a client did against what was announced."""
        self.heard: list[Heard] = []
        self.subscriptions: list[str] = []
        self.connected_at_s: list[float] = []
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self._server.getsockname()[1]}"

    def payloads(self, leaf: str) -> list[dict[str, Any]]:
        """What was published on topics that end so."""
        return [json.loads(heard.payload) for heard in list(self.heard) if heard.topic.endswith(f"/{leaf}")]

    def end_all(self, code: int | None) -> None:
        """End every connection, with a reason or without."""
        for line in list(self._lines.values()):
            line.end(code)

    def publish(self, topic: str, payload: bytes) -> None:
        """To whoever is connected, at QoS 0."""
        for line in list(self._lines.values()):
            body = struct.pack("!H", len(topic)) + topic.encode() + (b"\0" if line.modern else b"") + payload
            line.send(PUBLISH << 4, body)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.end_all(None)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = self._server.accept()
                threading.Thread(target=_Line(self, end).run, daemon=True).start()

    def take(self, client_id: str, line: _Line) -> None:
        """Whoever had this name is put out."""
        with self._lock:
            before, self._lines[client_id] = self._lines.get(client_id), line
            self.connections += 1
            self.connected_at_s.append(time.monotonic())
        if before is not None:
            before.end(142)

    def gone(self, line: _Line) -> None:
        with self._lock:
            self._lines = {name: other for name, other in self._lines.items() if other is not line}


class _Line:
    """One connection."""

    def __init__(self, broker: ScriptedBroker, end: socket.socket) -> None:
        self._broker, self._socket, self._announced = broker, end, broker.announced
        self.modern = True
        self._unacknowledged: set[int] = set()
        self._writing = threading.Lock()
        self._over = False

    def run(self) -> None:
        try:
            with contextlib.suppress(OSError, EOFError):
                while not self._over:
                    self._packet(*self._read())
        finally:
            self._broker.gone(self)
            self._socket.close()

    def send(self, first: int, body: bytes) -> None:
        with self._writing, contextlib.suppress(OSError):
            self._socket.sendall(bytes([first]) + VariableByteIntegers.encode(len(body)) + body)

    def end(self, code: int | None) -> None:
        if code is not None and self.modern and self._announced.names_reasons:
            self.send(DISCONNECT << 4, bytes([code, 0]))
        self._over = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _break(self, code: int, what: str) -> None:
        self._broker.broken.append(what)
        self.end(code)

    def _read(self) -> tuple[int, bytes, int]:
        first = self._exactly(1)[0]
        length, shift, after = 0, 0, 1
        while True:
            byte = self._exactly(1)[0]
            length, shift, after = length | (byte & 127) << shift, shift + 7, after + 1
            if byte < 128:
                return first, self._exactly(length), after + length

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            part = self._socket.recv(count - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    def _packet(self, first: int, body: bytes, size: int) -> None:
        kind, limits = first >> 4, self._announced
        if kind != CONNECT and limits.most_bytes is not None and size > limits.most_bytes:
            self._break(149, f"a packet of {size} bytes, kind {kind}")
        elif kind == CONNECT:
            self._connect(body)
        elif kind == PUBLISH:
            self._publish(first, body, size)
        elif kind == SUBSCRIBE:
            self._subscribe(body)
        elif kind == PINGREQ:
            self.send(0xD0, b"")
        elif kind == DISCONNECT:
            self._over = True

    def _connect(self, body: bytes) -> None:
        version, flags = body[6], body[7]
        self.modern = version == 5
        after = 10
        if self.modern:
            length, used = VariableByteIntegers.decode(body[after:])
            after += used + length
        (length,) = struct.unpack_from("!H", body, after)
        client_id = body[after + 2 : after + 2 + length].decode()
        limits = self._announced
        refusal = 154 if limits.retain == 0 and flags & 0x20 else 155 if limits.qos == 0 and flags & 0x18 else 0
        if refusal:
            self._broker.refused += 1
            if self.modern and limits.names_reasons:
                self.send(CONNACK << 4, bytes([0, refusal, 0]))
            self.end(None)
            return
        self._broker.take(client_id, self)
        self.send(CONNACK << 4, b"\0\0" + (limits.properties().pack() if self.modern else b""))

    def _publish(self, first: int, body: bytes, size: int) -> None:
        limits, qos, retain = self._announced, first >> 1 & 3, bool(first & 1)
        (length,) = struct.unpack_from("!H", body)
        topic, after = body[2 : 2 + length].decode(), 2 + length
        mid = struct.unpack_from("!H", body, after)[0] if qos else 0
        after += 2 if qos else 0
        if self.modern:
            length, used = VariableByteIntegers.decode(body[after:])
            after += used + length
        if retain and limits.retain == 0:
            self._break(154, f"{topic} was to be retained")
        elif qos > (2 if limits.qos is None else limits.qos):
            self._break(155, f"{topic} at QoS {qos}")
        elif not topic:
            self._break(148, "a topic alias")
        else:
            self._broker.heard.append(Heard(topic, body[after:], qos, retain, size))
            if qos:
                self._acknowledge(mid)
            if limits.hangs_up_on and topic.endswith(limits.hangs_up_on):
                # It reads on no more meanwhile.
                time.sleep(limits.puback_after_s + 0.7)
                self.end(None)

    def _acknowledge(self, mid: int) -> None:
        self._unacknowledged.add(mid)
        most = self._announced.receive_maximum
        if most is not None and len(self._unacknowledged) > most:
            self._break(147, f"{len(self._unacknowledged)} unacknowledged")
            return

        def answer() -> None:
            self._unacknowledged.discard(mid)
            self.send(PUBACK << 4, struct.pack("!H", mid))

        threading.Timer(self._announced.puback_after_s, answer).start()

    def _subscribe(self, body: bytes) -> None:
        (mid,) = struct.unpack_from("!H", body)
        after = 2
        if self.modern:
            length, used = VariableByteIntegers.decode(body[after:])
            after += used + length
        codes: list[int] = []
        while after < len(body):
            (length,) = struct.unpack_from("!H", body, after)
            topic = body[after + 2 : after + 2 + length].decode()
            after += length + 3
            if self._announced.wildcards == 0 and set(topic) & set("+#"):
                self._break(162, f"a subscription to {topic}")
                return
            self._broker.subscriptions.append(topic)
            codes.append(min(1, 2 if self._announced.qos is None else self._announced.qos))
        self.send(SUBACK << 4, struct.pack("!H", mid) + (b"\0" if self.modern else b"") + bytes(codes))
