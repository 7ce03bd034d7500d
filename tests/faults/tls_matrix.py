"""Nothing goes to the wrong party: `python -m tests.faults.tls_matrix`.

Impostors: a box meets a server that isn't its broker, and what the server can read after the handshake is counted. Strangers:
the broker meets a client that isn't its box; its log counts what it took from it. Neighbours: every box, every box's topics,
publish and subscribe, read back by one who sees all. Real TLS, real mosquitto by deploy/fleet/mosquitto, certificates by its script.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from device.config import DeliveryConfig, MqttConfig
from device.errors import InputError
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Info
from device.storage.outbox import Outbox
from tests.authority import Authority, FleetBroker
from tests.faults.tls_neighbours import Neighbours, neighbours
from tests.unit.test_outbox import events

BOX = "box-a"
DAY = timedelta(days=1)
TOLD_WITHIN_S = 10.0
_CONNECT = 1


@dataclass
class Impostor:
    """Takes connections with a certificate and counts the bytes that it can read."""

    certificate: tuple[Path, Path] | None
    """None: plain text."""
    read: bytearray = field(default_factory=bytearray)
    """After the handshake; in plain text everything."""
    connections: int = 0

    def __enter__(self) -> Impostor:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._context: ssl.SSLContext | None = None
        if self.certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*self.certificate)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # `close` alone doesn't wake the thread that waits for a connection.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(60)

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            taken.settimeout(2)
            with contextlib.suppress(OSError), self._secured(taken) as connection:
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                while got := connection.recv(4096):
                    self.read += got

    def _secured(self, taken: socket.socket) -> socket.socket:
        if self._context is None:
            return taken
        return self._context.wrap_socket(taken, server_side=True, do_handshake_on_connect=False)


class Tap:
    """Lies between a box and its broker, and keeps what the box sent on each connection."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.sent: list[bytearray] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    @property
    def packets(self) -> list[int]:
        """Types of the plain MQTT packets that went by: 1 is CONNECT, 3 PUBLISH, 8 SUBSCRIBE."""
        return [kind for stream in self.sent for kind in _packet_types(bytes(stream))]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                box, _ = self._listening.accept()
                stream = bytearray()
                self.sent.append(stream)
                broker = socket.create_connection(("127.0.0.1", self._to))
                threading.Thread(target=_copy, args=(box, broker, stream), daemon=True).start()
                threading.Thread(target=_copy, args=(broker, box, None), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    with contextlib.suppress(OSError), source:
        while got := source.recv(4096):
            if kept is not None:
                kept += got
            target.sendall(got)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _packet_types(stream: bytes) -> list[int]:
    """Of MQTT packets one after the other: a type and a length of up to four bytes before each."""
    found: list[int] = []
    at = 0
    while at < len(stream):
        found.append(stream[at] >> 4)
        length = shift = 0
        at += 1
        while at < len(stream):
            byte = stream[at]
            length, shift, at = length | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                break
        at += length
    return found


@dataclass
class Told:
    """What a box told and what still waits."""

    codes: list[str] = field(default_factory=list)
    after_s: float = 0.0
    """Until the first."""
    waiting: int = 0


@dataclass(frozen=True)
class Verdict:
    """One meeting with the wrong party, or, as a control, with the right one."""

    case: str
    right_party: bool
    leaked: int
    """Bytes that an impostor read; packets beyond CONNECT that a broker took."""
    told: Told

    def __str__(self) -> str:
        party = "right" if self.right_party else "wrong"
        codes = ", ".join(dict.fromkeys(self.told.codes)) or "-"
        return f"{self.case} ({party} party): {self.leaked} got through; {self.told.waiting} wait; told: {codes}"

    @property
    def sound(self) -> bool:
        if self.right_party:
            return self.leaked > 0
        return self.leaked == 0 and self.told.waiting == 5 and bool(self.told.codes) and self.told.after_s <= TOLD_WITHIN_S


@contextlib.contextmanager
def boxed(folder: Path, config: MqttConfig, told: Told) -> Iterator[Outbox]:
    """A box with five records to deliver, and the link that should."""
    outbox = Outbox(folder / "store", BOX)
    outbox.commit(events(5))
    began = time.monotonic()

    def hear(code: str, _message: str) -> None:
        told.after_s = told.after_s or time.monotonic() - began
        told.codes.append(code)

    info = Info(
        device_id=BOX, software={}, instrument={}, instrument_id="i", calibration_id=None, models={}, pipeline_id="p", config={},
        config_hash="c",
    )  # fmt: skip
    try:
        link = MqttLink(
            config, parse_url(config.url), outbox, info, on_warning=hear, delivery=DeliveryConfig(), jitter=lambda: 0.0
        )
    except InputError:
        hear("refused to start", "")
        link = None
    else:
        link.start()
    try:
        yield outbox
    finally:
        if link is not None:
            link.stop(0.2)
        told.waiting = outbox.depth()
        outbox.close()


def impostors(folder: Path, only: Sequence[str] = ()) -> Iterator[Verdict]:
    """Servers that a box must not talk to."""
    ours, theirs = Authority.made(folder / "ours"), Authority.made(folder / "theirs")
    shown = ours.client(BOX)
    soon, later, long_ago = 300 * DAY, 30 * DAY, -30 * DAY
    shows: dict[str, Callable[[], tuple[Path, Path] | None]] = {
        "our broker": lambda: ours.broker("localhost"),
        "wrong authority": lambda: theirs.broker("localhost"),
        "wrong name": lambda: ours.broker("example.org"),
        "expired": lambda: ours.dated("localhost", starts_in=2 * long_ago, ends_in=long_ago, server=True),
        "not yet valid": lambda: ours.dated("localhost", starts_in=later, ends_in=soon, server=True),
        "a box's certificate": lambda: ours.client("localhost"),
        "plain text": lambda: None,
    }
    for number, (name, made) in enumerate(shows.items()):
        if only and name not in only:
            continue
        told = Told()
        with Impostor(made()) as impostor:
            config = ours.shown_by(impostor.port, shown, protocol="5")
            with boxed(folder / f"impostor-{number}", config, told):
                until = time.monotonic() + TOLD_WITHIN_S
                while not told.codes and not impostor.read and time.monotonic() < until:
                    time.sleep(0.05)
                time.sleep(0.8)  # a second try, or more of it
        # Of a TLS greeting a plain-text server reads bytes as well; what it must not read is MQTT.
        leaked = impostor.read.count(b"MQTT") if impostor.certificate is None else len(impostor.read)
        assert impostor.connections, "nobody came: nothing was tried"
        yield Verdict(f"server: {name}", name == "our broker", leaked, told)


def strangers(folder: Path, only: Sequence[str] = ()) -> Iterator[Verdict]:
    """Clients that the broker must not listen to."""
    ours, theirs = Authority.made(folder / "ours"), Authority.made(folder / "theirs")
    broker = FleetBroker.of(folder / "broker", ours)
    broker.start()
    tap = Tap(broker.port)
    soon, later, long_ago = 300 * DAY, 30 * DAY, -30 * DAY
    shows: dict[str, Callable[[], MqttConfig]] = {
        "our box": lambda: ours.shown_by(broker.port, ours.client(BOX), protocol="5"),
        "no certificate": lambda: ours.shown_by(broker.port, None, protocol="5"),
        "wrong authority": lambda: ours.shown_by(broker.port, theirs.client(BOX), protocol="5"),
        "expired": lambda: ours.shown_by(broker.port, ours.dated(BOX, starts_in=2 * long_ago, ends_in=long_ago), protocol="5"),
        "not yet valid": lambda: ours.shown_by(broker.port, ours.dated(BOX, starts_in=later, ends_in=soon), protocol="5"),
        "a server's certificate": lambda: ours.shown_by(
            broker.port, ours.dated(BOX, starts_in=-DAY, ends_in=soon, server=True), protocol="5"
        ),
        "another box's certificate": lambda: ours.shown_by(broker.port, ours.client("box-b"), protocol="5"),
        "plain text to the TLS port": lambda: MqttConfig(url=f"mqtt://localhost:{tap.port}", protocol="5"),
        "plain text by mistake": lambda: MqttConfig(
            url=f"mqtt://localhost:{broker.port}", protocol="5", ca_file=str(ours.file)
        ),
    }
    try:
        for number, (name, configured) in enumerate(shows.items()):
            if only and name not in only:
                continue
            told, before = Told(), len(broker.log)
            with boxed(folder / f"stranger-{number}", configured(), told) as outbox:
                until = time.monotonic() + TOLD_WITHIN_S
                while not told.codes and outbox.depth() and time.monotonic() < until:
                    time.sleep(0.05)
                time.sleep(0.8)
            took = broker.log[before:]
            leaked = took.count("Received PUBLISH") + took.count("Received SUBSCRIBE") + took.count("New client connected")
            leaked += sum(kind != _CONNECT for kind in tap.packets)
            assert tap.packets or name != "plain text to the TLS port", "the tap heard nothing: nothing was tried"
            yield Verdict(f"client: {name}", name == "our box", leaked, told)
    finally:
        tap.close()
        broker.stop()


def run(folder: Path) -> Iterator[Verdict | Neighbours]:
    """All of it."""
    yield from impostors(folder / "impostors")
    yield from strangers(folder / "strangers")
    yield neighbours(folder / "neighbours", ("box-a", "box-b", "box-c"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every meeting; 4 where anything went to the wrong party, or the right one got nothing."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("impostors", "strangers", "neighbours"):
            (folder / part).mkdir()
        sound = True
        for verdict in run(folder):
            print(verdict, flush=True)
            sound = sound and verdict.sound
    return 0 if sound else 4


if __name__ == "__main__":
    sys.exit(main())
