"""What `stats`, `info`, `health`, Home Assistant, a support bundle and the dashboard say of a box is one and the same state."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import fields

from device.messaging.homeassistant import components
from device.messaging.payloads import Health, Info, Stats
from device.service.state import State
from tests.brokers import Subscriber, broker
from tests.dashboards import Browser
from tests.integration.test_web_service import opened, until
from tests.services import Service

PARTS = {"stats": Stats, "info": Info, "health": Health}


@pytest.fixture
def box(tmp_path: Path) -> Iterator[tuple[Service, Subscriber]]:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url, web="port = 0")
        with service.started():
            yield service, listener
        listener.close()


def same(browser: Browser, listener: Subscriber, store: Path, said: dict[str, Any]) -> tuple[dict[str, Any], ...] | None:
    """The state on the dashboard, its parts as MQTT had them last (in `said`), a bundle's files; None where it went on meanwhile."""
    for topic, message, _ in listener.drain(0.5):
        said[topic.rsplit("/", 1)[-1]] = message
    if not PARTS.keys() <= said.keys():
        return None
    before = browser.ask("GET", "/api/state").json
    bundle = browser.ask("POST", "/api/requests/support_bundle", {}).json["data"]["file"]
    after = browser.ask("GET", "/api/state").json
    # What was made anew in between is seen everywhere in a while.
    if any(before[part] != after[part] for part in PARTS) or any(before[part] != said[part] for part in ("health", "stats")):
        return None
    with zipfile.ZipFile(store / "support" / bundle) as packed:
        files = {name: json.loads(packed.read(f"{name}.json")) for name in ("state", *PARTS)}
    return after, said, files


def test_all_show_the_same_state_field_by_field(box: tuple[Service, Subscriber]) -> None:
    service, listener = box
    heard: dict[str, Any] = {}
    browser = opened(service)
    until(lambda: browser.ask("GET", "/api/state").json["stats"])
    browser.set_up()
    assert browser.ask("POST", "/api/requests/stop", {}).json["status"] == "ok"
    until(lambda: browser.ask("GET", "/api/state").json["doing"] == "paused")
    web, mqtt, bundle = until(lambda: same(browser, listener, service.config.parent / "store", heard))
    for part, kind in PARTS.items():
        for one in fields(kind):
            values = [source[one.encode_name] for source in (web[part], mqtt[part], bundle[part], bundle["state"][part])]
            assert all(value == values[0] for value in values), f"{part}.{one.name}: {values}"
    for one in fields(State):
        if one.name not in ("at", "stats", "health", "info"):
            assert web[one.name] == bundle["state"][one.name], one.name
    assert web["last_interval"] | {"historical": False} == mqtt["intervals"] | {"historical": False}
    assert (web["doing"], web["lamp"]["on"], web["pump"]["on"]) == ("paused", False, False)
    assert web["camera"]["lamp_on"]
    shown_at_home(web)


def shown_at_home(state: dict[str, Any]) -> None:
    """What Home Assistant makes of the topics is what the state says."""
    jinja2 = pytest.importorskip("jinja2")
    found = components(state["device_id"], 3600, ["birch"], "m^-3", {})

    def shown(entity: str, payload: Any) -> str:
        return str(jinja2.Environment(autoescape=False).from_string(found[entity]["value_template"]).render(value_json=payload))

    stats, interval = state["stats"], state["last_interval"]
    assert shown("outbox", stats) == str(stats["outbox_depth"])
    assert shown("last-detection", stats) == str(stats["last_detection_at"])
    assert shown("temperature", stats) == str(stats["environment"]["temperature_c"])
    assert shown("health", state["health"]) == state["health"]["status"]
    assert float(shown("concentration", interval)) == interval["concentration"]["total"]["value"]
