"""The service as its users meet it: a process, a real broker, a subscriber."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from device.rig.models import ARTEFACTS
from device.schemas import json_schema
from tests.brokers import Broker, Subscriber, broker, free_port
from tests.controller import Controller
from tests.services import Service


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def listener(running: Broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(running.port)
    yield subscriber
    subscriber.close()


def test_a_listener_sees_status_and_info_then_detections_and_intervals_then_stopped(
    tmp_path: Path, running: Broker, listener: Subscriber
) -> None:
    service = Service.configured(tmp_path, running.url, intervals=2, reconstruction="hidef")
    status, output = service.run()
    assert status == 0, output
    messages = listener.drain()
    leaves = [topic.rsplit("/", 1)[-1] for topic, _, _ in messages]
    assert leaves[0] == "status"
    assert messages[0][1]["status"] == "online"
    assert messages[-1][1]["status"] == "stopped"
    assert "info" in leaves
    assert leaves.count("intervals") == 2
    assert leaves.count("detections") > 0
    for topic, payload, _ in messages:
        leaf = topic.rsplit("/", 1)[-1]
        if leaf in ("detections", "intervals"):
            jsonschema.validate(payload, json_schema(leaf[:-1]))
    seqs = [m["seq"] for t, m, _ in messages if t.endswith(("/detections", "/intervals"))]
    assert seqs == list(range(1, len(seqs) + 1))


def test_status_and_info_are_retained(tmp_path: Path, running: Broker) -> None:
    Service.configured(tmp_path, running.url, intervals=1).run()
    late = Subscriber(running.port, "late")
    seen = {topic.rsplit("/", 1)[-1]: payload for topic, payload, retained in late.drain() if retained}
    late.close()
    assert seen["status"]["status"] == "stopped"
    assert seen["info"]["instrument"]["name"] == "bioaerosol-imx219-850nm"
    assert seen["info"]["software"]["holonode"]


def _tell_truth(service: Service, file: Path) -> None:
    """The twin writes what lands."""
    text = service.config.read_text()
    service.config.write_text(text.replace("[twin]\n", f'[twin]\ntruth_file = "{file}"\n'))


def test_kill_9_ends_with_offline_and_the_next_start_resumes_the_sequence(
    tmp_path: Path, running: Broker, listener: Subscriber
) -> None:
    service, truth = Service.configured(tmp_path, running.url), tmp_path / "truth.jsonl"
    _tell_truth(service, truth)
    service.start()
    first = listener.until("intervals")
    service.kill()
    landed = truth.read_text().splitlines()
    listener.until("status", status="offline")
    Service.configured(tmp_path, running.url, intervals=1)
    _tell_truth(service, truth)
    status, output = service.run()
    assert status == 0
    assert "resuming after record" in output
    later = [m for t, m, _ in listener.drain() if t.endswith("/intervals")]
    assert later[-1]["seq"] > first["seq"]
    assert later[-1]["spool_id"] == first["spool_id"]
    again = truth.read_text().splitlines()[len(landed) :]
    assert again
    assert not set(landed) & set(again), "a twin that goes on has new particles"


def test_two_services_on_one_store_is_one_clear_error(tmp_path: Path, running: Broker, listener: Subscriber) -> None:
    service = Service.configured(tmp_path, running.url)
    service.start()
    listener.until("intervals")
    second = Service(service.config)
    status, output = second.run()
    assert status == 2
    assert "another service uses this store" in output
    assert "Traceback" not in output
    assert service.finish(signal.SIGTERM)[0] == 0


def test_a_damaged_model_that_was_never_activated_stops_nothing(tmp_path: Path, running: Broker) -> None:
    service = Service.configured(tmp_path, running.url, intervals=1, reconstruction="hidef")
    installed = tmp_path / "store" / "models"
    installed.mkdir(parents=True)
    for path in ARTEFACTS.glob("hidef-*"):
        shutil.copy(path, installed / path.name)
    model = next(installed.glob("*.tflite"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    status, output = service.run()
    assert status == 0, output
    assert "Traceback" not in output


def test_a_broker_that_refuses_keeps_the_records_and_the_service_goes_on(tmp_path: Path) -> None:
    secret = tmp_path / "passwords"
    secret.write_text("")
    with broker(tmp_path / "closed", "allow_anonymous false", f"password_file {secret}") as closed:
        service = Service.configured(tmp_path, closed.url, intervals=3)
        status, output = service.run()
        assert status == 0
        assert output.count("refuses the connection") == 1
    with broker(tmp_path / "open") as opened:
        subscriber = Subscriber(opened.port)
        Service.configured(tmp_path, opened.url, intervals=1).run()
        intervals = [m for t, m, _ in subscriber.drain() if t.endswith("/intervals")]
        subscriber.close()
    assert len(intervals) == 4
    assert [m["historical"] for m in intervals] == [True, True, True, False]


SIMULATED = '[pump]\ndriver = "twin"\n[environment]\ndriver = "twin"'


def lamp_on(controller: Controller) -> str:
    return f'[controller]\nport = "{controller.port}"\nacknowledge_timeout_s = 0.3\n[lamp]\ndriver = "serial"\n{SIMULATED}'


def test_a_lamp_that_does_not_answer_yet_is_waited_for_and_told_once(
    tmp_path: Path, running: Broker, listener: Subscriber
) -> None:
    mute = Controller()
    mute.silent = True
    with Service.configured(tmp_path, running.url, mqtt=lamp_on(mute)).started() as service:
        service.until_said("the start waits for")
        mute.silent = False
        listener.until("intervals")
        status, output = service.finish()
    mute.unplug()
    assert status == 0, output
    assert output.count("the controller doesn't answer") == 1
    assert "Traceback" not in output


def test_no_interval_is_taken_under_a_lamp_that_was_reset(tmp_path: Path, running: Broker, listener: Subscriber) -> None:
    controller = Controller()
    service = Service.configured(tmp_path, running.url, mqtt=lamp_on(controller))
    service.start()
    listener.until("intervals")
    assert controller.heard > 4
    controller.silent = True
    event = listener.until("events", code="hardware_failed")
    assert "controller doesn't answer" in event["message"]
    controller.silent = False
    listener.until("intervals")
    status, output = service.finish()
    assert controller.microamps == 0
    controller.unplug()
    assert status == 0, output


def test_no_broker_at_all_keeps_the_records(tmp_path: Path) -> None:
    service = Service.configured(tmp_path, f"mqtt://127.0.0.1:{free_port()}", intervals=2)
    status, output = service.run()
    assert status == 0
    assert "No broker answers" in output


def test_a_full_disk_loses_nothing_stored_and_says_so(tmp_path: Path, running: Broker) -> None:
    service = Service.configured(tmp_path, running.url, intervals=1)
    assert service.run()[0] == 0
    Service.configured(tmp_path, running.url, intervals=1, min_free_mb=10**9)
    service.start()
    service.until_said("the store can't take new records", 200)
    status, output = service.finish()
    assert status == 0, output
    assert "the store can't take new records" in output
    assert "Free disk space" in output
    Service.configured(tmp_path, running.url, intervals=1)
    status, output = service.run()
    assert status == 0
    assert "resuming after record" in output


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk needs the right to mount one")
def test_a_disk_that_really_fills_does_not_stop_the_service(tmp_path: Path, running: Broker) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        service = Service.configured(tmp_path, f"mqtt://127.0.0.1:{free_port()}", store=small / "store")
        service.start()
        service.until_said(" particles (")
        with contextlib.suppress(OSError), (small / "filler").open("ab", buffering=0) as filler:
            while filler.write(bytes(16384)):
                pass
        service.until_said("the store can't take new records")
        status, output = service.finish()
        assert status == 0, output
        assert "Traceback" not in output
    finally:
        subprocess.run(["umount", "-l", str(small)], check=False)


def test_the_own_broker_is_started_taken_over_after_a_kill_and_stopped_in_order(tmp_path: Path) -> None:
    port = free_port()
    service = Service.configured(tmp_path, "", mqtt=f"own_broker_port = {port}\nkeepalive_s = 5")
    service.start()
    record = tmp_path / "store" / "broker.json"
    service.until_said("watch    mosquitto_sub", 200)
    listener = Subscriber(port)
    listener.until("intervals")
    service.kill()
    listener.until("status", status="offline")
    Service.configured(tmp_path, "", intervals=1, mqtt=f"own_broker_port = {port}")
    status, output = service.run()
    listener.close()
    assert status == 0, output
    assert not record.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
