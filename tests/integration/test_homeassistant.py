"""Home Assistant hears of the box on a real broker, and reads from its records what they say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from paho.mqtt import publish

from device.config import HomeAssistantConfig, MqttConfig
from device.identifiers import random_ulid
from device.messaging.homeassistant import Discovery, components, discovery
from device.messaging.link import LinkState, MqttLink, parse_url
from device.messaging.payloads import to_payload
from device.records import Interval
from device.storage.outbox import Outbox
from tests.brokers import Broker, Subscriber, broker
from tests.integration.test_link import INFO, eventually
from tests.stores import START, interval

TOPIC = "homeassistant/device/holonode/box-1/config"


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "store", "box-1")
    yield made
    made.close()


def announced(outbox: Outbox, **settings: Any) -> Discovery:
    return discovery(HomeAssistantConfig(**settings), outbox, labels=["birch", "dust"], unit="m^-3", model="bioaerosol")


def linked(outbox: Outbox, running: Broker, found: Discovery) -> MqttLink:
    address = parse_url(running.url)
    link = MqttLink(MqttConfig(url=running.url), address, outbox, INFO, on_warning=lambda *_: None, discovery=found)
    link.start()
    eventually(lambda: link.state is LinkState.CONNECTED)
    return link


def retained(running: Broker, topic: str = "homeassistant/#") -> dict[str, Any]:
    """What a Home Assistant that starts now is told."""
    listener = Subscriber(running.port, client_id=random_ulid(), topic=topic)
    found = {t: m for t, m, kept in listener.drain(0.7) if kept}
    listener.close()
    return found


def test_the_box_is_announced_while_it_is_switched_on_and_taken_back_after(tmp_path: Path, outbox: Outbox) -> None:
    with broker(tmp_path / "b") as running:
        linked(outbox, running, announced(outbox, enabled=True)).stop()
        payload = retained(running)[TOPIC]
        assert {"dev", "o", "cmps"} == set(payload)
        linked(outbox, running, announced(outbox, enabled=True, prefix="other")).stop()
        assert set(retained(running, "+/device/#")) == {"other/device/holonode/box-1/config"}


def test_switched_off_it_is_taken_back_and_a_box_never_announced_says_nothing(tmp_path: Path, outbox: Outbox) -> None:
    assert announced(outbox, enabled=False) == Discovery({}, "")
    with broker(tmp_path / "b") as running:
        linked(outbox, running, announced(outbox, enabled=True)).stop()
        linked(outbox, running, announced(outbox, enabled=False)).stop()
        assert retained(running) == {}


def test_a_home_assistant_that_comes_online_is_told_again(tmp_path: Path, outbox: Outbox) -> None:
    with broker(tmp_path / "b") as running:
        listener = Subscriber(running.port, topic="homeassistant/device/#")
        link = linked(outbox, running, announced(outbox, enabled=True))
        heard: list[str] = []

        def told(times: int) -> bool:
            heard.extend(topic for topic, _, _ in listener.drain(0.2))
            return len(heard) >= times

        eventually(lambda: told(1))
        # One after the other: births that come together are answered once.
        for times in (2, 3):
            for said in (b"offline", b"online"):
                publish.single("homeassistant/status", said, qos=1, hostname="127.0.0.1", port=running.port)
            eventually(lambda times=times: told(times))
        link.stop()
        listener.close()
        assert heard == [TOPIC] * 3


def rendered(entity: dict[str, Any], record: Any) -> str:
    jinja2 = pytest.importorskip("jinja2")
    body = json.loads(msgspec.json.encode(record)) if not isinstance(record, (dict, list)) else record
    return str(jinja2.Environment(autoescape=False).from_string(entity["value_template"]).render(value_json=body))


def an_interval(outbox: Outbox, labels: list[str], *, looked: bool = True) -> Interval:
    return interval(outbox, 1, START, "i", labels, looked=looked, unit="m^-3")


def test_zero_is_zero_nothing_looked_at_is_unknown_and_what_is_late_is_not_now(outbox: Outbox) -> None:
    found = components("box-1", 3600, ["birch"], "m^-3", {})
    seen, none, blind = an_interval(outbox, ["birch"] * 13), an_interval(outbox, []), an_interval(outbox, [], looked=False)
    assert float(rendered(found["concentration"], seen)) == pytest.approx(1000)
    assert rendered(found["count-birch"], seen) == "13"
    assert (rendered(found["concentration"], none), rendered(found["count-birch"], none)) == ("0.0", "0")
    assert (rendered(found["concentration"], blind), rendered(found["count-birch"], blind)) == ("None", "None")
    assert float(rendered(found["volume"], seen)) == pytest.approx(13)
    late = msgspec.structs.replace(seen, historical=True)
    assert {rendered(found[key], late) for key in ("concentration", "volume", "count-birch", "count-total")} == {""}


def test_a_box_without_sensors_or_detections_is_unknown_there() -> None:
    found = components("box-1", 3600, [], "mL^-1", {})
    stats = {"environment": None, "last_detection_at": None, "outbox_depth": 0}
    assert [rendered(found[k], stats) for k in ("temperature", "last-detection", "outbox")] == ["None", "None", "0"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_worst_check_is_the_health(wrapped: bool) -> None:
    health = components("box-1", 3600, [], "m^-3", {})["health"]
    for statuses, worst in ((["ok", "warning"], "warning"), (["failed", "warning"], "failed"), (["ok"], "ok")):
        checks = [{"name": str(k), "status": status} for k, status in enumerate(statuses)]
        assert rendered(health, {"checks": checks} if wrapped else checks) == worst


def test_ids_are_unique_and_the_last_will_makes_everything_but_the_link_unavailable() -> None:
    found = components("box-1", 3600, ["birch"], "m^-3", {"sample": "Sample now"})
    ids = [entity["unique_id"] for entity in found.values()]
    assert len(set(ids)) == len(ids)
    assert [key for key, entity in found.items() if "availability_topic" not in entity] == ["status"]
    assert found["sample"]["command_topic"] == "holonode/v1/box-1/request/sample"


HOME_ASSISTANT = os.environ.get("HOLONODE_HOME_ASSISTANT_PYTHON", "")


@pytest.mark.skipif(
    not HOME_ASSISTANT, reason="HOLONODE_HOME_ASSISTANT_PYTHON names no Python with Home Assistant; see Makefile"
)
@pytest.mark.parametrize("unit", ["m^-3", "mL^-1"])
def test_home_assistants_own_schemas_take_the_announcement(outbox: Outbox, unit: Any) -> None:
    found = discovery(
        HomeAssistantConfig(enabled=True),
        outbox,
        labels=["birch", "pennate-diatom"],
        unit=unit,
        model="m",
        buttons={"arm": "Arm"},
    )
    script = Path(__file__).parents[1] / "homeassistant_schemas.py"
    done = subprocess.run(
        [HOME_ASSISTANT, str(script)], input=to_payload(found.messages[TOPIC]), capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.startswith(b"accepted")
    broken = to_payload(found.messages[TOPIC]).replace(b'"device_class":"temperature"', b'"device_class":"warmth"')
    refused = subprocess.run([HOME_ASSISTANT, str(script)], input=broken, capture_output=True, check=False, timeout=120)
    assert refused.returncode != 0
