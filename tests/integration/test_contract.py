"""The contract that is printed against what a running service publishes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from paho.mqtt import publish
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device.messaging.payloads import Ack, to_payload
from device.storage.outbox import Outbox
from tests.brokers import broker
from tests.earlier import store_as_earlier
from tests.node import node_modules
from tests.owners import owner
from tests.requests import Caller
from tests.services import ROOT, Service
from tests.stores import add_event, add_interval

INFORMATION = 2
"""Severity: 0 is an error, 1 a warning."""


@pytest.fixture(scope="module")
def contract() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "device", "schema", "asyncapi"], capture_output=True, cwd=ROOT, check=True)
    return json.loads(done.stdout)


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        yield from ([tree["$ref"]] if isinstance(tree.get("$ref"), str) else [])
        for part in tree.values():
            yield from references(part)
    elif isinstance(tree, list):
        for part in tree:
            yield from references(part)


def test_the_contract_is_whole_every_reference_leads_somewhere_and_every_channel_has_an_operation(
    contract: dict[str, Any],
) -> None:
    assert contract["asyncapi"] == "3.0.0"
    for reference in references(contract):
        here: Any = contract
        for part in reference.removeprefix("#/").split("/"):
            here = here[part]
    assert set(contract["operations"]) == set(contract["channels"])
    for channel in contract["channels"].values():
        assert set(re.findall(r"{(\w+)}", channel["address"])) == set(channel["parameters"])
    for schema in contract["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    detection = contract["components"]["schemas"]["Detection"]["properties"]
    assert detection["x_um"]["x-unit"] == "um"


def test_asyncapis_own_parser_finds_no_fault(contract: dict[str, Any], tmp_path: Path) -> None:
    modules = node_modules()
    (tmp_path / "contract.json").write_text(json.dumps(contract))
    told = subprocess.run(
        ["node", ROOT / "tests" / "asyncapi.cjs", tmp_path / "contract.json"],
        capture_output=True, text=True, check=True, env=dict(os.environ, NODE_PATH=str(modules)),
    ).stdout.splitlines()  # fmt: skip
    findings = [json.loads(line) for line in told[:-1]]
    assert [finding for finding in findings if finding["severity"] < INFORMATION] == []
    assert int(told[-1]) == len(contract["channels"])


class Recorder:
    """Everything that goes over a broker, as it is."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_message = lambda _c, _u, message: self.messages.append((message.topic, message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("#", qos=1)
        self._client.loop_start()

    def until(self, topic: str, timeout_s: float = 120) -> None:
        """Wait until something comes on a topic that ends so."""
        until = time.monotonic() + timeout_s
        while not any(found.endswith(topic) for found, _ in list(self.messages)):
            assert time.monotonic() < until, f"nothing on {topic} within {timeout_s} s"
            time.sleep(0.05)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def closed(tree: Any, where: str = "") -> Any:
    """The same schemas, refusing every key that they don't know; AssertionError where one leaves open what it may hold."""
    if isinstance(tree, list):
        return [closed(part, where) for part in tree]
    if not isinstance(tree, dict):
        return tree
    found = {key: closed(part, f"{where}/{key}") for key, part in tree.items() if key not in ("default", "enum", "required")}
    found |= {key: tree[key] for key in ("default", "enum", "required") if key in tree}
    if tree.get("type") == "object":
        if "properties" in tree:
            found["additionalProperties"] = False
        assert isinstance(found.get("additionalProperties"), dict) or found.get("additionalProperties") is False, where
        assert found["additionalProperties"] != {}, where
    return found


def test_the_contract_leaves_no_object_open(contract: dict[str, Any]) -> None:
    closed(contract["components"]["schemas"])


def channel_of(contract: dict[str, Any], topic: str) -> str:
    """The one channel that a topic belongs to; AssertionError for one that the contract doesn't know."""
    found = [name for name, channel in contract["channels"].items() if re.fullmatch(pattern(channel["address"]), topic)]
    assert len(found) == 1, f"{topic} is in the contract's channels {found}"
    return found[0]


def pattern(address: str) -> str:
    return "[^/]+".join(re.escape(part) for part in re.split(r"{\w+}", address))


def check(contract: dict[str, Any], topic: str, payload: bytes) -> str:
    """The channel's name, once its schema has accepted a message."""
    name = channel_of(contract, topic)
    messages = contract["channels"][name]["messages"]
    # An answer is of the command that its topic names, or refuses one.
    own = messages.get(topic.rpartition("/")[2]) or messages.get("message") or messages["refused"]
    if "earlier" in messages and json.loads(payload)["schema"].endswith("/1"):
        own = messages["earlier"]
    kind = own["contentType"]
    content = json.loads(payload) if kind == "application/json" else payload.decode() if kind == "text/plain" else None
    if content is None:
        assert payload.startswith((b"PK", b"\x89PNG"))
    else:
        components = {"schemas": closed(contract["components"]["schemas"])}
        jsonschema.validate(content, {**own["payload"], "components": components})
    return name


