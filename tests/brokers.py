"""A real mosquitto on a port of its own."""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

_MARK_S = 60.0
"""A broker that lets a listener write nothing leaves it without its mark."""

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Broker:
    """Start, kill and start again; sessions survive on disk."""

    folder: Path
    port: int = field(default_factory=free_port)
    extra: tuple[str, ...] = ("allow_anonymous true",)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "mosquitto.conf"
        settings.write_text("\n".join(self.lines()) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([MOSQUITTO, "-c", str(settings)], stdout=log, stderr=log)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text())

    def lines(self) -> list[str]:
        """Its configuration."""
        return [
            f"listener {self.port} 127.0.0.1", "persistence true", f"persistence_location {self.folder}/", "user root",
            "max_queued_messages 0", "autosave_interval 1", *self.extra,
        ]  # fmt: skip

    def stop(self, *, kill: bool = False) -> None:
        if self._process is not None:
            if kill:
                self._process.kill()
            else:
                self._process.terminate()
            self._process.wait(60)
            self._process = None

    def wait_until_saved(self, timeout_s: float = 120) -> None:
        """Return once a save that began after this call is on disk: the second one that ends after it."""
        store, called_ns, saves = self.folder / "mosquitto.db", time.time_ns(), set[int]()
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with contextlib.suppress(FileNotFoundError):
                saves.add(store.stat().st_mtime_ns)
            if sum(saved_ns > called_ns for saved_ns in saves) >= 2:
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())


@contextlib.contextmanager
def broker(folder: Path, *extra: str) -> Iterator[Broker]:
    running = Broker(folder, extra=extra or ("allow_anonymous true",))
    running.start()
    try:
        yield running
    finally:
        running.stop()


class Subscriber:
    """Listens to everything of Holonode, in a session that survives."""

    def __init__(self, port: int, client_id: str = "listener", topic: str = "holonode/v1/#") -> None:
        self.messages: queue.Queue[tuple[str, dict[str, Any], bool]] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _u, m: self._heard(m)
        self._mark, self._marks = f"holonode/v1/{client_id}/mark", 0
        topics = {topic} if paho.topic_matches_sub(topic, self._mark) else {topic, self._mark}
        self._client.on_connect = lambda c, *_: c.subscribe([(each, 1) for each in topics])
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        lasting = Properties(PacketTypes.CONNECT)
        lasting.SessionExpiryInterval = 3600
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
        self._client.loop_start()

    def _heard(self, message: paho.MQTTMessage) -> None:
        # Marks of other listeners are theirs.
        if message.topic.endswith("/mark") and message.topic != self._mark:
            return
        # Media are no JSON, and the requests of a test may be anything.
        if "/media/" not in message.topic and "/request/" not in message.topic:
            self.messages.put((message.topic, json.loads(message.payload), bool(message.retain)))

    def until(self, leaf: str, timeout_s: float = 120, **wanted: Any) -> dict[str, Any]:
        """The next message of a topic that holds what is wanted."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                topic, payload, _ = self.messages.get(timeout=max(deadline - time.monotonic(), 0.01))
            except queue.Empty as error:
                raise AssertionError(f"no {leaf} with {wanted} within {timeout_s} s") from error
            if topic.endswith("/" + leaf) and all(payload.get(k) == v for k, v in wanted.items()):
                return payload

    def drain(self, quiet_s: float = 1.0) -> list[tuple[str, dict[str, Any], bool]]:
        """Everything that the broker had before this call, however slow the machine is, and until nothing came for a while."""
        found = []
        self._marks += 1
        marked = self._subscribed.wait(_MARK_S)
        if marked:
            self._client.publish(self._mark, json.dumps({"mark": self._marks}), qos=1)
        with contextlib.suppress(queue.Empty):
            while True:
                message = self.messages.get(timeout=_MARK_S if marked else quiet_s)
                if message[0] != self._mark:
                    found.append(message)
                elif message[1]["mark"] == self._marks:
                    marked = False
        return found

    def heard(self, quiet_s: float) -> list[tuple[str, dict[str, Any], bool]]:
        """What came until nothing did for a while, of a broker that may be away."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self.messages.get(timeout=quiet_s))
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
