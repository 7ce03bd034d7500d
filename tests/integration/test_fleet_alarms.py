"""Alarms through a real broker, PostgreSQL, mail server and web server: each told once, and once that it is over."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
import psycopg
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from deploy.fleet.alarms.book import acknowledge, alarms, letters, queue_letters, settle, settle_letter, silence
from deploy.fleet.alarms.conditions import conditions
from deploy.fleet.alarms.settings import LevelRule, Rules, WatchSettings, checked
from deploy.fleet.cli import main
from deploy.fleet.database import Connection, connect
from device.errors import InputError
from device.messaging.payloads import Check, Health, Status
from tests.brokers import Broker, Subscriber, broker
from tests.mailbox import Received, mail_server, web_server
from tests.services import ROOT

NOTHING = Rules(silent_after_s=0, offline_after_s=0, health_after_s=0, waiting_longest_s=0, clear_after_s=0)


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    with connect(database) as made:
        yield made


def says(connection: Connection, device: str, topic: str, payload: object, ago_s: float = 0.0) -> None:
    connection.execute(
        """INSERT INTO latest VALUES (%s, %s, %s, now() - make_interval(secs => %s)) ON CONFLICT (device_id, topic)
        DO UPDATE SET payload = EXCLUDED.payload, received_at = EXCLUDED.received_at""",
        (device, topic, msgspec.json.encode(payload).decode(), ago_s),
    )


def healthy(**bad: str) -> Health:
    names = {"clock": "ok", "disk": "ok"} | bad
    return Health.of([Check(name=name, status=status, message=f"{name} is {status}") for name, status in names.items()])  # type: ignore[arg-type]


def look(connection: Connection, rules: Rules) -> list[str]:
    """One round; what stands and was raised."""
    settle(connection, conditions(connection, rules), rules.clear_after_s)
    return [f"{one.device_id} {one.rule} {one.subject}".strip() for one in alarms(connection)]


def test_silence_is_told_of_boxes_that_nobody_stopped(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, silent_after_s=100.0)
    for device, ago_s, status in (("fresh", 10, "online"), ("gone", 500, "online"), ("stopped", 500, "stopped")):
        says(connection, device, "status", Status.now(status, "boot"), ago_s)
    assert look(connection, rules) == ["gone silent"]
    says(connection, "gone", "health", healthy())
    assert look(connection, rules) == []
    assert [one.device_id for one in alarms(connection, standing=False)] == ["gone"]


def test_a_last_will_is_told_once_it_has_lasted(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, offline_after_s=100.0)
    says(connection, "box", "status", Status.now("offline", "boot"), 50)
    assert look(connection, rules) == []
    says(connection, "box", "status", Status.now("offline", "boot"), 150)
    assert look(connection, rules) == ["box offline"]


def test_each_check_is_an_alarm_of_its_own_with_its_remedy(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, health_after_s=0.001)
    says(connection, "box", "status", Status.now("online", "boot"))
    says(connection, "box", "health", healthy(disk="failed", clock="warning"))
    look(connection, rules)
    assert look(connection, rules) == ["box health disk", "box health clock"]
    assert [one.severity for one in alarms(connection)] == ["alarm", "warning"]
    says(connection, "box", "health", healthy(clock="warning"))
    assert look(connection, rules) == ["box health clock"]


def test_what_is_over_before_it_was_told_leaves_nothing(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, health_after_s=3600.0)
    says(connection, "box", "health", healthy(disk="failed"))
    assert look(connection, rules) == []
    says(connection, "box", "health", healthy())
    assert look(connection, rules) == []
    assert connection.execute("SELECT count(*) FROM alarms").fetchone() == (0,)


def counted(connection: Connection, n: int, volume_m3: float) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    connection.execute("DELETE FROM hours")
    connection.execute("DELETE FROM hour_counts")
    zeros = ", ".join(["0"] * 10)
    connection.execute(f"INSERT INTO hours VALUES ('box', %s, 1, 1, 0, %s, {zeros})".encode(), (hour, volume_m3))
    connection.execute("INSERT INTO hour_counts VALUES ('box', %s, 'alternaria', %s, %s, 0, 0)", (hour, n, n))


def test_a_class_over_its_level_needs_certainty_to_begin_and_distance_to_end(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, levels=(LevelRule(label="alternaria", above=100.0, hours=2),))
    counted(connection, 2, 0.013)  # 154 per m3, and perhaps 19
    assert look(connection, rules) == []
    counted(connection, 20, 0.13)  # 154, surely above 94
    assert look(connection, rules) == []
    counted(connection, 40, 0.26)  # 154, surely above 110
    assert look(connection, rules) == ["box level alternaria"]
    counted(connection, 18, 0.2)  # 90: within the hysteresis
    assert look(connection, rules) == ["box level alternaria"]
    counted(connection, 10, 0.2)
    assert look(connection, rules) == []


def queued(connection: Connection, *names: str) -> list[str]:
    queue_letters(connection, names)
    return [f"{one.channel} {one.transition}" for one in letters(connection, names)]


def test_each_channel_is_told_once_and_what_fails_is_tried_again(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, silent_after_s=100.0)
    says(connection, "box", "status", Status.now("online", "boot"), 500)
    look(connection, rules)
    assert queued(connection, "a", "b") == ["a raised", "b raised"]
    first, second = letters(connection, ["a", "b"])
    settle_letter(connection, first, None)
    settle_letter(connection, second, "no answer")
    assert queued(connection, "a", "b") == []  # one sent, one not due yet
    connection.execute("UPDATE alarm_messages SET next_at = now()")
    assert queued(connection, "a", "b") == ["b raised"]
    says(connection, "box", "status", Status.now("online", "boot"))
    look(connection, rules)
    assert queued(connection, "a", "b") == ["b raised", "a cleared", "b cleared"]


def test_what_is_silenced_is_told_when_the_silence_ends_and_what_is_acknowledged_never(connection: Connection) -> None:
    rules = msgspec.structs.replace(NOTHING, silent_after_s=100.0)
    for device in ("one", "two"):
        says(connection, device, "status", Status.now("online", "boot"), 500)
    look(connection, rules)
    silence(connection, device_id="one", rule=None, until_s=3600, by="me", reason="on the bench")
    by_device = {one.device_id: one.id for one in alarms(connection)}
    assert acknowledge(connection, by_device["two"], "me").acknowledged_by == "me"
    assert queued(connection, "a") == []
    connection.execute("UPDATE silences SET until = now()")
    assert queued(connection, "a") == ["a raised"]
    with pytest.raises(InputError, match="no such alarm"):
        acknowledge(connection, 10**6, "me")
    with pytest.raises(InputError, match="reason"):
        silence(connection, device_id=None, rule=None, until_s=60, by="me", reason=" ")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"rules": {"levels": [{"label": "x", "above": 1.0, "below": 2.0}]}}, "label x"),
        ({"email": {"a": {"host": "mail.example", "security": "none", "sender": "a@b", "recipients": ["c@d"]}}}, "email.a"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError) as caught:
        checked(msgspec.convert(settings, WatchSettings))
    assert where in str(caught.value)


def eventually(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "the watcher ended"
        assert time.monotonic() < until
        time.sleep(0.05)


def publish(running: Broker, device: str, topic: str, payload: bytes) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", running.port)
    client.loop_start()
    client.publish(f"holonode/v1/{device}/{topic}", payload, qos=1, retain=True).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def settings_file(folder: Path, mail: Received, web: Received) -> Path:
    (folder / "key").write_text("secret key\n")
    file = folder / "watch.toml"
    file.write_text(
        f"""every_s = 1
