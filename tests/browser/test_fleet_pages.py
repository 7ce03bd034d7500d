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


def placed(north: float, east: float) -> dict[str, Any]:
    return {"config": {"sampling": {"schedule": {"latitude_degrees": north, "longitude_degrees": east}}}}


@pytest.fixture(scope="module")
def fleet(there: None, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three boxes: two count, one is in trouble and says so with a script in its words; one doesn't say where it stands."""
    address = cluster.new_database()
    well, bad = Health.of([Check(name="disk", status="ok")]), Health.of([Check(name="disk", status="failed", message=HOSTILE)])
    with connect(address) as connection:
        migrate(connection)
        for device, topic, payload in (
            ("mast", "status", Status.now("online", "b")), ("mast", "health", well), ("pier", "status", Status.now("online", "b")),
            ("pier", "health", bad), ("roof", "status", Status.now("online", "b")), ("roof", "health", well),
            ("mast", "info", placed(52.5, 13.4)), ("pier", "info", placed(54.2, 12.1)),
        ):  # fmt: skip
            query = "INSERT INTO latest (device_id, topic, payload) VALUES (%s, %s, %s)"
            connection.execute(query, (device, topic, msgspec.json.encode(payload).decode()))
        for days in range(20, 0, -1):
            query = """INSERT INTO latest (device_id, topic, payload, received_at) VALUES ('mast', 'stats', %s, now() - make_interval(days => %s))
                ON CONFLICT (device_id, topic) DO UPDATE SET payload = EXCLUDED.payload, received_at = EXCLUDED.received_at"""
            if days not in (9, 10):
                stats = {"uptime_s": 86_400.0 * (21 - days), "optics": {"level": -0.008 * (20 - days), "dirt": 0.004}}
                connection.execute(query, (msgspec.json.encode(stats).decode(), days))
        alarm = Condition(device_id="pier", rule="health", subject="disk", severity="alarm", message=f"disk: {HOSTILE}")
        settle(connection, {alarm.key: alarm}, 0.0)
    now = datetime.now(UTC)
    with contextlib.closing(Store(address)) as store:
        for device, numbers in (("mast", range(1, 40)), ("roof", (*range(1, 12), *range(28, 40)))):
            for seq in numbers:
                start = now - timedelta(minutes=10 * seq)
                body = record("intervals", device, seq) | {
                    "started_at": iso_time(start),
                    "ended_at": iso_time(start + timedelta(minutes=9)),
                }
                store.commit([read(f"holonode/v1/{device}/intervals", msgspec.json.encode(body))])
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
    for place, pages in (
        ("", ("boxes", "alarms", "compare", "log", "manual")),
        ("/boxes/mast", ("now", "history", "health", "log")),
    ):
        visitor.page.goto(f"{fleet.url}{place}")
        for name in pages:
            page = visitor.open(name)
            wrong[place + name] = visitor.faults()
            wrong[place + name] += [f"{visitor.overflow_px()} px too wide"] if visitor.overflow_px() > 0 else []
            wrong[place + name] += [f"failed: {text}" for text in page.locator("main [data-sight=failed]").all_inner_texts()]
    assert not {name: found for name, found in wrong.items() if found}
    assert not visitor.complaints
    visitor.close()


def test_boxes_stand_on_the_map_and_are_reached_by_keyboard_worst_first(fleet: Site, browser: Browser) -> None:
    visitor = Visitor.at(fleet, browser)
    visitor.page.goto(fleet.url)
    page = visitor.open("boxes")
    page.wait_for_function("() => (document.querySelector('.map .land')?.getAttribute('d') ?? '').length > 10000")
    assert page.locator(".map a").evaluate_all("all => all.map((one) => [one.getAttribute('class'), one.getAttribute('href')])") == [
        ["failed", "/boxes/pier#/now"], ["ok", "/boxes/mast#/now"],
    ]  # fmt: skip
    # The further north is the higher, the further east the further right; each state has a form of its own.
    places = page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('.map a')].map((a) => { const r = a.children[1].getBoundingClientRect(); return [a.className.baseVal, [r.x, r.y, a.children[1].tagName]]; }))"
    )
    assert places["failed"][1] < places["ok"][1]
    assert places["failed"][0] < places["ok"][0]
    assert [places["failed"][2], places["ok"][2]] == ["path", "circle"]
    assert page.inner_text(".no-place").split() == ["Well", "roof"]
    page.focus(".map a.failed")
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.getAttribute('href')") == "/boxes/mast#/now"
    page.keyboard.press("Enter")
    page.wait_for_url("**/boxes/mast#/now")
    visitor.close()


def test_the_optics_of_a_box_are_seen_day_by_day_with_gaps_where_nothing_was_heard(fleet: Site, browser: Browser) -> None:
    visitor = Visitor.at(fleet, browser)
    visitor.page.goto(f"{fleet.url}/boxes/mast")
    page = visitor.open("health")
    page.wait_for_selector("#days .trend-days svg")
    assert page.locator("#days .trend-days > li").count() == 6
    level = page.locator("#days .trend-days > li").first
    assert [
        len(points.split())
        for points in level.locator("polyline").evaluate_all("all => all.map((one) => one.getAttribute('points'))")
    ] == [10, 8]
    assert "15 %" in level.locator(".value").inner_text().replace("\u202f", " ").replace("\xa0", " ").replace("15%", "15 %")
    assert page.locator("#days svg").count() == 2
    page = visitor.open("now")
    assert set(
        page.locator("[data-part=lamp] strong, [data-part=pump] strong, [data-part=camera] strong").all_inner_texts()
    ) == {"Not known"}
    visitor.page.goto(f"{fleet.url}/boxes/pier")
    page = visitor.open("health")
    page.wait_for_function("() => document.querySelector('#days')?.innerText.includes('No day yet')")
    assert not visitor.complaints
    visitor.close()


def test_boxes_are_compared_on_one_axis_and_gaps_stay_gaps(fleet: Site, browser: Browser) -> None:
    visitor = Visitor.at(fleet, browser)
    visitor.page.goto(fleet.url)
    page = visitor.open("compare?boxes=mast,roof&label=birch&range=1d")
    page.wait_for_selector("#compare .chart canvas")
    page.wait_for_selector("[data-compared=roof]")
    assert page.locator("[data-compared]").evaluate_all("all => all.map((one) => one.dataset.compared)") == ["mast", "roof"]
    counted = [int(text) for text in page.locator("[data-compared] td:nth-of-type(2)").all_inner_texts()]
    assert counted == [sum(k % 7 for k in range(1, 40)), sum(k % 7 for k in (*range(1, 12), *range(28, 40)))]
    page.check("fieldset.labels label:has-text('pier') input")
    page.wait_for_selector("[data-compared=pier]")
    assert "Nobody looked" in page.inner_text("[data-compared=pier]")
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
    assert page.locator("[data-box]").evaluate_all("all => all.map((one) => one.dataset.box)") == ["pier", "mast", "roof"]
    page = visitor.open("alarms")
    page.click("[data-alarm] button")
    page.wait_for_function("() => document.querySelector('[data-alarm]').innerText.includes('sees to it')")
    assert HOSTILE in page.inner_text("[data-alarm]")
    assert page.evaluate("() => window.hurt") is None
    page.goto(f"{fleet.url}/boxes/mast#/history")
    page.wait_for_selector(".chart canvas")
    visitor.close()
