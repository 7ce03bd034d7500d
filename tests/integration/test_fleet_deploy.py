"""What the fleet is deployed with: the broker's settings on a real mosquitto, the units, the compose file."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.fleet import cli
from deploy.fleet.intake import read
from deploy.fleet.store import Store
from device.storage.outbox import Outbox
from tests import stores
from tests.authority import Authority
from tests.brokers import Broker
from tests.collectors import CollectorProcess
from tests.integration.test_fleet_collect import event, eventually
from tests.postgres import rows
from tests.services import ROOT

FLEET = ROOT / "deploy" / "fleet"
USERS = ("collector", "box-1", "box-2", "operator")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("certificates") / "authority")


@pytest.fixture
def strict(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    """A mosquitto with the committed settings and access list; only paths and port are the tests' own."""
    etc = tmp_path / "etc"
    (etc / "certs").mkdir(parents=True)
    for made, name in zip(authority.broker("127.0.0.1"), ("broker.crt", "broker.key"), strict=True):
        shutil.copy(made, etc / "certs" / name)
    shutil.copy(FLEET / "mosquitto" / "holonode.acl", etc)
    for user in USERS:
        make = ["-c"] if user == "collector" else []
        subprocess.run(["mosquitto_passwd", *make, "-b", etc / "holonode.passwords", user, f"{user} secret"], check=True)
        (tmp_path / user).write_text(f"{user} secret\n")
    settings = (FLEET / "mosquitto" / "holonode.conf").read_text().replace("/etc/mosquitto", str(etc))
    assert settings.count("listener 8883\n") == 1
    # The listener is the tests' own; what follows it in the settings is of that one.
    running = Broker(tmp_path / "broker", extra=(settings.replace("listener 8883\n", ""),))
    running.start()
    try:
        yield running
    finally:
        running.stop()


@dataclass
class Client:
    """A listener with a user's name and password, and publishes of that user."""

    port: int
    user: str
    authority: Authority
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = self._connected()
        self._client.on_message = lambda _c, _u, message: self.heard.append(message.topic)
        self._client.loop_start()
        self._client.subscribe("#", qos=1)

    def publish(self, topic: str, payload: bytes = b"{}") -> bool:
        """Whether the broker takes it; on a connection of its own, for mosquitto 2.0.11 hangs up after it has refused."""
        answers: list[bool] = []
        client = self._connected()
        client.on_publish = lambda _c, _u, _mid, reason, _p: answers.append(not reason.is_failure)
        client.publish(topic, payload, qos=1)
        until = time.monotonic() + 120
        while not answers:
            assert time.monotonic() < until
            client.loop(0.1)
        client.disconnect()
        return answers[0]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.tls_set(str(self.authority.file))
        client.username_pw_set(self.user, f"{self.user} secret")
        client.connect("127.0.0.1", self.port)
        return client


@pytest.fixture
def clients(strict: Broker, authority: Authority) -> Iterator[tuple[Client, ...]]:
    made = [Client(strict.port, user, authority) for user in USERS]
    yield tuple(made)
    for client in made:
        client.close()


def test_a_box_writes_its_own_topics_and_only_collectors_confirm(clients: tuple[Client, ...]) -> None:
    collector, box, other, operator = clients
    own = ("status", "info", "health", "stats", "detections", "intervals", "events", "media/1", "response/sample")
    allowed = [f"holonode/v1/box-1/{leaf}" for leaf in own] + ["homeassistant/device/holonode/box-1/config"]
    assert {topic: box.publish(topic) for topic in allowed} == dict.fromkeys(allowed, True)
    refused = [f"holonode/v1/box-2/{leaf}" for leaf in (*own, "ack", "request/stop")]
    refused += ["holonode/v1/box-1/ack", "holonode/v1/box-1/request/stop", "homeassistant/device/holonode/box-2/config"]
    assert {topic: box.publish(topic) for topic in refused} == dict.fromkeys(refused, False)
    assert collector.publish("holonode/v1/box-1/ack")
    assert not any(collector.publish(f"holonode/v1/box-1/{leaf}") for leaf in (*own, "request/stop"))
    assert not any(operator.publish(f"holonode/v1/box-1/{leaf}") for leaf in (*own, "ack"))
    assert operator.publish("holonode/v1/box-1/request/stop")
    eventually(lambda: len(box.heard) == 2)
    assert box.heard == ["holonode/v1/box-1/ack", "holonode/v1/box-1/request/stop"]
    assert other.heard == []
    assert set(collector.heard) == {f"holonode/v1/box-1/{leaf}" for leaf in ("detections", "intervals", "events")}
    assert set(operator.heard) == {f"holonode/v1/box-1/{leaf}" for leaf in (*own, "ack", "request/stop")}


def test_collectors_work_over_tls_with_a_password_file(
    database: str, strict: Broker, authority: Authority, clients: tuple[Client, ...], tmp_path: Path
) -> None:
    collector = CollectorProcess(
        database, f"mqtts://127.0.0.1:{strict.port}",
        more=("--username", "collector", "--password-file", str(tmp_path / "collector"), "--ca-file", str(authority.file)),
    )  # fmt: skip
    collector.start()
    try:
        # Again and again, for one that comes before the collector is dropped; it's the same record.
        eventually(
            lambda: (
                clients[1].publish("holonode/v1/box-1/events", event(1, "box-1"))
                and rows(database, "SELECT device_id FROM records") == [("box-1",)]
            )
        )
        eventually(lambda: "holonode/v1/box-1/ack" in clients[1].heard)
    finally:
        collector.kill()


