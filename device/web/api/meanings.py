"""What every field, unit and event means: from where schemas and exports have it."""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from msgspec import Struct, inspect

from device.calibration import CalibrationRecord, Quantity
from device.meaning import meanings, unit_of
from device.messaging.payloads import Check, Health, Info, Stats
from device.records import Consistency, Detection, Event, Interval
from device.schemas import catalogue
from device.storage.history.values import HistoryStatus, SeriesPoint
from device.web.api.box import States
from device.web.serving.answers import RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["MeaningEndpoints"]

_KINDS: dict[str, type[Struct]] = {
    "interval": Interval, "detection": Detection, "event": Event, "health": Health, "check": Check, "stats": Stats, "info": Info,
    "calibration": CalibrationRecord, "quantity": Quantity, "series": SeriesPoint, "history": HistoryStatus, "consistency": Consistency,
}  # fmt: skip


class MeaningEndpoints:
    """The routes."""

    def __init__(self, states: States | None = None) -> None:
        """`states`: of a box; None: of none."""
        self._states = states

    def endpoints(self) -> list[Endpoint]:
        """Of meanings, and of the text that comes with the program."""
        return [
            Endpoint("GET", "/api/meanings", "viewer", self._all),
            Endpoint("GET", "/api/manual", "viewer", lambda _request: {"text": _readme() + _papers()}),
        ]

    def _all(self, _request: HttpRequest) -> dict[str, Any]:
        state = {} if self._states is None else _fields_of("state", type(self._states.now()))
        events = {code: event.published() for code, event in catalogue().items()}
        return {"fields": state | _known(), "events": events}


@cache
def _readme() -> str:
    """README, as the installed package carries it."""
    try:
        said = distribution("holonode").read_text("METADATA") or ""
    except PackageNotFoundError:
        raise RefusedError(
            404, "the program isn't installed as a package", remedy="Install it: README is part of it."
        ) from None
    return said.partition("\n\n")[2]  # behind the headers


@cache
def _papers() -> str:
    """How a box is built, each paper a section: of the release that runs, or of the checkout; empty where neither has them."""
    for place in (Path(sys.prefix).resolve().parent / "manual", Path(__file__).resolve().parents[3]):
        files = [place / "deploy/hardware" / f"{name}.md" for name in ("README", "parts", "assembly")]
        if all(file.is_file() for file in files):
            return "".join(
                "\n" + re.sub(r"^(#+ )", r"#\1", file.read_text(encoding="utf-8"), flags=re.MULTILINE) for file in files
            )
    return ""


@cache
def _known() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name, kind in _KINDS.items():
        found |= _fields_of(name, kind)
    return found


@cache
def _fields_of(name: str, kind: type[Struct]) -> dict[str, dict[str, str]]:
    """Meaning and unit by `kind.field`, down through what is nested."""
    said = meanings(kind)
    found: dict[str, dict[str, str]] = {}
    info = inspect.type_info(kind)
    for field in info.fields if isinstance(info, inspect.StructType) else ():
        found[f"{name}.{field.name}"] = {"meaning": said.get(field.name, ""), "unit": unit_of(field.name)}
        for inner in _structs_in(field.type):
            if inner not in _KINDS.values():
                found |= _fields_of(f"{name}.{field.name}", inner)
    return found


def _structs_in(one: inspect.Type) -> list[type[Struct]]:
    if isinstance(one, inspect.StructType):
        return [one.cls]
    if isinstance(one, inspect.UnionType):
        return [inner.cls for inner in one.types if isinstance(inner, inspect.StructType)]
    return []