def missing(schema: Any, content: Any, schemas: dict[str, Any], where: str = "") -> Iterator[str]:
    """What a schema names and a message of the box lacks; of several schemas that could be meant, by the one that fits."""
    if reference := schema.get("$ref"):
        schema = schemas[reference.rsplit("/", 1)[-1]]
    for part in schema.get("anyOf", ()):
        if part.get("type") != "null" and content is not None:
            found = list(missing(part, content, schemas, where))
            if len(schema["anyOf"]) == 2 or not found:
                yield from found
    if isinstance(content, dict):
        for name, part in schema.get("properties", {}).items():
            yield from missing(part, content[name], schemas, f"{where}/{name}") if name in content else [f"{where}/{name}"]
        inner = schema.get("additionalProperties")
        for value in content.values() if isinstance(inner, dict) else ():
            yield from missing(inner, value, schemas, f"{where}/*")
    if isinstance(content, list) and isinstance(schema.get("items"), dict):
        for value in content:
            yield from missing(schema["items"], value, schemas, f"{where}[]")


def lacking(contract: dict[str, Any], topic: str, payload: bytes) -> list[str]:
    """What a statement or a record lacks; requests, answers and what is Home Assistant's leave out what doesn't apply."""
    name = channel_of(contract, topic)
    if name not in ("status", "info", "health", "stats", "detections", "intervals", "events"):
        return []
    content = json.loads(payload)
    message = "earlier" if str(content.get("schema")).endswith("/1") else "message"
    schema = contract["channels"][name]["messages"][message]["payload"]
    return list(missing(schema, content, contract["components"]["schemas"], name))


def test_what_a_message_lacks_is_found(contract: dict[str, Any]) -> None:
    about = {"chi2": 1.0, "p": None, "flag": 1}
    schemas = contract["components"]["schemas"]
    assert list(missing({"$ref": "#/components/schemas/Consistency"}, about, schemas)) == ["/reason"]
    inside = {"anyOf": [{"type": "null"}, {"type": "array", "items": {"$ref": "#/components/schemas/Consistency"}}]}
    assert list(missing(inside, [about], schemas)) == ["[]/reason"]


def talk(box: Service, caller: Caller, recorder: Recorder, port: int) -> None:
    """Everything that a user, a collector and Home Assistant may say."""
    for topic in ("stats", "intervals", "detections"):
        recorder.until(topic)
    publish.single("homeassistant/status", "online", port=port)
    spool = next(json.loads(payload)["spool_id"] for topic, payload in recorder.messages if topic.endswith("/intervals"))
    publish.single(f"{caller.root}/ack", to_payload(Ack(spool_id=spool, seq=1, first=1)), qos=1, port=port)
    assert caller.ask("media", id="0" * 26)["status"] == "error"
    assert caller.ask("activate", name="hidef", version=None, timeout_s=200)["status"] == "ok"
    assert caller.ask("rollback", name="hidef", timeout_s=200)["status"] == "ok"
    assert caller.ask("set", settings={"sampling.pause_s": 0.1, "sampling.flow.flush_s": None})["status"] == "ok"
    assert caller.ask("arm", days=1, timeout_s=200)["data"]["checks"]
    assert caller.ask("stop", transaction="a")["status"] == "ok"
    assert caller.ask("sample_now", issued_at=datetime.now(UTC).isoformat())["status"] == "ok"
    assert caller.ask("start", transaction=1)["status"] == "ok"
    bundle = caller.ask("support_bundle")["data"]["id"]
    assert caller.ask("media", id=bundle)["status"] == "ok"
    assert caller.ask("update", what="check", timeout_s=200)["data"]["done"] == []
    recorder.until(f"media/{bundle}")
    caller.close()
    assert box.finish()[0] == 0


def waiting_since_before_the_update(store: Path) -> list[bytes]:
    """A store with a record of each kind of version 1 that waits; returns them."""
    outbox = Outbox(store, "test-box")
    add_interval(outbox, datetime(2026, 5, 4, tzinfo=UTC), ["birch"])
    add_event(outbox, datetime(2026, 5, 4, tzinfo=UTC), "full")
    outbox.close()
    return store_as_earlier(store)


def test_every_message_of_a_busy_box_its_collector_and_home_assistant_matches_the_contract_and_every_channel_is_seen(
    contract: dict[str, Any], tmp_path: Path
) -> None:
    more = "[homeassistant]\nenabled = true\n[review]\nrandom_share = 1.0"
    source = owner(tmp_path / "owner").folder
    more += f'\n[updates]\nsource = "{source}"\nfolder = "{tmp_path}/updates"\nroot_file = "{source}/metadata/1.root.json"'
    with broker(tmp_path / "broker") as running:
        recorder = Recorder(running.port)
        box = Service.configured(tmp_path, running.url, reconstruction="hidef", mqtt=more)
        waited = waiting_since_before_the_update(tmp_path / "store")
        with box.started():
            talk(box, Caller(running.port), recorder, running.port)
        recorder.until("health")
        recorder.close()
        late = Recorder(running.port)
        late.until("status")
        time.sleep(0.5)
        late.close()
    seen = {check(contract, topic, payload) for topic, payload in recorder.messages}
    assert seen == set(contract["channels"])
    assert [place for topic, payload in recorder.messages for place in lacking(contract, topic, payload)] == []
    records = [
        json.loads(payload) for topic, payload in recorder.messages if topic.endswith(("/detections", "/intervals", "/events"))
    ]
    earlier = {record["id"] for record in records if record["schema"].endswith("/1")}
    assert earlier == {json.loads(body)["id"] for body in waited}
    kept = {channel_of(contract, topic) for topic, _ in late.messages}
    assert kept == {"status", "info", "health", "homeassistant_device_holonode_device_id_config"}
    assert all(contract["operations"][name]["bindings"]["mqtt"]["retain"] for name in kept)