[rules]
health_after_s = 0.001
clear_after_s = 0
[email.desk]
host = "127.0.0.1"
port = {mail.port}
security = "none"
sender = "box@example.org"
recipients = ["desk@example.org"]
[webhook.desk]
url = "http://127.0.0.1:{web.port}/alarms"
secret_file = "{folder / "key"}"
[mqtt]
"""
    )
    return file


def test_a_box_that_fails_and_mends_is_told_once_by_mail_webhook_and_mqtt(database: str, tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running, mail_server() as mail, web_server() as web:
        mail.refuse = web.refuse = True
        listener = Subscriber(running.port, topic="holonode/fleet/alarms/#")
        command = [
            sys.executable, "-m", "deploy.fleet.cli", "watch", "--database", database, "--mqtt", running.url,
            "--config", str(settings_file(tmp_path, mail, web)),
        ]  # fmt: skip
        environment = dict(os.environ, PYTHONPATH=str(ROOT))
        watcher = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            publish(running, "box", "status", msgspec.json.encode(Status.now("online", "boot")))
            publish(running, "box", "health", b'{"checks": "\\u0000 bent"}')
            publish(running, "box", "health", msgspec.json.encode(healthy(disk="failed")))
            eventually(lambda: _messages(database, "attempts > 0 AND sent_at IS NULL") == 2, watcher)
            mail.refuse = web.refuse = False
            with connect(database) as connection:
                connection.execute("UPDATE alarm_messages SET next_at = now()")
            eventually(lambda: _messages(database, "sent_at IS NOT NULL") == 3, watcher)
            publish(running, "box", "health", msgspec.json.encode(healthy()))
            eventually(lambda: _messages(database, "sent_at IS NOT NULL") == 6, watcher)
            watcher.send_signal(signal.SIGTERM)
            assert watcher.communicate(timeout=120)[1].count("was told") == 6
            assert watcher.returncode == 0
        finally:
            watcher.kill()
            watcher.communicate()
        assert [message["Subject"] for message in mail.mails] == [
            "[Holonode] alarm: box: disk: disk is failed", "[Holonode] over: box: disk: disk is failed",
        ]  # fmt: skip
        assert [msgspec.json.decode(body)["transition"] for _, body in web.posts] == ["raised", "cleared"]
        for headers, body in web.posts:
            assert headers["X-Holonode-Signature"] == hmac.new(b"secret key", body, hashlib.sha256).hexdigest()
        assert [payload["transition"] for _, payload, _ in listener.drain()] == ["raised", "cleared"]


def _messages(database: str, where: str) -> int:
    with psycopg.connect(database, options="-c search_path=holonode") as connection:
        row = connection.execute(f"SELECT count(*) FROM alarm_messages WHERE {where}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_the_command_lists_acknowledges_and_prunes(
    database: str, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["alarms", "--database", database]) == 0
    assert "No alarm stands" in capsys.readouterr().out
    says(connection, "box", "status", Status.now("online", "boot"), 500)
    look(connection, msgspec.structs.replace(NOTHING, silent_after_s=100.0))
    number = alarms(connection)[0].id
    assert main(["alarms", "--database", database, "--acknowledge", str(number), "--by", "Ada"]) == 0
    assert "Ada sees to it" in capsys.readouterr().out
    assert main(["alarms", "--database", database, "--silence", "2"]) == 2
    assert "reason" in capsys.readouterr().err
    assert main(["prune", "--database", database, "--older-than-days", "0"]) == 2
    connection.execute(
        """INSERT INTO records (device_id, spool_id, seq, kind, at, received_at, record) VALUES
        ('box', 's', 1, 'detections', now(), now() - interval '40 days', '{}'), ('box', 's', 2, 'detections', now(), now(), '{}'),
        ('box', 's', 3, 'events', now(), now() - interval '40 days', '{}')"""
    )
    capsys.readouterr()
    assert main(["prune", "--database", database, "--older-than-days", "30"]) == 0
    assert capsys.readouterr().out == "1 detections deleted\n"
