"""The fleet's pages and a box's from far away, on a real PostgreSQL, for everybody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from deploy.fleet.alarms.book import settle
from deploy.fleet.alarms.conditions import Condition
from deploy.fleet.dashboard.app import FleetDashboard, Served
from deploy.fleet.database import connect
from deploy.fleet.intake import read
from deploy.fleet.schema import migrate
from deploy.fleet.store import Store
from device.messaging.payloads import Check, Health, Status
from device.records import iso_time
from tests.browser.site import DESK, PHONE, Browser, Site, Visitor
from tests.faults.bends import record
from tests.postgres import Cluster

HOSTILE = "<img src=x onerror='window.hurt=1'>"


@pytest.fixture(scope="module")
def fleet(there: None, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two boxes: one is well and counts, one is in trouble and says so with a script in its words."""
    address = cluster.new_database()
    well, bad = Health.of([Check(name="disk", status="ok")]), Health.of([Check(name="disk", status="failed", message=HOSTILE)])
    with connect(address) as connection:
        migrate(connection)
        for device, topic, payload in (
            ("mast", "status", Status.now("online", "b")), ("mast", "health", well), ("pier", "status", Status.now("online", "b")),
            ("pier", "health", bad),
        ):  # fmt: skip
            query = "INSERT INTO latest (device_id, topic, payload) VALUES (%s, %s, %s)"
            connection.execute(query, (device, topic, msgspec.json.encode(payload).decode()))
        alarm = Condition(device_id="pier", rule="health", subject="disk", severity="alarm", message=f"disk: {HOSTILE}")
        settle(connection, {alarm.key: alarm}, 0.0)
    now = datetime.now(UTC)
    with contextlib.closing(Store(address)) as store:
        for seq in range(1, 20):
            at = iso_time(now - timedelta(minutes=10 * seq))
            body = record("intervals", "mast", seq) | {"started_at": at, "ended_at": at}
            store.commit([read("holonode/v1/mast/intervals", msgspec.json.encode(body))])
    dashboard = FleetDashboard.of(address, Served(folder=tmp_path_factory.mktemp("fleet"), port=0))
    dashboard.start()
    try:
        yield cast(Site, SimpleNamespace(url=dashboard.server.url))
    finally:
        dashboard.stop()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_fleets_pages_are_whole_and_for_everybody(fleet: Site, browser: Browser, size: Any, theme: str) -> None:
    visitor = Visitor.at(fleet, browser, viewport=size, color_scheme=theme)
    wrong: dict[str, list[str]] = {}
    for place, pages in (("", ("boxes", "alarms", "log", "manual")), ("/boxes/mast", ("now", "history", "health", "log"))):
        visitor.page.goto(f"{fleet.url}{place}")
        for name in pages:
            page = visitor.open(name)
            wrong[place + name] = visitor.faults()
            wrong[place + name] += [f"{visitor.overflow_px()} px too wide"] if visitor.overflow_px() > 0 else []
            wrong[place + name] += [f"failed: {text}" for text in page.locator("main [data-sight=failed]").all_inner_texts()]
    assert not {name: found for name, found in wrong.items() if found}
    assert not visitor.complaints
    visitor.close()


def test_the_worst_comes_first_an_alarm_is_taken_charge_of_and_words_stay_words(
    fleet: Site, browser: Browser, tmp_path: Path
) -> None:
    visitor = Visitor.at(fleet, browser)
    visitor.page.goto(fleet.url)
    visitor.set_up()
    page = visitor.open("boxes")
    page.wait_for_selector("[data-box=mast]")
    assert page.locator("[data-box]").evaluate_all("all => all.map((one) => one.dataset.box)") == ["pier", "mast"]
    page = visitor.open("alarms")
    page.click("[data-alarm] button")
    page.wait_for_function("() => document.querySelector('[data-alarm]').innerText.includes('sees to it')")
    assert HOSTILE in page.inner_text("[data-alarm]")
    assert page.evaluate("() => window.hurt") is None
    page.goto(f"{fleet.url}/boxes/mast#/history")
    page.wait_for_selector(".chart canvas")
    visitor.close()
