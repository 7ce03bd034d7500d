"""What brokers do that tests/integration/test_link.py doesn't hold yet."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from device.messaging.connection import Puback
from device.messaging.link import MqttLink
from device.storage.outbox import Outbox
from tests.brokers import Subscriber, broker, free_port
from tests.integration.test_link import eventually, linked, outbox, seqs  # noqa: F401
from tests.unit.test_outbox import events


@contextlib.contextmanager
def only_311(behind: int) -> Iterator[int]:
    """A front that answers an MQTT 5 CONNECT as a 3.1.1 broker must (return code 1) and passes 3.1.1 on."""
    server = socket.create_server(("127.0.0.1", 0))
    opened: list[socket.socket] = [server]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                opened.append(client)
                first = client.recv(65536)
                if first[first.index(b"MQTT") + 4] == 5:
                    client.sendall(b"\x20\x02\x00\x01")
                    client.close()
                    continue
                far = socket.create_connection(("127.0.0.1", behind))
                opened.append(far)
                far.sendall(first)
                for pair in ((client, far), (far, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield int(server.getsockname()[1])
    finally:
        for one in opened:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def test_a_broker_without_mqtt_5_gets_the_rows_over_3_1_1(tmp_path: Path, outbox: Outbox) -> None:  # noqa: F811
    outbox.commit(events(5))
    with broker(tmp_path / "broker") as running, only_311(running.port) as front:
        listener = Subscriber(running.port)
        link = linked(outbox, f"mqtt://127.0.0.1:{front}")
        try:
            eventually(lambda: outbox.depth() == 0)
        finally:
            link.stop()
        assert seqs(listener) == [1, 2, 3, 4, 5]
        listener.close()


def test_amqtt_gets_the_rows(outbox: Outbox) -> None:  # noqa: F811
    pytest.importorskip("amqtt")
    port = free_port()
    child = subprocess.Popen([sys.executable, "-m", "device.messaging.embedded", str(port)], stderr=subprocess.DEVNULL)
    try:
        outbox.commit(events(5))
        link = linked(outbox, f"mqtt://127.0.0.1:{port}")
        try:
            eventually(lambda: outbox.depth() == 0, 90)
        finally:
            link.stop()
    finally:
        child.kill()
        child.wait(60)


def test_a_row_that_alone_is_refused_is_sent_again(outbox: Outbox) -> None:  # noqa: F811
    """Rows 1..5 in flight, 1 refused, 2..5 taken: row 1 stays undelivered and is sent again."""
    outbox.commit(events(5))
    link: MqttLink = linked(outbox, f"mqtt://127.0.0.1:{free_port()}")
    try:
        link._sender._in_flight.update({100 + seq: seq for seq in range(1, 6)})
        refused, taken = ReasonCode(PacketTypes.PUBACK, identifier=135), ReasonCode(PacketTypes.PUBACK, identifier=0)
        for seq in range(1, 6):
            link._connection.events.put(Puback(100 + seq, refused if seq == 1 else taken))
        link.notify()
        eventually(lambda: outbox.depth() == 1)
        assert [row.seq for row in outbox.pending(20)] == [1]
        assert link.refused_publishes == 1
    finally:
        link.stop()
