"""The example flow for Node-RED: what it says it talks to exists, and Node-RED itself runs it beside a real box."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from device.messaging.contract import TOPICS
from device.messaging.request_messages import REQUESTS
from tests.brokers import broker, free_port
from tests.node import node_modules
from tests.requests import Caller
from tests.services import ROOT, Service

FLOW = ROOT / "deploy" / "node-red" / "flow.json"
DEVICE = "holonode-sim"


@pytest.fixture(scope="module")
def nodes() -> dict[str, dict[str, Any]]:
    listed = json.loads(FLOW.read_text())
    found = {node["id"]: node for node in listed}
    assert len(found) == len(listed)
    return found


def test_every_wire_and_every_reference_of_the_flow_leads_to_a_node_of_the_right_kind(nodes: dict[str, dict[str, Any]]) -> None:
    kinds = {"z": "tab", "broker": "mqtt-broker", "group": "ui-group", "page": "ui-page", "ui": "ui-base", "theme": "ui-theme"}
    for node in nodes.values():
        assert {target for output in node.get("wires", []) for target in output} <= set(nodes)
        for key, kind in kinds.items():
            if key in node and node["type"] != "mqtt-broker":
                assert nodes[node[key]]["type"] == kind, (node["id"], key)


def test_every_topic_of_the_flow_is_in_the_contract(nodes: dict[str, dict[str, Any]]) -> None:
    sent = {topic.leaf for topic in TOPICS if topic.sends}
    read = [node["topic"] for node in nodes.values() if node["type"] == "mqtt in"]
    assert {re.sub(r"\+", "{command}", topic.removeprefix(f"holonode/v1/{DEVICE}/")) for topic in read} <= sent
    asked = [node["topic"] for node in nodes.values() if node["type"] == "ui-button"]
    assert {topic.removeprefix(f"holonode/v1/{DEVICE}/request/") for topic in asked} == {"sample_now", "start", "stop"}
    assert {"sample_now", "start", "stop"} <= set(REQUESTS)
    assert {(node["qos"], node["retain"]) for node in nodes.values() if node["type"] == "mqtt out"} == {("1", "false")}


class Page:
    """The dashboard as a browser has it: Socket.IO over HTTP polling (Engine.IO protocol 4)."""

    def __init__(self, address: str) -> None:
        self._url = f"{address}/dashboard/socket.io/?EIO=4&transport=polling"
        self._url += f"&sid={json.loads(self._call()[1:])['sid']}"
        self._call(b"40")
        self.shown: dict[str, Any] = {}
        """The last payload by widget."""

    def _call(self, packet: bytes | None = None) -> str:
        with urllib.request.urlopen(self._url, packet, timeout=200) as answer:
            return answer.read().decode()

    def press(self, button: str) -> None:
        self._call(b"42" + json.dumps(["widget-action", button, {"_event": {"type": "click"}}]).encode())

    def until(self, widget: str, good: Callable[[Any], bool] = bool, timeout_s: float = 60) -> Any:
        """What a widget shows, once it is good."""
        until = time.monotonic() + timeout_s
        while not (widget in self.shown and good(self.shown[widget])):
            assert time.monotonic() < until, self.shown
            for packet in self._call().split("\x1e"):
                if packet == "2":
                    self._call(b"3")
                elif packet.startswith("42"):
                    self._take(*json.loads(packet[2:]))
        return self.shown[widget]

    def _take(self, event: str, *content: Any) -> None:
        if event.startswith("msg-input:") and isinstance(content[0], dict) and "payload" in content[0]:
            self.shown[event.removeprefix("msg-input:")] = content[0]["payload"]


@contextmanager
def node_red(folder: Path, flow: str) -> Iterator[str]:
    """Node-RED with a flow; yields its address."""
    modules, port = node_modules(), free_port()
    folder.mkdir()
    (folder / "flow.json").write_text(flow)
    (folder / "node_modules").symlink_to(modules)
    packages = {"@flowfuse/node-red-dashboard": "*"}
    (folder / "package.json").write_text(json.dumps({"name": "test", "version": "1.0.0", "dependencies": packages}))
    (folder / "settings.js").write_text(
        "module.exports = { uiHost: '127.0.0.1', flowFile: 'flow.json', editorTheme: { tours: false },"
        " telemetry: { enabled: false, updateNotification: false } };\n"
    )
    log = folder / "log"
    command = ["node", str(modules / "node-red" / "red.js"), "--userDir", str(folder), "--port", str(port)]
    with log.open("wb") as output:
        running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=dict(os.environ, NO_COLOR="1"))
    try:
        until = time.monotonic() + 400
        while "Connected to broker" not in (told := log.read_text()):
            assert running.poll() is None, told
            assert "[error]" not in told, told
            assert time.monotonic() < until, told
            time.sleep(0.2)
        assert "missing types" not in told.lower(), told
        yield f"http://127.0.0.1:{port}"
    finally:
        running.terminate()
        running.wait(120)
    assert "[error]" not in log.read_text(), log.read_text()


def test_node_red_shows_a_real_box_and_its_button_stops_it(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as running, Service.configured(tmp_path, running.url).started() as service:
        flow = FLOW.read_text().replace(DEVICE, "test-box").replace('"1883"', f'"{running.port}"')
        caller = Caller(running.port)
        caller.ready()
        with node_red(tmp_path / "node-red", flow) as address:
            page = Page(address)
            assert re.fullmatch(r"\d+ \(\d+ to \d+\) m\^-3", page.until("show-interval"))
            assert page.until("chart", lambda figure: figure is not None) is not None
            page.press("press-stop")
            assert page.until("show-answer") == "done"
            assert page.until("show-event", lambda said: "stop" in said) == "info: command stop: done"
        assert caller.ask("start")["status"] == "ok"
        caller.close()
        assert service.finish()[0] == 0
