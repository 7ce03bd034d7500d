"""The service's own broker, where none is configured: loopback only, for one box and its visitors.

Debian's mosquitto where it is installed, else a pure-Python broker. It runs in a session of its own and outlives a
service that is killed, so that the last will `offline` is published; the next start finds it by the file beside the
store and takes it over. A service that stops in order stops it too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from device.errors import HardwareError, InputError
from device.installation import how_to_install

__all__ = ["OwnBroker"]

_START_TIMEOUT_S = 15.0
_MOSQUITTO_PLACES = ("/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto")


@dataclass
class OwnBroker:
    """A broker on loopback."""

    kind: str
    """mosquitto or amqtt."""
    port: int
    pid: int
    record: Path

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"mqtt://127.0.0.1:{self.port}"

    @classmethod
    def start(cls, folder: Path, port: int = 0) -> OwnBroker:
        """Take over the one that runs for this store, or start one; HardwareError where none is installed.

        `port` 0: 1883, or a free one where that is taken.
        """
        folder.mkdir(parents=True, exist_ok=True)
        record = folder / "broker.json"
        found = _running(record)
        if found is not None and (port in (0, found.port)):
            return found
        if found is not None:
            found.stop()
        chosen = _free_port(port)
        kind, command = _command(folder, chosen)
        with (folder / "broker.log").open("ab") as output:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        broker = cls(kind, chosen, child.pid, record)
        _await_port(child, chosen, folder / "broker.log")
        record.write_text(json.dumps({"kind": kind, "port": chosen, "pid": child.pid}))
        return broker

    def stop(self) -> None:
        """End it; safe to call twice."""
        self.record.unlink(missing_ok=True)
        if not _is_ours(self.pid):
            return
        os.kill(self.pid, signal.SIGTERM)
        for _ in range(100):
            if not _is_ours(self.pid):
                return
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)


def _running(record: Path) -> OwnBroker | None:
    try:
        said = json.loads(record.read_text())
        broker = OwnBroker(str(said["kind"]), int(said["port"]), int(said["pid"]), record)
    except (OSError, ValueError, KeyError):
        return None
    return broker if _is_ours(broker.pid) and _answers(broker.port) else None


def _is_ours(pid: int) -> bool:
    """Whether a process is a broker that a service here started, and not another that got its number."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # collects a child that has ended
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"mosquitto" in command or b"device.messaging.embedded" in command


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port(wanted: int) -> int:
    for port in (wanted,) if wanted else (1883, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise InputError(
        "the port for the broker is taken",
        where="mqtt.own_broker_port",
        got=wanted,
        remedy="Choose another, or 0 for a free one.",
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
        ]
        if os.geteuid() == 0:
            # As another user it could not save its state into a folder of root's.
            lines.append("user root")
        settings = folder / "mosquitto.conf"
        settings.write_text("\n".join(lines) + "\n")
        return "mosquitto", [mosquitto, "-c", str(settings)]
    if importlib.util.find_spec("amqtt") is None:
        raise HardwareError(
            "no broker is configured and none is installed", where="mqtt.url",
            remedy=f"Set mqtt.url, or install one: apt-get install mosquitto. Or the one in Python. {how_to_install('broker')}",
        )  # fmt: skip
    return "amqtt", [sys.executable, "-m", "device.messaging.embedded", str(port)]


def _await_port(child: subprocess.Popen[bytes], port: int, output: Path) -> None:
    until = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < until:
        if _answers(port):
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    child.kill()
    said = output.read_text(errors="replace").strip().splitlines()[-1:] or ["no output"]
    raise HardwareError("the service's own broker doesn't start", where=output, got=said[0])
