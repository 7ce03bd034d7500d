"""The box's state as Prometheus reads it."""

from __future__ import annotations

import re
from typing import Any

from device.web.api.metrics import CONTENT_TYPE, exposition

_SAMPLE = re.compile(r'(?P<name>holonode_[a-z_]+)(\{(?P<labels>([a-z_]+="(\\.|[^"\\\n])*",?)+)\})? (?P<value>\S+)')

STATE: dict[str, Any] = {
    "device_id": "box-1", "version": "0.1.0", "boot_id": "B", "doing": "waiting", "link": "connected",
    "lamp": {"on": False, "current_ma": 0.0}, "last_interval": None, "health": None, "stats": None,
}  # fmt: skip
STATS: dict[str, Any] = {
    "uptime_s": 12.5, "intervals": 3, "detections": 41, "intervals_lost": 1, "frames_unchecked": 0, "published": 40,
    "publishes_refused": 0, "outbox_depth": 4, "oldest_waiting_s": None, "last_analysis_s": 0.7, "sampling": "stopped",
    "clock": {"synchronised": False, "uncertainty_s": 86400.0},
    "environment": {"temperature_c": 21.5, "humidity_percent": 40.0, "pressure_hpa": 1013.25, "supply_v": None},
}  # fmt: skip
INTERVAL = {
    "ended_at": "2026-05-04T12:00:00.000000Z", "qc": 1,
    "concentration": {"birch": {"value": 2.0, "low": 1.0, "high": 4.0, "unit": "mL^-1"}},
}  # fmt: skip


def samples(text: str) -> dict[str, float]:
    """By name and labels; every line must be one of the format's, every sample of a metric that was declared before."""
    found: dict[str, float] = {}
    declared: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            assert re.fullmatch(r"# HELP holonode_[a-z_]+ [^\n]+", line)
        elif line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name not in declared, "a metric is told in one piece"
            declared[name] = kind
        else:
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert match["name"] in declared
            assert (declared[match["name"]] == "counter") == match["name"].endswith("_total")
            key = line.rsplit(" ", 1)[0]
            assert key not in found
            found[key] = float(match["value"])
    return found


def test_a_box_that_just_started_tells_what_it_knows_and_no_more() -> None:
    found = samples(exposition(STATE))
    assert found['holonode_info{device_id="box-1",version="0.1.0",boot_id="B"}'] == 1
    assert found["holonode_link_connected"] == 1
    assert found["holonode_lamp_on"] == 0
    assert not [name for name in found if "interval" in name or "uptime" in name]


def test_figures_come_in_base_units() -> None:
    found = samples(exposition(STATE | {"stats": STATS, "last_interval": INTERVAL}))
    assert found["holonode_uptime_seconds"] == 12.5
    assert found["holonode_detections_total"] == 41
    assert found["holonode_sampling_started"] == 0
    assert found["holonode_clock_synchronised"] == 0
    assert found["holonode_temperature_celsius"] == 21.5
    assert found["holonode_relative_humidity_ratio"] == 0.4
    assert found["holonode_pressure_pascals"] == 101325
    assert "holonode_supply_volts" not in found, "there is no such sensor"
    assert "holonode_oldest_waiting_seconds" not in found, "none waits"
    assert found['holonode_concentration_per_cubic_metre{label="birch",bound="low"}'] == 1e6
    assert found["holonode_last_interval_end_timestamp_seconds"] == 1777896000


def test_checks_are_told_by_name_whatever_it_holds() -> None:
    named = 'a "quoted"\\name\nof two lines'
    health = {"status": "failed", "checks": [{"name": named, "status": "failed"}, {"name": "disk", "status": "not evaluated"}]}
    found = samples(exposition(STATE | {"health": health}))
    assert found["holonode_health_status"] == 2
    assert found['holonode_check_status{check="disk"}'] == 0
    assert found['holonode_check_status{check="a \\"quoted\\"\\\\name\\nof two lines"}'] == 2


def test_the_media_type_names_the_formats_version() -> None:
    assert CONTENT_TYPE.startswith("text/plain; version=0.0.4")
