"""The contract that is printed against what a running service publishes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.brokers import Subscriber, broker
from tests.requests import Caller
from tests.services import ROOT, Service


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


def sent(contract: dict[str, Any], topic: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(operation, message) of a topic; AssertionError for one that the contract doesn't know."""
    for operation in contract["operations"].values():
        name = operation["channel"]["$ref"].rsplit("/", 1)[-1]
        channel = contract["channels"][name]
        pattern = "[^/]+".join(re.escape(part) for part in re.split(r"{\w+}", channel["address"]))
        if operation["action"] == "send" and re.fullmatch(pattern, topic):
            return operation, channel["messages"]["message"]
    raise AssertionError(f"{topic} is not in the contract")


def test_everything_a_running_service_publishes_is_in_the_contract_and_matches_its_schema(
    contract: dict[str, Any], tmp_path: Path
) -> None:
    with broker(tmp_path / "broker") as running:
        listener, watcher = Subscriber(running.port), Subscriber(running.port, "watcher")
        service = Service.configured(tmp_path, running.url, reconstruction="hidef")
        service.start()
        caller = Caller(running.port)
        watcher.until("stats")
        watcher.close()
        assert caller.ask("stop", transaction="a")["status"] == "ok"
        assert caller.ask("set", settings={"sampling.pause_s": -1})["status"] == "error"
        assert caller.ask("arm", timeout_s=60)["data"]["checks"]
        caller.close()
        assert service.finish()[0] == 0
        messages = listener.drain()
        listener.close()
        late = Subscriber(running.port, "late")
        retained = {topic for topic, _, _ in late.drain(0.5)}
        late.close()
    seen = set()
    for topic, payload, _ in messages:
        operation, message = sent(contract, topic)
        jsonschema.validate(payload, {**message["payload"], "components": contract["components"]})
        assert operation["bindings"]["mqtt"]["retain"] or topic not in retained
        seen.add(topic.split("/")[3])
    assert {"status", "info", "health", "stats", "detections", "intervals", "events", "response"} <= seen
    assert {topic.rsplit("/", 1)[-1] for topic in retained} == {"status", "info", "health"}
