"""JSON Schemas of everything that is published, with the fields' docstrings as descriptions."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Struct

from device.config import Config
from device.errors import InputError
from device.inference.manifest import Manifest
from device.instrument import Instrument
from device.records import Detection, Event, Interval

__all__ = ["describe", "json_schema"]

_KINDS: dict[str, type[Struct]] = {
    "config": Config,
    "detection": Detection,
    "interval": Interval,
    "event": Event,
    "instrument": Instrument,
    "manifest": Manifest,
}

_UNITS = {
    "_um2": "um^2", "_um3": "um^3", "_um": "um", "_us": "us", "_ns": "ns", "_s": "s", "_ma": "mA", "_ml": "mL", "_l": "L",
    "_m3": "m^3", "_px": "px", "_mb": "MB", "_rad": "rad", "_e": "electrons", "_counts": "counts", "_ml_min": "mL/min",
    "_percent": "%", "_per_m3": "m^-3", "_per_ul": "uL^-1", "_ul": "uL",
}  # fmt: skip


def json_schema(name: str) -> dict[str, Any]:
    """The schema of a record, the configuration, an instrument file or a model manifest."""
    if name not in _KINDS:
        raise InputError("no such schema", expected=" | ".join(_KINDS), got=name)
    schema = msgspec.json.schema(_KINDS[name])
    describe(schema.get("$defs", {}), _KINDS[name])
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema


def describe(definitions: dict[str, Any], *kinds: type[Struct]) -> None:
    """Put docstrings and units into the definitions of these Structs and of those they are made of."""
    structs: dict[str, type[Struct]] = {}
    for kind in kinds:
        _structs(kind, structs)
    for title, definition in definitions.items():
        if title in structs:
            _describe(definition, structs[title])


def _structs(kind: type[Struct], found: dict[str, type[Struct]]) -> dict[str, type[Struct]]:
    """Every Struct a Struct is made of, by name."""
    if kind.__name__ not in found:
        found[kind.__name__] = kind
        for field in msgspec.structs.fields(kind):
            for part in (field.type, *getattr(field.type, "__args__", ())):
                if isinstance(part, type) and issubclass(part, Struct):
                    _structs(part, found)
    return found


def _describe(definition: dict[str, Any], kind: type[Struct]) -> None:
    """Put docstrings and units into the properties of one definition."""
    for name, text in _field_docstrings(kind).items():
        if name in definition.get("properties", {}):
            definition["properties"][name].setdefault("description", text)
    for name, entry in definition.get("properties", {}).items():
        unit = next((_UNITS[s] for s in sorted(_UNITS, key=len, reverse=True) if name.endswith(s)), None)
        if unit:
            entry["x-unit"] = unit


def _field_docstrings(kind: type[Struct]) -> dict[str, str]:
    """The string under each annotated field, read from the source, those it inherits included."""
    texts: dict[str, str] = {}
    for base in reversed([base for base in kind.__mro__ if issubclass(base, Struct) and base is not Struct]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for field, text in pairwise(tree.body if isinstance(tree, ast.ClassDef) else []):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                    texts[name] = said
                case _:
                    continue
    return texts
