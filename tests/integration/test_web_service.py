"""The dashboard of a running box: what it shows is the box's, what it asks is done, audited and answered as over MQTT."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from device.cli import main
from device.storage.audit import FILE
from tests.brokers import broker
from tests.dashboards import OPERATOR, Browser
from tests.services import Service

MQTT = "[review]\nrandom_share = 1.0\nbudget_mb = 5.0"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Service]:
    with broker(tmp_path / "broker") as running:
        service = Service.configured(tmp_path, running.url, mqtt=MQTT, web="port = 0")
        with service.started():
            yield service


def opened(box: Service) -> Browser:
    box.until_said("dashboard http://")
    found = re.search(r"dashboard http://127\.0\.0\.1:(\d+)", box.said)
    assert found
    return Browser(int(found[1]))


def until(found: Callable[[], Any], timeout_s: float = 200) -> Any:
    end_s = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < end_s, "it never came"
        time.sleep(0.1)
    return value


def audit(box: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (box.config.parent / "store" / FILE).read_text().splitlines()]


def test_a_box_shows_what_it_does_and_does_what_it_is_asked(box: Service, capsys: pytest.CaptureFixture[str]) -> None:
    browser = opened(box)
    assert browser.ask("GET", "/").status == 200
    interval = until(lambda: browser.ask("GET", "/api/state").json["last_interval"])
    assert interval["device_id"] == "test-box"
    browser.set_up()

    stream = browser.stream()
    assert next(stream)[0] == "state"
    look = next(told for kind, told in stream if kind == "look")
    seen = until(lambda: browser.ask("GET", "/api/look").json)
    assert seen["taken_at"] >= look["taken_at"]
    picture = browser.ask("GET", f"/api/look/{seen['id']}/hologram.jpg")
    assert picture.status == 404 or picture.body[:2] == b"\xff\xd8", "there, or a newer one took its place"
    assert browser.ask("POST", "/api/requests/stop", {"transaction": "t-1"}).json["data"]["sampling"] == "stopped"
    found: dict[str, dict[str, Any]] = {"state": {}, "event": {}, "look": {}}
    while not (found["state"].get("doing") == "paused" and found["event"].get("code") == "command"):
        kind, told = next(stream)
        found[kind] |= told
    stream.close()
    status = until(lambda: (one := browser.ask("GET", "/api/history/status").json)["behind"] == 0 and one)
    series = browser.ask("GET", "/api/history/series?points=2000").json
    assert series["step_s"] == 0
    assert len(series["points"]) == status["intervals"] > 0
    assert sum(point["counts"]["total"] for point in series["points"]) > 0
    told = browser.ask("GET", "/api/history/events").json["events"]
    assert found["event"]["id"] in [one["id"] for one in told]
    assert sum(browser.ask("GET", "/api/history/sizes").json["n"]) > 0
    assert browser.ask("GET", "/api/history/series?labels=no-such-class").json["points"]
    assert browser.ask("GET", "/api/history/gaps?longer_than_s=1").status == 200
    for what in ("series", "intervals", "particles"):
        table = browser.ask("GET", f"/api/history/download?what={what}")
        rows = list(csv.DictReader(io.StringIO(table.body.decode())))
        assert len(rows) == (status["intervals"] if what != "particles" else len(rows)) > 0, what
    refused = browser.ask("POST", "/api/requests/set", {"settings": {"sampling.pause_s": 1e9}}).json
    assert (refused["status"], "0 to 86400" in refused["error"]) == ("error", True)
    done = browser.ask("POST", "/api/requests/set", {"settings": {"sampling.pause_s": 0.5}}).json
    assert done["status"] == "ok", done
    lines = [line for line in audit(box) if line["command"] in ("stop", "set")]
    assert [(line["command"], line["phase"]) for line in lines] == [
        (c, p) for c in ("stop", "set", "set") for p in ("begin", "end")
    ]
    assert all(line["door"] == "web" and line["by"].startswith("operator ") for line in lines)
    changed = next(one for one in browser.ask("GET", "/api/settings").json["settings"] if one["key"] == "sampling.pause_s")
    assert changed["changed_by"].startswith("operator ")
    assert (changed["from_file"], changed["bounds"], changed["settable"]) == (0.0, [0, 86_400], True)

    crop = browser.ask("GET", "/api/particles?limit=1").json["particles"][0]
    for channel in ("amplitude", "phase"):
        picture = browser.ask("GET", f"/api/particles/{crop['id']}.png?channel={channel}")
        assert (picture.status, picture.headers["content-type"], picture.body[:4]) == (200, "image/png", b"\x89PNG")
    place = f"/api/particles/{crop['id']}/label"
    assert browser.ask("PUT", place, {"label": "birch"}).json["by"].startswith("operator ")
    assert browser.ask("GET", "/api/particles?labelled=yes").json["particles"][0]["person_label"] == "birch"
    assert browser.ask("GET", "/api/particles?label=birch&sort=score").json["total"] >= 1
    assert browser.ask("PUT", place, {"label": "<b>"}).status == 422
    assert browser.ask("DELETE", place).status == 200
    assert browser.ask("GET", "/api/particles?labelled=yes").json["total"] == 0

    made = browser.ask("POST", "/api/requests/support_bundle", {}).json["data"]
    bundle = zipfile.ZipFile(io.BytesIO(browser.ask("GET", f"/api/exports/{made['id']}/file").body))
    assert {"state.json", "config.json", "log.txt"} <= set(bundle.namelist())
    assert OPERATOR not in "".join(bundle.read(name).decode() for name in bundle.namelist())
    order = browser.ask("POST", "/api/exports", {"format": "csv"})
    assert order.status == 200, order.body
    path = f"/api/exports/{order.json['id']}"
    export = until(lambda: (one := browser.ask("GET", path).json)["status"] != "running" and one)
    assert export["status"] == "done", export
    packed = zipfile.ZipFile(io.BytesIO(browser.ask("GET", f"{path}/file").body))
    assert any(name.endswith("SHA256SUMS") for name in packed.namelist())
    since = (datetime.now(UTC) - timedelta(days=900)).strftime("%Y-%m-%d")
    old = browser.ask("POST", "/api/exports", {"format": "csv", "since": since, "until": since[:-2] + "29"})
    if old.status == 200:
        failed = until(
            lambda: (one := browser.ask("GET", f"/api/exports/{old.json['id']}").json)["status"] != "running" and one
        )
        assert failed["error"]["message"] == "nothing to export"

    # Over a restart, and with a code from the command.
    assert box.finish(signal.SIGTERM)[0] == 0, box.said
    assert OPERATOR not in box.said
    box.start()
    browser.port = opened(box).port
    assert browser.ask("GET", "/api/session").json["user"] == {"role": "operator"}
    capsys.readouterr()
    assert main(["web", "code", "--config", str(box.config)]) == 0
    code = capsys.readouterr().out.strip()
    assert (
        Browser(browser.port).ask("POST", "/api/setup", {"operator_password": "a new one of mine", "code": code}).status == 200
    )
    assert browser.ask("GET", "/api/state").status == 401
    assert code not in box.said
