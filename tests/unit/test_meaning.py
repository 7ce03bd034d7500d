"""What is published says what it means: every field, every setting, every event."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from device.meaning import meaning, unit_of
from device.messaging.contract import asyncapi
from device.records import QARTOD_MEANINGS, Interval
from device.schemas import catalogue, json_schema

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = (
    "config", "detection", "interval", "event", "instrument", "manifest", "calibration", "detection/1", "interval/1", "event/1",
)  # fmt: skip
TIMES = re.compile(r"(.*_)?at|since|valid_until")
LEAST_FIELDS = 600
"""That are looked at: fewer, and the walk has missed some."""


def published() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every set of definitions, by where it is printed."""
    for name in SCHEMAS:
        yield name, json_schema(name)["$defs"]
    yield "asyncapi", asyncapi()["components"]["schemas"]


def fields() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(where, name, schema, definitions) of every field."""
    for printed, definitions in published():
        for title, definition in definitions.items():
            for name, field in definition.get("properties", {}).items():
                yield f"{printed} {title}.{name}", name, field, definitions


def is_described(field: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """By itself, or by the one definition that it is of."""
    if field.get("description"):
        return True
    if reference := field.get("$ref"):
        return bool(definitions[reference.rsplit("/", 1)[-1]].get("description"))
    return any(is_described(part, definitions) for part in field.get("anyOf", ()) if part.get("type") != "null")


def parts(field: dict[str, Any]) -> list[dict[str, Any]]:
    return [field, *field.get("anyOf", ())]


def test_every_field_of_every_schema_and_of_the_contract_is_described() -> None:
    found = [(where, is_described(field, definitions)) for where, _, field, definitions in fields()]
    assert [where for where, described in found if not described] == []
    assert len(found) > LEAST_FIELDS
    classes = [(printed, title) for printed, found in published() for title, one in found.items() if not one.get("description")]
    assert classes == []


def test_every_time_has_a_format_and_every_flag_and_code_a_list() -> None:
    settable = asyncapi()["components"]["schemas"]["Set"]["properties"]["settings"]["x-settable"]
    assert settable["sampling.pause_s"] == [0, 86_400]
    seen = set()
    for where, name, field, _ in fields():
        if TIMES.fullmatch(name):
            assert any(part.get("format") == "date-time" for part in parts(field)), where
            seen.add("time")
        if name in ("qc", "flag"):
            assert field["x-meanings"] == {str(flag): said for flag, said in QARTOD_MEANINGS.items()}, where
            assert field["enum"] == list(QARTOD_MEANINGS), where
            seen.add("flag")
        if where.endswith(" Event.code") and "/1" not in where:
            assert set(field["x-events"]) == set(catalogue()), where
            seen.add("code")
    assert seen == {"time", "flag", "code"}


def test_every_channel_operation_and_parameter_of_the_contract_is_described() -> None:
    contract = asyncapi()
    assert all(channel["summary"] for channel in contract["channels"].values())
    assert all(one["description"] for channel in contract["channels"].values() for one in channel["parameters"].values())
    assert all(operation["summary"] for operation in contract["operations"].values())


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("x_um", "um"), ("area_um2", "um^2"), ("flow_um_s", "um/s"), ("history_per_s", "s^-1"), ("pupil_radius_per_um", "um^-1"),
        ("volume_m3", "m^3"), ("concentration_per_m3", "m^-3"), ("flow_ml_min", "mL/min"), ("altitude_m", "m"), ("label", ""), ("s", ""),
        ("mean_size", ""),
    ],
)  # fmt: skip
def test_the_unit_is_what_the_name_ends_in(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_what_is_inherited_is_said_where_it_stands() -> None:
    assert meaning(Interval, "spool_id").startswith("Its store")
    with pytest.raises(KeyError):
        meaning(Interval, "nothing")


# -- events ---------------------------------------------------------------------------------------------------------------

_CODE = re.compile(r"[a-z_]{3,}")
_TELLS = {
    "SamplingEvent", "StoreEvent", "CameraEvent", "raise_warning", "_raise_warning", "on_event", "_on_event", "report", "_report", "event",
    "EventMeaning",
}  # fmt: skip


def told(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """(code, severity where it stands beside it) of whatever tells an event."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
            if name in _TELLS and words and isinstance(words[0], str) and _CODE.fullmatch(words[0]):
                severity = words[1] if len(words) > 1 and words[1] in ("info", "warning", "alarm") else None
                yield words[0], severity
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            if name == "Event" and isinstance(code := named.get("code"), ast.Constant):
                severity = named["severity"]
                yield str(code.value), str(severity.value) if isinstance(severity, ast.Constant) else None
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "code":
            said = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            yield from ((code, None) for code in said if isinstance(code, str) and _CODE.fullmatch(code))


def test_the_catalogue_lists_exactly_the_events_that_the_source_tells() -> None:
    found = [
        (code, severity, path.name)
        for path in sorted((ROOT / "device").rglob("*.py"))
        for code, severity in told(ast.parse(path.read_text(encoding="utf-8")))
    ]
    events = catalogue()
    assert {code for code, *_ in found} - set(events) == set(), "told, and not in device/events.py or the kind's own list"
    assert set(events) - {code for code, *_ in found} == set(), "listed, and told nowhere"
    assert [one for one in found if one[1] and one[1] not in events[one[0]].severities] == []
    assert all(event.meaning and event.remedy and event.severities for event in events.values())


def test_a_service_reads_no_meanings() -> None:
    script = (
        "import sys, json, device.service.service, device.replay, device.cli\n"
        "print(json.dumps([m for m in ('device.meaning', 'device.schemas', 'device.messaging.contract') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) == []


def test_every_counter_of_stats_is_0_or_more() -> None:
    definitions = asyncapi()["components"]["schemas"]

    def integers(where: str, schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if schema.get("type") == "integer":
            yield where, schema
        if reference := schema.get("$ref"):
            title = reference.rsplit("/", 1)[-1]
            for name, field in definitions[title].get("properties", {}).items():
                yield from integers(f"{title}.{name}", field)
        for part in (*schema.get("anyOf", ()), schema.get("additionalProperties")):
            if isinstance(part, dict):
                yield from integers(where, part)

    found = list(integers("stats", {"$ref": "#/components/schemas/Stats"}))
    assert len(found) >= 40
    assert [where for where, schema in found if schema.get("minimum") != 0] == []
