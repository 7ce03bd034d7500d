"""The service's own broker, where none is configured: loopback only, for one box and its visitors.

Debian's mosquitto where it is installed, else a pure-Python broker. It runs in a session of its own and outlives a
service that is killed, so that the last will `offline` is published; the next start finds it by the file beside the
store, which knows it by more than its number, and takes it over. One that the file doesn't name, but that was started for this
store, is ended. A service that stops in order stops it too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import Struct

from device.errors import HardwareError, InputError
from device.installation import how_to_install
from device.processes import Process, find, process

__all__ = ["USUAL_PORT", "OwnBroker"]

USUAL_PORT = 1883

_START_TIMEOUT_S = 30.0
_ANSWER_S = 3.0
_MOST_LOG_BYTES = 2**20
_MOSQUITTO_PLACES = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")
_CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00"
"""MQTT 3.1.1, a session that isn't kept, no name."""
_CONNACK, _DISCONNECT = b"\x20\x02\x00\x00", b"\xe0\x00"


class _BrokerRecord(Struct, frozen=True, kw_only=True):
    """What `broker.json` says of it."""

    kind: str
    port: int
    process: Process


@dataclass(frozen=True)
class OwnBroker:
    """A broker on loopback."""

    kind: str
    """mosquitto or amqtt."""
    port: int
    process: Process
    folder: Path
    """The store's."""
    usual_port_taken: bool = False
    """Whether another program has the port that a broker usually has."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    @classmethod
    def start(cls, folder: Path, port: int = 0) -> OwnBroker:
        """Take over the one that runs for this store, or start one; HardwareError where none is installed.

        `port` 0: 1883, or a free one where that is taken.
        """
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        found = _running(folder)
        for orphan in find(lambda words: _is_for(folder, words)):
            if found is None or orphan.pid != found.process.pid:
                orphan.end()
        if found is not None and port in (0, found.port) and found.answers():
            return found
        if found is not None:
            found.stop()
        chosen = _free_port(port)
        started = _started(folder, chosen)
        return replace(started, usual_port_taken=port == 0 and chosen != USUAL_PORT)

    def again(self) -> OwnBroker:
        """Another one in its place, at its port; HardwareError where that doesn't start."""
        self.process.end()
        return _started(self.folder, self.port)

    def answers(self) -> bool:
        """Whether it takes a connection, as a broker does; one that hangs still has a port that is open."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_S) as probe:
                probe.sendall(_CONNECT)
                answer = probe.recv(len(_CONNACK))
                probe.sendall(_DISCONNECT)
                return answer == _CONNACK
        except OSError:
            return False

    def stop(self) -> None:
        """End it; safe to call twice."""
        with contextlib.suppress(OSError):
            _record_of(self.folder).unlink(missing_ok=True)
        self.process.end()


def _record_of(folder: Path) -> Path:
    return folder / "broker.json"


def _running(folder: Path) -> OwnBroker | None:
    """The one that the file beside the store names, where that very process still runs."""
    try:
        said = msgspec.json.decode(_record_of(folder).read_bytes(), type=_BrokerRecord)
    except (OSError, msgspec.DecodeError):
        return None
    return OwnBroker(said.kind, said.port, said.process, folder) if said.process.is_alive else None


def _is_for(folder: Path, words: Sequence[str]) -> bool:
    """Whether a command line is that of a broker which was started for this store."""
    mosquitto = len(words) == 3 and Path(words[0]).name == "mosquitto" and words[1] == "-c"
    if mosquitto:
        return Path(words[2]).is_absolute() and Path(words[2]) == folder / "mosquitto.conf"
    return list(words[1:3]) == ["-m", "device.messaging.embedded"] and words[4:] == [str(folder)]


def _started(folder: Path, port: int) -> OwnBroker:
    """A broker that listens, and the file that names it."""
    try:
        kind, command = _command(folder, port)
        log = folder / "broker.log"
        too_long = log.exists() and log.stat().st_size > _MOST_LOG_BYTES
        with log.open("wb" if too_long else "ab") as output:
            pid = _spawned(command, output.fileno())
    except OSError as error:
        raise HardwareError(
            "the service's own broker can't be started", where=folder, got=error.strerror or error,
            remedy="Free disk space, or let the service's user write there.",
        ) from error  # fmt: skip
    running = process(pid)
    if running is not None:
        broker = OwnBroker(kind, port, running, folder)
        # Before anything is waited for: a service that is killed meanwhile must find it again.
        _keep(folder, _BrokerRecord(kind=kind, port=port, process=running))
        if _comes_up(broker):
            return broker
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
    raise HardwareError("the service's own broker doesn't start", where=log, got=said[0])


def _spawned(command: list[str], output: int) -> int:
    """The number of a process that outlives this one."""
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        *((os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)),
    ]
    usual = [signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
    return os.posix_spawn(command[0], command, os.environ, file_actions=actions, setsid=True, setsigdef=usual)


def _keep(folder: Path, record: _BrokerRecord) -> None:
    """Where the disk is full, the next start finds it by its command line."""
    partial = folder / "broker.json.partial"
    with contextlib.suppress(OSError):
        partial.write_bytes(msgspec.json.encode(record))
        partial.replace(_record_of(folder))


def _free_port(wanted: int) -> int:
    for port in (wanted,) if wanted else (USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError(
        "the port for the broker is taken by another program",
        where="mqtt.own_broker_port",
        got=wanted,
        remedy=f"Choose another, or 0 for a free one; `ss -ltnp sport = :{wanted}` names who has it.",
    )


def _command(folder: Path, port: int) -> tuple[str, list[str]]:
    mosquitto = shutil.which("mosquitto") or next((p for p in _MOSQUITTO_PLACES if os.access(p, os.X_OK)), None)
    if mosquitto:
        state = folder / "broker"
        state.mkdir(exist_ok=True)
        lines = [
            f"listener {port} 127.0.0.1",
            # Loopback only: who is on the box is let in.
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {state}/",
            "autosave_interval 30",
            "max_queued_messages 100000",
            "set_tcp_nodelay true",
            # Whether it still answers is asked every few seconds.
            "connection_messages false",
        ]
        if os.geteuid() == 0:
            # As another user it could not save its state into a folder of root's.
            lines.append("user root")
        settings, text = folder / "mosquitto.conf", "\n".join(lines) + "\n"
        if not settings.exists() or settings.read_text() != text:
            settings.write_text(text)
        return "mosquitto", [mosquitto, "-c", str(settings)]
    if importlib.util.find_spec("amqtt") is None:
        raise HardwareError(
            "no broker is configured and none is installed", where="mqtt.url",
            remedy=f"Set mqtt.url, or install one: apt-get install mosquitto. Or the one in Python. {how_to_install('broker')}",
        )  # fmt: skip
    return "amqtt", [sys.executable, "-m", "device.messaging.embedded", str(port), str(folder)]


def _comes_up(broker: OwnBroker) -> bool:
    """Whether it answers in time; where another program took the port meanwhile, it has ended."""
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until and broker.process.is_alive:
        if broker.answers() and broker.process.is_alive:
            return True
        time.sleep(0.05)
    broker.stop()
    return False
