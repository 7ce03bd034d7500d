"""Commands as somebody far away gives them: a real broker, a running service, its store."""

from __future__ import annotations

import io
import json
import signal
import time
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device.storage.audit import FILE
from tests.brokers import Broker, Subscriber, broker
from tests.requests import Caller
from tests.services import Service

SETTINGS = """username = "the-account"
password_file = "{folder}/the-secret"
[review]
random_share = 1.0"""
SECRETS = (b"the-account", b"the-secret", b"Kw7-unguessed")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path / "broker") as started:
        yield started


@pytest.fixture
def box(tmp_path: Path, running: Broker) -> Iterator[Service]:
    secret = tmp_path / "the-secret"
    secret.write_text("Kw7-unguessed")
    secret.chmod(0o600)
    service = Service.configured(tmp_path, running.url, mqtt=SETTINGS.format(folder=tmp_path))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def listener(running: Broker) -> Iterator[Subscriber]:
    subscriber = Subscriber(running.port)
    yield subscriber
    subscriber.close()


@pytest.fixture
def caller(running: Broker, listener: Subscriber, box: Service) -> Iterator[Caller]:
    asking = Caller(running.port)
    listener.until("intervals")
    yield asking
    asking.close()


def audit(box: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (box.config.parent / "store" / FILE).read_text().splitlines()]


def intervals_within(listener: Subscriber, seconds: float) -> int:
    """How many come from here on."""
    time.sleep(0.3)
    while not listener.messages.empty():
        listener.messages.get()
    time.sleep(seconds)
    return sum(listener.messages.get()[0].endswith("/intervals") for _ in range(listener.messages.qsize()))


def pauses(listener: Subscriber, timeout_s: float = 200) -> None:
    """Return once no sample is taken any more: the one that runs ends first."""
    until_s = time.monotonic() + timeout_s
    while intervals_within(listener, 3.0):
        assert time.monotonic() < until_s, "it goes on"


def goes_on(listener: Subscriber) -> None:
    """Samples are taken: one may end after it was to be stopped, three do not."""
    while not listener.messages.empty():
        listener.messages.get()
    for _ in range(3):
        listener.until("intervals", historical=False)


