"""JSON Schemas of everything that is published: types and bounds of the Structs, meanings and units of `device.meaning`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct, inspect

from device.calibration import CalibrationRecord
from device.config import Config
from device.errors import InputError
from device.events import EVENTS, EventMeaning
from device.inference.manifest import Manifest
from device.inference.tasks.kinds import task_kinds
from device.instrument import Instrument
from device.meaning import meanings, unit_of
from device.records import Detection, Event, Interval
from device.records_1 import schemas as earlier_schemas
from device.sampling.kinds import sampling_kinds

__all__ = ["catalogue", "describe", "json_schema"]

_KINDS: dict[str, type[Struct]] = {
    "config": Config,
    "detection": Detection,
    "interval": Interval,
    "event": Event,
    "instrument": Instrument,
    "manifest": Manifest,
    "calibration": CalibrationRecord,
}


def json_schema(name: str) -> dict[str, Any]:
    """The schema of a record, the configuration, an instrument file, a calibration record or a model manifest.

    A record of version 1 is `detection/1`, as it was printed then.
    """
    record, _, version = name.partition("/")
    if version == "1" and record in (earlier := earlier_schemas()):
        return earlier[record]
    if name not in _KINDS:
        raise InputError("no such schema", expected=" | ".join(_KINDS), got=name)
    schema = msgspec.json.schema(_KINDS[name])
    describe(schema.get("$defs", {}), _KINDS[name])
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def catalogue() -> dict[str, EventMeaning]:
    """Every event by code, with those of the ways of sampling that there are."""
    found = dict(EVENTS)
    for kind in sampling_kinds().values():
        found |= kind.events
    return found


def describe(definitions: dict[str, Any], *kinds: Any) -> None:
    """Put meanings, units and the events' catalogue into the definitions of these types and of those they are made of."""
    for kind in _classes(*inspect.multi_type_info(kinds)):
        if definition := definitions.get(kind.__name__):
            _describe(definition, kind)
    if Event.__name__ in definitions:
        events = {code: event.published() for code, event in catalogue().items()}
        definitions[Event.__name__]["properties"]["code"]["x-events"] = events
    if Manifest.__name__ in definitions:
        definitions[Manifest.__name__]["properties"]["task"]["enum"] = list(task_kinds())


def _classes(*types: inspect.Type) -> Iterator[type]:
    """Every class of values that these are made of."""
    seen: set[type] = set()
    waiting: list[object] = list(types)
    while waiting:
        one = waiting.pop()
        if isinstance(one, (inspect.StructType, inspect.DataclassType)):
            if one.cls in seen:
                continue
            seen.add(one.cls)
            yield one.cls
        if isinstance(one, tuple):
            waiting += one
        elif isinstance(one, Struct):
            waiting += [getattr(one, name) for name in one.__struct_fields__]


def _describe(definition: dict[str, Any], kind: type) -> None:
    said = meanings(kind)
    for name, entry in definition.get("properties", {}).items():
        if name in said:
            entry["description"] = said[name]
        if unit := unit_of(name):
            entry["x-unit"] = unit
