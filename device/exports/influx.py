"""InfluxDB's line protocol, for time-series databases: intervals, their counts, and events.

Format: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/. There a field has one type for ever: what the
records call an integer is one, everything else is a float however round. Tags and time name a point, so that an import that is
done again doubles nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct

from device.exports.bundle import ExportBundle
from device.exports.source import RecordSource
from device.records import Event, Interval

__all__ = ["write"]

FILE = "holonode.lp"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Field = int | float | str | None


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """holonode.lp."""
    rows = 0
    with bundle.begin(FILE).open("w", encoding="utf-8", newline="") as file:
        for line in _lines(source):
            file.write(line + "\n")
            rows += 1
    bundle.end(FILE, rows, _count)
    if source.survey.detections:
        bundle.left_out["detections (a time series holds what was counted; --format csv has them)"] += source.survey.detections


def _count(path: Path) -> int:
    with path.open(encoding="utf-8", newline="\n") as file:
        return sum(1 for _ in file)


def _lines(source: RecordSource) -> Iterator[str]:
    for interval in source.intervals():
        yield from _of_interval(interval)
    for event in source.events():
        yield _of_event(event)


def _of_interval(one: Interval) -> Iterator[str]:
    """Itself, and every label's count."""
    at_us = _microseconds(one.started_at)
    tags = {"device_id": one.device_id, "spool_id": one.spool_id, "mode": one.mode}
    fields: dict[str, Field] = {
        "seq": one.seq, "qc": one.qc, "duration_s": (_microseconds(one.ended_at) - at_us) / 1e6, "volume_ml": one.volume_ml,
        "volume_m3": one.volume_m3, "volume_uncertainty": one.volume_uncertainty, "dead_time_s": one.dead_time_s,
        "simulated": " ".join(one.simulated), **_fields("clock", one.clock), **_fields("frames", one.frames), **_fields("aggregation", one.aggregation),
        **_fields("dose", one.dose),
    }  # fmt: skip
    yield _line("holonode_interval", tags, fields, at_us)
    for label, count in one.counts.items():
        fields = {"qc": one.qc, **_fields("count", count), **_fields("concentration", one.concentration.get(label))}
        yield _line("holonode_count", {**tags, "label": label}, fields, at_us)


def _of_event(one: Event) -> str:
    tags = {"device_id": one.device_id, "spool_id": one.spool_id, "code": one.code, "severity": one.severity}
    value = "value_text" if isinstance(one.value, str) else "value"
    fields: dict[str, Field] = {"seq": one.seq, "message": one.message, value: one.value, "unit": one.unit}
    return _line("holonode_event", tags, fields, _microseconds(one.since))


def _fields(name: str, part: Struct | None) -> dict[str, Field]:
    """A part of a record as fields `name_...`."""
    return {} if part is None else {f"{name}_{key}": value for key, value in msgspec.structs.asdict(part).items()}


def _microseconds(time: str) -> int:
    """Since the Unix epoch."""
    return (datetime.fromisoformat(time) - _EPOCH) // timedelta(microseconds=1)


def _line(measurement: str, tags: Mapping[str, str], fields: Mapping[str, Field], at_us: int) -> str:
    """One point; what is None or empty is left out, as the format has no place for it."""
    named = "".join(f",{_name(key)}={_name(value)}" for key, value in sorted(tags.items()) if value)
    held = ",".join(f"{_name(key)}={_value(value)}" for key, value in fields.items() if value is not None)
    return f"{_name(measurement)}{named} {held} {at_us}000"


def _name(text: str) -> str:
    """A name or a tag's value: escaped; a line break is a space, and none can end in a backslash."""
    return re.sub(r"([,= ])", r"\\\1", re.sub(r"[\r\n]+", " ", text).rstrip("\\"))


def _value(value: int | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = re.sub(r"[\r\n]+", " ", value)
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if isinstance(value, int) else repr(value)