def test_stop_pauses_sampling_over_a_restart_sample_now_takes_one_and_start_goes_on(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    assert caller.ask("stop", transaction="t-1")["transaction"] == "t-1"
    assert listener.until("events", code="command")["message"] == "command stop: done"
    pauses(listener)
    assert intervals_within(listener, 1.0) == 0
    assert caller.ask("sample_now")["status"] == "ok"
    listener.until("intervals")
    assert intervals_within(listener, 1.0) == 0, "one alone"
    assert box.finish(signal.SIGTERM)[0] == 0
    box.start()
    listener.until("status", status="online")
    assert intervals_within(listener, 0.8) == 0
    assert caller.ask("start")["data"] == {"sampling": "started"}
    listener.until("intervals")
    phases = [(line["command"], line["phase"]) for line in audit(box)]
    assert phases == [(c, p) for c in ("stop", "sample_now", "start") for p in ("begin", "end")]


def test_a_setting_holds_from_the_next_sample_on_and_over_a_restart_and_a_bad_one_changes_nothing(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    before = listener.until("intervals")
    refused = caller.ask("set", settings={"sampling.sample_volume_l": 4.0, "sampling.pause_s": 1e9})
    assert refused["status"] == "error"
    assert "sampling.pause_s" in refused["error"]
    assert "0 to 86400" in refused["error"]
    assert "can't be changed from afar" in caller.ask("set", settings={"mqtt.own_broker_port": 1883})["error"]
    answer = caller.ask("set", settings={"sampling.sample_volume_l": 4.0})
    assert answer["status"] == "ok", answer
    info = listener.until("info", config_hash=answer["data"]["config_hash"])
    assert info["settings"] == {"sampling.sample_volume_l": 4.0}
    assert info["config"]["sampling"]["sample_volume_l"] == 4.0
    after = listener.until("intervals", config_hash=answer["data"]["config_hash"])
    assert after["volume_m3"] == pytest.approx(2 * before["volume_m3"], rel=0.05)
    assert box.finish(signal.SIGTERM)[0] == 0
    box.start()
    assert listener.until("info")["settings"] == {"sampling.sample_volume_l": 4.0}
    listener.until("intervals")
    back = caller.ask("set", settings={"sampling.sample_volume_l": None})["data"]
    assert back["settings"] == {}
    assert back["config_hash"] == before["config_hash"]


def test_a_picture_and_a_support_bundle_come_on_media_without_secrets(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    crop = next((box.config.parent / "store" / "review").glob("*/*.npz"))
    caller.send("media", {"id": crop.stem})
    picture = caller.heard(f"media/{crop.stem}")
    assert picture.properties.ContentType == "image/png"
    shown = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_UNCHANGED)
    assert shown.shape[1] == 2 * shown.shape[0]
    assert shown.std() > 0
    assert "no picture is kept" in caller.ask("media", id="0" * 26)["error"]
    bundle = caller.ask("support_bundle")["data"]["id"]
    caller.send("media", {"id": bundle})
    with zipfile.ZipFile(io.BytesIO(caller.heard(f"media/{bundle}").payload)) as packed:
        assert {"config.json", "health.json", "info.json", "versions.json", "records.jsonl", "log.txt"} <= set(
            packed.namelist()
        )
        assert json.loads(packed.read("records.jsonl").splitlines()[-1])["device_id"] == "test-box"
        assert "particles" in packed.read("log.txt").decode()
        assert json.loads(packed.read("config.json"))["mqtt"]["username"] == "(set)"
        told = b"".join(packed.read(name) for name in packed.namelist())
    assert [secret for secret in SECRETS if secret in told] == []
    assert box.is_running


def test_a_running_box_is_armed_between_two_samples_and_goes_on(
    box: Service, caller: Caller, listener: Subscriber, running: Broker
) -> None:
    # `info` and events go separate ways: either may be there first.
    watcher = Subscriber(running.port, "watcher")
    watcher.until("info", armed=None)
    answer = caller.ask("arm", days=2, by="anna", transaction=7, timeout_s=200)
    assert answer["status"] == "ok", answer
    assert answer["data"]["armed"]
    assert {"exposure", "broker"} <= {check["name"] for check in answer["data"]["checks"]}
    assert listener.until("events", code="armed")["severity"] == "info"
    assert watcher.until("info")["armed"]["by"] == "anna"
    watcher.close()
    listener.until("intervals")
    assert caller.ask("arm", days=2, by="bert", transaction=7) == answer, "answered again, not done again"


def test_an_activated_model_is_used_from_the_next_sample_on_and_rolled_back(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    assert "error" in caller.ask("activate", name="no-such-model")["status"]
    assert "nothing to roll back" in caller.ask("rollback", name="hidef")["error"]
    used = caller.ask("activate", name="hidef", timeout_s=200)
    assert used["status"] == "ok", used
    assert used["data"]["active"]["name"] == "hidef"
    listener.until("info")
    listener.until("intervals")
    active = json.loads((box.config.parent / "store" / "models" / "active.json").read_text())
    assert active["hidef"][-1]["version"] == used["data"]["active"]["version"]
    assert caller.ask("rollback", name="hidef", timeout_s=200)["status"] == "ok"
    assert json.loads((box.config.parent / "store" / "models" / "active.json").read_text()) == {}


def test_retained_and_stale_requests_are_ignored_and_answers_go_only_into_the_devices_own_tree(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    caller.send("stop", {}, retain=True)
    old = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    caller.send("stop", {"issued_at": old})
    root = caller.root
    caller.send("stop", {"bad": 1}, ResponseTopic=f"{root}/response/mine", CorrelationData=b"\x00\xff")
    mine = caller.heard("response/mine")
    assert mine.properties.CorrelationData == b"\x00\xff"
    assert "unknown field `bad`" in json.loads(mine.payload)["error"]
    caller.send("stop", b"[" * 5000, ResponseTopic="holonode/v1/other/response/x", CorrelationData=b"n")
    assert caller.heard("response/stop").properties.CorrelationData == b"n"
    caller.send("stop", b"", retain=True)
    goes_on(listener)
    assert [line["phase"] for line in audit(box)] == ["ignored", "ignored", "refused", "refused", "ignored"]
    assert box.finish(signal.SIGTERM)[0] == 0


def test_a_repeated_transaction_is_answered_from_the_kept_answer_even_by_the_next_run(
    box: Service, caller: Caller, listener: Subscriber
) -> None:
    first = caller.ask("stop", transaction="same")
    assert caller.ask("start")["status"] == "ok"
    assert caller.ask("stop", transaction="same") == first
    listener.until("intervals")
    box.kill()
    box.start()
    listener.until("status", status="online")
    caller.ready()
    assert caller.ask("stop", transaction="same") == first
    goes_on(listener)


def odd_properties() -> list[Properties]:
    """Over U+FEFF in one the MQTT client's own parser raises, over a hundred thousand it takes minutes."""
    named = [
        {"UserProperty": ("a\ufeff", "b")}, {"ContentType": "\ufeff"}, {"ResponseTopic": "x/\ufeff"}, {"CorrelationData": b"\0" * 60_000},
        {"UserProperty": [("", "")] * 100_000}, {"MessageExpiryInterval": 4_000_000_000},
    ]  # fmt: skip
    found = []
    for values in named:
        made = Properties(PacketTypes.PUBLISH)
        for name, value in values.items():
            setattr(made, name, value)
        found.append(made)
    return found


def test_what_stands_beside_a_request_ends_no_link(running: Broker, box: Service, caller: Caller) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", running.port)
    client.loop_start()
    for beside in odd_properties():
        client.publish(f"{caller.root}/request/stop", b"{}", qos=1, properties=beside).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    assert caller.ask("start", timeout_s=120)["status"] == "ok"
    # A listener of its own: one that hears requests would itself read what stands beside them.
    after = Subscriber(running.port, "after", "holonode/v1/+/intervals")
    after.until("intervals")
    after.close()
    assert box.is_running
