"""`holonode arm` and `doctor` as an operator meets them: a real broker, a real store, a service that runs or doesn't."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import MOSQUITTO, Subscriber, broker, free_port
from tests.services import ROOT, Service


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "device", *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=400,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def arm(service: Service, *options: str) -> tuple[int, dict[str, Any]]:
    status, output, error = run("arm", "--json", "--config", str(service.config), *options)
    assert output, error
    return status, json.loads(output)


def statuses(outcome: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in outcome["checks"]}


def test_an_armed_box_says_so_in_its_event_its_greeting_info_and_health(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url, intervals=1)
        status, outcome = arm(service, "--by", "anna", "--days", "3")
        assert status == 0, outcome
        assert outcome["armed"]
        assert listener.until("health")["status"] in ("ok", "warning")
        status, output = service.run()
        assert status == 0
        assert "armed by anna" in output
        messages = {topic.rsplit("/", 1)[-1]: message for topic, message, _ in listener.drain()}
        listener.close()
    assert messages["events"]["code"] == "armed"
    assert messages["events"]["severity"] == "info"
    info = messages["info"]
    assert info["armed"]["by"] == "anna"
    assert info["armed"]["days"] == 3
    assert info["armed"]["config_hash"] == info["config_hash"]
    assert info["armed"]["instrument_id"] == info["instrument_id"]
    assert statuses(messages["health"])["armed"] == "ok"


def test_a_broker_that_refuses_the_password_fails_and_force_records_why(tmp_path: Path) -> None:
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    tool = shutil.which("mosquitto_passwd", path=f"{os.environ['PATH']}:{Path(MOSQUITTO).parent}:/usr/bin")
    assert tool is not None, "mosquitto_passwd comes with mosquitto"
    subprocess.run([tool, "-b", "-c", passwords, "box", "right"], check=True)
    passwords.chmod(0o600)
    with broker(tmp_path / "broker", "allow_anonymous false", f"password_file {passwords}") as running:
        account = f'username = "box"\npassword_file = "{secret}"'
        service = Service.configured(tmp_path, running.url, intervals=1, mqtt=account)
        secret.write_text("wrong\n")
        status, outcome = arm(service)
        assert status == 4
        assert outcome["failed"] == ["broker"]
        assert not outcome["armed"]
        status, outcome = arm(service, "--force", "the link comes on Monday")
        assert status == 0
        secret.write_text("right\n")
        assert arm(service)[1]["failed"] == []
    database = sqlite3.connect(tmp_path / "store" / "outbox.sqlite")
    events = [json.loads(body) for (body,) in database.execute("SELECT body FROM records WHERE kind = 'events' ORDER BY seq")]
    database.close()
    assert [event["severity"] for event in events] == ["warning", "info"]
    assert "the link comes on Monday" in events[0]["message"]
    assert "broker" in events[0]["message"]


def test_a_broker_that_lets_the_device_in_but_not_write_fails(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic read holonode/#\n")
    with broker(tmp_path / "broker", "allow_anonymous true", f"acl_file {rules}") as running:
        status, outcome = arm(Service.configured(tmp_path, running.url))
    assert status == 4
    check = next(check for check in outcome["checks"] if check["name"] == "broker")
    assert check["status"] == "failed"
    assert "holonode/v1/test-box/#" in check["remedy"]


def test_no_broker_at_all_fails_and_the_services_own_passes(tmp_path: Path) -> None:
    status, outcome = arm(Service.configured(tmp_path / "none", f"mqtt://127.0.0.1:{free_port()}"))
    assert (status, outcome["failed"]) == (4, ["broker"])
    status, outcome = arm(Service.configured(tmp_path / "own", "", mqtt=f"own_broker_port = {free_port()}"))
    assert (status, outcome["failed"]) == (0, [])


def test_while_the_service_runs_arm_says_what_to_do_and_doctor_leaves_it_its_instrument(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url)
        service.start()
        listener.until("intervals")
        status, _, error = run("arm", "--config", str(service.config))
        assert status == 2
        assert "the service is running" in error
        assert "Stop it" in error
        assert len(error.strip().splitlines()) == 1
        status, output, _ = run("doctor", "--json", "--config", str(service.config))
        checks = {check["name"]: check for check in json.loads(output)}
        assert status == 0
        assert checks["store integrity"]["status"] == "not evaluated"
        assert "running service" in checks["broker"]["message"]
        listener.until("intervals")
        listener.close()
        assert service.finish()[0] == 0


@pytest.mark.parametrize("option", [["--days", "0"], ["--force", " "]])
def test_bad_options_are_one_paragraph_and_exit_2(tmp_path: Path, option: list[str]) -> None:
    status, _, error = run("arm", "--config", str(Service.configured(tmp_path, "").config), *option)
    assert status == 2
    assert error.startswith("holonode arm: ")


def aged(service: Service, share: float) -> None:
    text = service.config.read_text().replace("realtime = false", f"realtime = false\nlamp_ageing = {share}")
    service.config.write_text(text)


def test_a_lamp_that_dims_between_two_runs_is_an_event_and_a_warning_of_health_until_it_is_mended(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        status, output = Service.configured(tmp_path, running.url, intervals=20).run()
        assert status == 0, output
        service = Service.configured(tmp_path, running.url, intervals=6)
        aged(service, 0.7)
        status, output = service.run()
        assert status == 0, output
        assert output.count("the optics drift: background level -30%") == 1
        drift = listener.until("events", code="optics_drift")
        assert drift["value"] == pytest.approx(-0.3, abs=0.02)
        late = Subscriber(running.port, "late", "holonode/v1/+/health")
        health = late.until("health")
        late.close()
        assert statuses(health)["background level"] == "warning"
        assert health["status"] == "warning"
        _, output, _ = run("doctor", "--no-optics", "--json", "--config", str(service.config))
        assert statuses({"checks": json.loads(output)})["background level"] == "warning"
        status, output = Service.configured(tmp_path, running.url, intervals=17).run()
        assert status == 0, output
        assert listener.until("events", code="optics_restored")["severity"] == "info"
        listener.close()


def test_a_lamp_that_is_dead_costs_intervals_and_not_the_service(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url)
        aged(service, 0.0)
        service.start()
        lost = listener.until("events", code="hardware_failed")
        assert "dark" in lost["message"]
        listener.close()
        status, output = service.finish()
    assert status == 0, output
    assert "Traceback" not in output
