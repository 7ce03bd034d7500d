"""InfluxDB's line protocol as a parser of its own reads it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from device.cli import main
from device.exports.influx import _line
from tests.stores import START, filled


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    config, out = filled(tmp_path_factory.mktemp("box")), tmp_path_factory.mktemp("out") / "influx"
    assert main(["export", "--format", "influx", "--out", str(out), "--config", str(config)]) == 0
    return [parse_line(line) for line in (out / "holonode.lp").read_text().splitlines()]


def of(points: list[dict[str, Any]], measurement: str) -> list[dict[str, Any]]:
    return [point for point in points if point["measurement"] == measurement]


def test_it_holds_every_interval_every_count_and_every_event(points: list[dict[str, Any]]) -> None:
    intervals = of(points, "holonode_interval")
    start_ns = round(START.timestamp() * 1e6) * 1000
    assert [point["time"] - start_ns for point in intervals] == [k * 60 * 10**9 for k in range(4)]
    assert {point["tags"]["device_id"] for point in points} == {"box-1"}
    assert intervals[0]["fields"]["volume_m3"] == 0.013
    counts = [p for p in of(points, "holonode_count") if p["tags"]["label"] == "total"]
    assert [p["fields"]["count_n"] for p in counts] == [4, 0, 2, 0]
    assert "concentration_value" not in counts[3]["fields"], "nothing could be looked at"
    assert counts[1]["fields"]["concentration_value"] == 0.0
    assert counts[1]["fields"]["concentration_unit"] == "m^-3"
    (event,) = of(points, "holonode_event")
    assert event["fields"]["message"] == 'the "window" is full, change it'
    assert event["time"] == start_ns + 30 * 10**9


def test_a_field_has_one_type_and_a_point_comes_once(points: list[dict[str, Any]]) -> None:
    kinds = defaultdict(set)
    for point in points:
        for name, value in point["fields"].items():
            kinds[point["measurement"], name].add(type(value))
    assert {name: found for name, found in kinds.items() if len(found) > 1} == {}
    assert kinds["holonode_count", "count_n"] == {int}
    assert kinds["holonode_count", "count_high"] == kinds["holonode_interval", "dead_time_s"] == {float}
    assert kinds["holonode_interval", "clock_synchronised"] == {bool}
    named = [(p["measurement"], p["time"], *sorted(p["tags"].items())) for p in points]
    assert len(set(named)) == len(named)


TEXT = st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"), min_size=1, max_size=20)


@given(
    tags=st.dictionaries(st.sampled_from(["label", "code"]), TEXT.filter(lambda text: text.rstrip("\\")), max_size=2),
    text=TEXT, number=st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), count=st.integers(0, 2**62), at_us=st.integers(1, 2**52),
)  # fmt: skip
def test_whatever_is_written_reads_back(tags: dict[str, str], text: str, number: float, count: int, at_us: int) -> None:
    point = parse_line(_line("m", tags, {"s": text, "f": number, "i": count, "none": None}, at_us))
    assert point["fields"] == {"s": text, "f": number, "i": count}
    assert point["tags"] == {key: value.rstrip("\\") for key, value in tags.items()}
    assert point["time"] == at_us * 1000