def test_a_broker_of_another_authority_gets_no_password(database: str, strict: Broker, tmp_path: Path) -> None:
    other = Authority.made(tmp_path / "other")
    collector = CollectorProcess(
        database, f"mqtts://127.0.0.1:{strict.port}",
        more=("--username", "collector", "--password-file", str(tmp_path / "collector"), "--ca-file", str(other.file)),
    )  # fmt: skip
    collector.start()
    eventually(lambda: "unknown ca" in (strict.folder / "log").read_text())
    status, _, told = collector.finish()
    assert status == 0
    assert "certificate verify failed" in told
    assert "as holonode-collector" not in (strict.folder / "log").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_the_units_are_sound_and_confined(tmp_path: Path) -> None:
    for unit in (FLEET / "systemd").glob("*.service"):
        text = unit.read_text()
        assert "ExecStart=/opt/holonode-fleet/bin/holonode-fleet " in text
        tried = tmp_path / unit.name
        tried.write_text(text.replace("/opt/holonode-fleet/bin/holonode-fleet", sys.executable))
        for command in (["verify", "--man=no"], ["security", "--offline=true", "--threshold=15"]):
            done = subprocess.run(["systemd-analyze", *command, tried], check=False, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_file_names_what_is_there_and_holds_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    compose: dict[str, Any] = yaml.safe_load((FLEET / "compose.yaml").read_text())
    known = set(re.findall(r"HOLONODE_FLEET_\w+", (FLEET / "cli.py").read_text())) | {
        f"HOLONODE_FLEET_{name}" for name in ("USERNAME", "PASSWORD_FILE", "CA_FILE")
    }
    for name, service in compose["services"].items():
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        assert {f"/run/secrets/{secret}" for secret in service.get("secrets", ())} == {
            value for value in service.get("environment", {}).values() if value.startswith("/run/secrets/")
        }, name
        assert {key for key in service.get("environment", {}) if key.startswith("HOLONODE")} <= known, name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            named = source in compose["volumes"] or source.startswith("./secrets/")
            assert named or (FLEET / source).is_file(), source
        if "build" in service:
            assert cli.main([*service["command"], "--database", ""]) == 2
            assert "no database named" in capsys.readouterr().err
            assert (FLEET / service["build"]["context"] / "pyproject.toml").is_file()
    assert all(secret["file"].startswith("./secrets/") for secret in compose["secrets"].values())
    hosts = [service.get("hostname") for name, service in compose["services"].items() if name.startswith("collector")]
    assert len(set(hosts)) == len(hosts) > 1


def queries_of(readme: Path) -> list[str]:
    """Every statement of its SQL."""
    blocks = re.findall(r"```sql\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    return [query.strip() for block in blocks for query in block.split(";") if query.strip()]


def test_the_queries_of_the_readme_find_what_a_box_recorded_and_how_much(database: str, tmp_path: Path) -> None:
    stores.filled(tmp_path, crops=False)
    outbox = Outbox(tmp_path / "store", "box-1")
    waiting = outbox.pending(1000)
    records = [read(f"holonode/v1/box-1/{row.kind}", row.body) for row in waiting]
    told = next(row for row in waiting if row.kind == "events")
    outbox.close()
    other = read("holonode/v1/box-1/events", told.body.replace(b"change it", b"change it soon"))
    bad = read("holonode/v1/box-1/events", b"{")
    with contextlib.closing(Store(database)) as store:
        # What comes twice counts once.
        assert store.commit([*records, bad]).rejected == 1
        assert store.commit([*records, other]).conflicts == 1
    # What was recorded is of a day in May.
    found = [
        rows(database, query.replace("> now() - interval '1 day'", "> '2026-05-01'"))
        for query in queries_of(FLEET / "README.md")
    ]
    concentrations, an_hour, by_class, events, rejected, by_day, conflicts = found
    night, day = datetime(2026, 5, 4, 23, tzinfo=UTC), datetime(2026, 5, 5, 0, tzinfo=UTC)
    assert {row[2] for row in concentrations} == {"birch", "dust", "pennate-diatom", "total", "unknown"}
    # Before midnight two birch, a dust and an unknown; after it none, a diatom and a birch, and one that could not look.
    assert [(row[0], row[1], row[4]) for row in an_hour] == [("box-1", night, 4), ("box-1", day, 2)]
    assert [row[3] for row in an_hour] == [pytest.approx(0.013), pytest.approx(3 * 0.013)]
    assert [(hour, label, number) for _, hour, label, number in by_class if number] == [
        (night, "birch", 2), (night, "dust", 1), (night, "unknown", 1), (day, "birch", 1), (day, "pennate-diatom", 1),
    ]  # fmt: skip
    totals = [(row[3], row[4]) for row in by_day if row[2] == "total"]
    assert [n for n, _ in totals] == [4, 2]
    assert totals[0][1] == pytest.approx(next(row[3] for row in concentrations if row[2] == "total" and night <= row[1] < day))
    assert [row[1:4] for row in events] == [("box-1", "alarm", "window_full")]
    assert [row[1:3] for row in rejected] == [(1, "holonode/v1/box-1/events")]
    (conflict,) = conflicts
    assert conflict[:3] == ("box-1", msgspec.json.decode(told.body)["spool_id"], told.seq)
    first, second = cast("dict[str, Any]", conflict[3]), cast("dict[str, Any]", conflict[4])
    assert (first["message"], second["message"]) == (
        'the "window" is full,\nchange it',
        'the "window" is full,\nchange it soon',
    )


def test_no_other_readme_has_queries_that_nobody_tries() -> None:
    written = {path for path in ROOT.rglob("*.md") if ".venv" not in path.parts and queries_of(path)}
    assert written == {FLEET / "README.md"}
