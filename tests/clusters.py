"""Real clusters of three brokers on loopback: nats-server's and RabbitMQ's, both MQTT 3.1.1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers import free_port

_NODES = 3
_START_S = 120


@dataclass
class Node:
    """One broker of a cluster, in a process group of its own."""

    name: str
    folder: Path
    mqtt_port: int
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.mqtt_port}"

    def start(self) -> None:
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                self.command, stdout=output, stderr=output, cwd=self.folder, env=os.environ | self.environment,
                start_new_session=True,
            )  # fmt: skip

    def await_port(self) -> None:
        until = time.monotonic() + _START_S
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.mqtt_port)) == 0:
                    return
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "output").read_text()[-3000:]
            assert time.monotonic() < until, (self.folder / "output").read_text()[-3000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """With everything it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(120)
            self._process = None


@dataclass
class Cluster:
    """Three nodes; `helper` is what they need beside them."""

    nodes: list[Node]
    helper: Node | None = None

    def start(self) -> None:
        if self.helper is not None:
            self.helper.start()
            self.helper.await_port()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.await_port()

    def close(self) -> None:
        for node in (*self.nodes, *([self.helper] if self.helper else [])):
            node.kill()


def nats(folder: Path) -> Cluster:
    """JetStream keeps sessions and messages on a majority of the nodes before they are acknowledged."""
    routes = [free_port() for _ in range(_NODES)]
    nodes: list[Node] = []
    for number, route in enumerate(routes):
        home, mqtt_port = _home(folder / f"nats-{number}"), free_port()
        others = ", ".join(f"nats-route://127.0.0.1:{port}" for port in routes if port != route)
        settings = home / "nats.conf"
        settings.write_text(
            f"server_name: node-{number}\n"
            f"listen: 127.0.0.1:{free_port()}\n"
            f"jetstream {{ store_dir: {home / 'store'}, max_memory_store: 64MB, max_file_store: 1GB }}\n"
            f"mqtt {{ listen: 127.0.0.1:{mqtt_port}, max_ack_pending: 1000 }}\n"
            f"cluster {{ name: fleet, listen: 127.0.0.1:{route}, routes: [{others}] }}\n"
        )
        nodes.append(Node(f"node-{number}", home, mqtt_port, [_nats_program(), "--config", str(settings)]))
    return Cluster(nodes)


def rabbitmq(folder: Path) -> Cluster:
    """The MQTT plugin with quorum queues, so that a session outlives the node it began on."""
    epmd_port, cookie = free_port(), os.urandom(12).hex()
    names = [f"node-{number}@localhost" for number in range(_NODES)]
    nodes = [_rabbitmq_node(_home(folder / f"rabbitmq-{number}"), name, names, epmd_port, cookie)
             for number, name in enumerate(names)]  # fmt: skip
    epmd = shutil.which("epmd")
    assert epmd is not None
    command = [epmd, "-port", str(epmd_port), "-address", "127.0.0.1"]
    return Cluster(nodes, Node("epmd", _home(folder / "epmd"), epmd_port, command))


def _rabbitmq_node(home: Path, name: str, names: Sequence[str], epmd_port: int, cookie: str) -> Node:
    mqtt_port = free_port()
    (home / ".erlang.cookie").write_text(cookie)
    (home / ".erlang.cookie").chmod(0o400)
    (home / "enabled_plugins").write_text("[rabbitmq_mqtt].\n")
    members = [f"cluster_formation.classic_config.nodes.{number + 1} = {member}" for number, member in enumerate(names)]
    lines = [
        "listeners.tcp = none", f"mqtt.listeners.tcp.1 = 127.0.0.1:{mqtt_port}", "mqtt.durable_queue_type = quorum",
        "mqtt.prefetch = 500", "mqtt.subscription_ttl = 604800000", "cluster_partition_handling = pause_minority",
        "cluster_formation.peer_discovery_backend = classic_config", *members,
    ]  # fmt: skip
    (home / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
    environment = {
        "HOME": str(home), "RABBITMQ_NODENAME": name, "RABBITMQ_DIST_PORT": str(free_port()), "RABBITMQ_NODE_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"), "RABBITMQ_LOG_BASE": str(home / "log"), "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}",
    }  # fmt: skip
    return Node(name, home, mqtt_port, [_rabbitmq_program()], environment)


def missing(kind: str) -> str | None:
    """Why there can be no such cluster here; None where there can."""
    there = {"nats": Path(_nats_program()).exists(), "rabbitmq": Path(_rabbitmq_program()).exists()}[kind]
    return None if there else f"{kind} is not installed: make cluster-brokers"


def _nats_program() -> str:
    return shutil.which("nats-server") or "/usr/sbin/nats-server"


def _rabbitmq_program() -> str:
    # The one in /usr/sbin changes to user rabbitmq.
    return "/usr/lib/rabbitmq/bin/rabbitmq-server"


def _home(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
