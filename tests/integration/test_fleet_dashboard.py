"""The fleet's dashboard on a real PostgreSQL: what is asked of it is what the records say."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.routing import Route

from deploy.fleet.alarms.book import settle
from deploy.fleet.alarms.conditions import Condition
from deploy.fleet.cli import main
from deploy.fleet.dashboard.app import FleetDashboard, Served
from deploy.fleet.database import connect
from deploy.fleet.intake import Arrival, read
from deploy.fleet.schema import migrate
from deploy.fleet.store import Store
from device.analysis.count import concentration, poisson_interval
from device.health.trend import FIGURES
from device.messaging.payloads import Check, Health, Status
from device.records import iso_time
from tests.dashboards import Browser
from tests.faults.bends import record
from tests.postgres import Cluster

START = datetime(2026, 5, 4, 10, tzinfo=UTC)
VOLUME_M3, COUNTED = 0.01, (3, 0, 5, 1)
SPAN = "since=2026-05-04T00:00:00Z&until=2026-05-05T00:00:00Z"
OPEN = {"/", "/favicon.ico", "/assets/{path:path}", "/api/session", "/api/setup", "/boxes/{device}", "/boxes/{device}/"}


def arrival(kind: str, seq: int, at: datetime, **changes: Any) -> Arrival:
    body = record(kind, "box", seq) | {"id": f"{kind}{seq}"}
    stamps = {"intervals": ("started_at", "ended_at"), "detections": ("captured_at",), "events": ("since",)}[kind]
    body |= {name: iso_time(at + timedelta(seconds=60 * k)) for k, name in enumerate(stamps)} | changes
    found = read(f"holonode/v1/box/{kind}", msgspec.json.encode(body))
    assert isinstance(found, Arrival)
    return found


def interval(seq: int, at: datetime, n: int, **changes: Any) -> Arrival:
    count = poisson_interval(n)
    told = msgspec.to_builtins(concentration(count, VOLUME_M3, 0.0, "m^-3"))
    counts = {label: msgspec.to_builtins(count) for label in ("birch", "total")}
    return arrival(
        "intervals", seq, at, counts=counts, concentration=dict.fromkeys(counts, told), volume_m3=VOLUME_M3, volume_uncertainty=0.0,
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> str:
    """Four intervals within two hours and one that failed a day later; two detections, an event, what the box said last."""
    address = cluster.new_database()
    with connect(address) as connection:
        migrate(connection)
        for topic, payload in (
            ("status", Status.now("online", "boot")),
            ("health", Health.of([Check(name="disk", status="warning", message="nearly full")])),
        ):
            query = "INSERT INTO latest (device_id, topic, payload) VALUES ('box', %s, %s)"
            connection.execute(query, (topic, msgspec.json.encode(payload).decode()))
        wrong = Condition(device_id="box", rule="health", subject="disk", severity="warning", message="disk: nearly full")
        settle(connection, {wrong.key: wrong}, 0.0)
    with contextlib.closing(Store(address)) as store:
        store.commit([interval(k + 1, START + timedelta(minutes=20 * k), n) for k, n in enumerate(COUNTED)])
        store.commit(
            [
                interval(9, START + timedelta(days=1), 50, qc=4),
                arrival("detections", 10, START, label="birch", score=0.9, esd_um=20.0),
                arrival("detections", 11, START, label="<b>odd</b>", score=None, esd_um=40.0),
                arrival("events", 12, START, message="something happened"),
            ]
        )
    return address


@pytest.fixture
def served(database: str, tmp_path: Path) -> Iterator[FleetDashboard]:
    dashboard = FleetDashboard.of(database, Served(folder=tmp_path / "web", port=0))
    dashboard.start()
    try:
        yield dashboard
    finally:
        dashboard.stop()


@pytest.fixture
def browser(served: FleetDashboard) -> Browser:
    return Browser(served.server.port)


def test_nobody_reads_or_writes_without_a_session_and_a_viewer_writes_nothing(served: FleetDashboard, browser: Browser) -> None:
    nobody, viewer = Browser(browser.port), Browser(browser.port)
    browser.set_up()
    assert viewer.sign_in("viewer").status == 200
    routes = [(method, route.path) for route in served.app.routes if isinstance(route, Route) for method in route.methods or ()]
    for method, path in routes:
        if path in OPEN or method == "HEAD":
            continue
        filled = re.sub(r"\{[^}]+\}", "x", path)
        assert nobody.ask(method, filled, {} if method != "GET" else None).status == 401, path
        if method != "GET" and path != "/api/session":
            assert viewer.ask(method, filled, {}).status == 403, path


def test_boxes_come_worst_first_with_what_is_wrong(browser: Browser) -> None:
    found = browser.ask("GET", "/api/boxes").json["boxes"]
    assert [(one["device_id"], one["condition"], one["status"], one["alarms"]) for one in found] == [
        ("box", "warning", "online", 1)
    ]
    assert (found[0]["intervals"], found[0]["concentration"]) == (0, None)  # nothing within the last day


def heard(database: str, optics: object, day: int, uptime_s: float) -> None:
    query = """INSERT INTO latest (device_id, topic, payload, received_at) VALUES ('lens', 'stats', %s, %s)
        ON CONFLICT (device_id, topic) DO UPDATE SET payload = EXCLUDED.payload, received_at = EXCLUDED.received_at"""
    with connect(database) as connection:
        payload = msgspec.json.encode({"uptime_s": uptime_s, "optics": optics}).decode()
        connection.execute(query, (payload, START + timedelta(days=day)))


def test_the_optics_go_from_day_to_day_until_their_baseline_is_another(database: str, browser: Browser) -> None:
    for day, level, uptime_s in ((0, 0.1, 1.0), (0, 0.3, 2.0), (0, 0.3, 2.0), (2, -0.5, 3.0)):  # the third came again
        heard(
            database,
            {"level": level, "dirt": 0.01, "fringes": None, "so much": 1.0, "sharpness": "odd", "stuck": 1e300},
            day,
            uptime_s,
        )
    heard(database, "nothing", 3, 4.0)
    drifts = Condition(device_id="lens", rule="health", subject="background level", severity="warning", message="drifts")
    with connect(database) as connection:
        settle(connection, {drifts.key: drifts}, 0.0)

    def figures() -> dict[str, Any]:
        return {one["name"]: one for one in browser.ask("GET", "/boxes/lens/api/health/trend").json["figures"]}

    found = figures()
    assert list(found) == list(FIGURES)
    assert found["level"]["days"] == [["2026-05-04", pytest.approx(0.2)], ["2026-05-06", -0.5]]
    assert [bool(one["drifting_since"]) for one in found.values()] == [True, *[False] * 5]
    assert len(found["dirt"]["days"]) == 2
    assert [found[name]["days"] for name in ("fringes", "sharpness", "stuck")] == [[], [], []]
    heard(database, {"level": None, "dirt": 0.02}, 4, 5.0)
    assert (figures()["level"]["days"], len(figures()["dirt"]["days"])) == ([], 3)
    assert all(not one["days"] for one in browser.ask("GET", "/boxes/nobody/api/health/trend").json["figures"])


def test_an_alarm_is_taken_charge_of_and_silenced_by_operators(browser: Browser) -> None:
    browser.set_up()
    number = browser.ask("GET", "/api/alarms").json["alarms"][0]["id"]
    taken = browser.ask("POST", f"/api/alarms/{number}/acknowledge", {})
    assert taken.json["acknowledged_by"].startswith("operator")
    assert browser.ask("POST", "/api/alarms/10000000/acknowledge", {}).status == 422
    assert browser.ask("POST", "/api/alarms/x/acknowledge", {}).status == 404
    assert browser.ask("POST", "/api/silences", {"hours": 1, "reason": "on the bench"}).json == {"silenced": True}
    assert browser.ask("POST", "/api/silences", {"hours": -1, "reason": "r"}).status == 422


def test_a_few_intervals_are_shown_as_they_were_recorded(browser: Browser) -> None:
    series = browser.ask("GET", f"/boxes/box/api/history/series?{SPAN}&points=100").json
    assert (series["step_s"], series["unit"], series["labels"]) == (0, "m^3", ["total", "birch"])
    assert [point["counts"]["total"] for point in series["points"]] == list(COUNTED)
    assert [point["concentration"]["total"]["value"] for point in series["points"]] == pytest.approx(
        [n / VOLUME_M3 for n in COUNTED]
    )


def test_many_are_summed_and_the_interval_is_that_of_the_sum(browser: Browser) -> None:
    series = browser.ask("GET", f"/boxes/box/api/history/series?{SPAN}&points=3").json
    assert series["step_s"] >= 3600
    total, volume = sum(COUNTED), len(COUNTED) * VOLUME_M3
    assert sum(point["counts"]["total"] for point in series["points"]) == total
    whole = browser.ask("GET", f"/boxes/box/api/history/series?{SPAN}&points=1").json["points"]
    expected = concentration(poisson_interval(total), volume, 0.0, "m^-3")
    told = whole[0]["concentration"]["total"]
    assert [told[key] for key in ("value", "low", "high")] == pytest.approx(
        [expected.value, expected.low, expected.high], rel=0.01
    )


def test_what_failed_is_in_no_sum_and_says_so(browser: Browser) -> None:
    days = "since=2026-05-05T00:00:00Z&until=2026-05-06T00:00:00Z"
    (point,) = browser.ask("GET", f"/boxes/box/api/history/series?{days}&points=10").json["points"]
    assert (point["failed"], point["qc"], point["counts"], point["volume"]) == (1, 4, {}, None)
    (summed,) = browser.ask(
        "GET", "/boxes/box/api/history/series?since=2026-05-05T00:00:00Z&until=2027-05-06T00:00:00Z&points=1"
    ).json["points"]
    assert (summed["failed"], summed["counts"], summed["volume"]) == (1, {}, None)


def test_events_gaps_sizes_particles_and_files(browser: Browser) -> None:
    events = browser.ask("GET", f"/boxes/box/api/history/events?{SPAN}").json["events"]
    assert [one["message"] for one in events] == ["something happened"]
    gaps = browser.ask(
        "GET", "/boxes/box/api/history/gaps?since=2026-05-04T00:00:00Z&until=2026-05-07T00:00:00Z&longer_than_s=3600"
    ).json["gaps"]
    assert [one["start"] for one in gaps] == ["2026-05-04T11:01:00.000000Z"]
    assert sum(browser.ask("GET", f"/boxes/box/api/history/sizes?{SPAN}").json["n"]) == 2
    page = browser.ask("GET", f"/boxes/box/api/history/particles?{SPAN}&sort=-score&limit=1").json
    assert [one["label"] for one in page["particles"]] == ["birch"]
    rest = browser.ask("GET", f"/boxes/box/api/history/particles?{SPAN}&sort=-score&after={page['after']}").json
    assert ([one["label"] for one in rest["particles"]], rest["after"]) == (["<b>odd</b>"], None)
    lines = browser.ask("GET", f"/boxes/box/api/history/download?{SPAN}&what=intervals").body.decode().splitlines()
    assert len(lines) == 1 + len(COUNTED)


def test_a_box_is_as_it_said_last_and_one_that_never_did_is_not_there(browser: Browser) -> None:
    state = browser.ask("GET", "/boxes/box/api/state").json
    assert (state["doing"], state["health"]["status"], state["last_interval"]["qc"]) == ("sampling", "warning", 4)
    assert browser.ask("GET", "/boxes/nobody/api/state").status == 404
    assert browser.ask("GET", "/boxes/A%27%3B--/api/state").status == 404
    assert browser.ask("GET", "/boxes/box").status == 200


def test_a_database_that_is_away_is_said_and_found_again(cluster: Cluster, browser: Browser) -> None:
    assert browser.ask("GET", "/api/boxes").status == 200
    cluster.stop()
    try:
        reply = browser.ask("GET", "/api/boxes")
        assert (reply.status, "doesn't answer" in reply.error["message"] or "can't be reached" in reply.error["message"]) == (
            503,
            True,
        )
    finally:
        cluster.start()
    assert browser.ask("GET", "/api/boxes").status == 200


def test_a_code_needs_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOLONODE_FLEET_DATABASE", raising=False)
    assert main(["dashboard", "--folder", str(tmp_path), "--code"]) == 0
    assert len(capsys.readouterr().out.strip()) >= 8
    assert main(["dashboard", "--folder", str(tmp_path)]) == 2
