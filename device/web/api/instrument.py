"""What the box is made of: models with digests and cards, settings with bounds and who changed them, calibration records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, inspect

from device.analysis.binning import binning_for, coarser
from device.calibration import CalibrationRecord, load_calibrations, read_record
from device.config import public
from device.errors import HolonodeError
from device.inference.manifest import Manifest
from device.inference.store import ModelStore, checked_by_name, split_stem
from device.inference.tasks.kinds import task_kinds
from device.meaning import meanings, unit_of
from device.optics.geometry import Geometry
from device.settings import SETTABLE
from device.web.api.box import DashboardContext
from device.web.serving.answers import Content, RefusedError
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["InstrumentEndpoints"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}")


class InstrumentEndpoints:
    """The routes."""

    def __init__(self, box: DashboardContext) -> None:
        self._box = box

    def endpoints(self) -> list[Endpoint]:
        """Of models, settings and calibration."""
        return [
            Endpoint("GET", "/api/models", "viewer", self._models),
            Endpoint("GET", "/api/models/{name}/{version}/card", "viewer", self._card),
            Endpoint("GET", "/api/settings", "viewer", self._settings),
            Endpoint("GET", "/api/calibration", "viewer", self._calibration),
        ]

    # -- models -----------------------------------------------------------------------------------------------------------

    def _models(self, _request: HttpRequest) -> dict[str, Any]:
        store = self._box.models()
        active = {name: _active(store, name) for name in store.names()}
        geometry, binning = self._box.geometry()
        return {"models": [_model(store, path, active, geometry, binning) for path in store.models()]}

    def _card(self, request: HttpRequest) -> Content:
        name, version = request.path["name"], request.path["version"]
        if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
            for folder in self._box.models().folders:
                for place in (folder, folder.parent / "cards"):
                    card = place / f"{name}-{version}.md"
                    if card.is_file():
                        return Content(card.read_bytes(), "text/plain; charset=utf-8")
        raise RefusedError(
            404,
            "there is no card of this model",
            where=f"{name[:64]} {version[:32]}",
            remedy="Its manifest tells what it was made for.",
        )

    # -- settings ---------------------------------------------------------------------------------------------------------

    def _settings(self, _request: HttpRequest) -> dict[str, Any]:
        used, filed = public(self._box.config()), public(self._box.file)
        changes = self._changes()
        found: list[dict[str, Any]] = []
        for key, said in _fields(type(self._box.file), ""):
            value, from_file = _at(used, key), _at(filed, key)
            changed = value != from_file
            by, at = changes.get(key, ("", None)) if changed else ("", None)
            found.append({
                "key": key, "value": value, "from_file": from_file, "meaning": said, "unit": unit_of(key.rpartition(".")[2]),
                "bounds": SETTABLE.get(key), "settable": key in SETTABLE, "changed": changed, "changed_by": by, "changed_at": at,
            })  # fmt: skip
        return {"settings": found}

    def _changes(self) -> dict[str, tuple[str, str]]:
        """Who changed each setting last, and when, as far as the audit log goes back."""
        found: dict[str, tuple[str, str]] = {}
        asked: Mapping[str, Any] = {}
        for line in self._box.audit.read():
            if line.command != "set":
                continue
            if line.phase == "begin":
                asked = line.request.get("settings", {})
            elif line.phase == "end" and line.answer.get("status") == "ok":
                found |= dict.fromkeys(asked, (line.by or line.door, line.at))
        return found

    # -- calibration ------------------------------------------------------------------------------------------------------

    def _calibration(self, _request: HttpRequest) -> dict[str, Any]:
        folder = Path(self._box.file.calibration.folder).expanduser()
        in_force = load_calibrations(folder, self._box.nominal)
        used = {record.id for record in in_force.used}
        records: list[CalibrationRecord] = []
        for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
            try:
                records.append(read_record(path))
            except HolonodeError:
                continue  # told among those that are refused
        records.sort(key=lambda record: record.made_at, reverse=True)
        now = datetime.now(UTC)
        return {
            "records": [
                msgspec.to_builtins(record) | {"in_force": record.id in used, "expired": now > record.valid_until} for record in records
            ],
            "refused": in_force.refused,
        }  # fmt: skip


def _active(store: ModelStore, name: str) -> Path | None:
    try:
        return store.find(name).model
    except HolonodeError:
        return None


def _model(
    store: ModelStore, path: Path, active: Mapping[str, Path | None], geometry: Geometry, binning: float
) -> dict[str, Any]:
    """One bundle; what a broken one doesn't tell is None."""
    name, version = split_stem(path.stem) or (path.stem, "")
    manifest, problem = None, None
    try:
        manifest = checked_by_name(path).manifest
    except HolonodeError as error:
        problem = str(error)
    history = _activations(store, name)
    earlier = [step.version for step in history[:-1]]
    refusal = None if manifest is None else _refusal(manifest, geometry, binning)
    is_active = path == active.get(name)
    return {
        "name": name, "version": version, "active": is_active, "previous": version in earlier[-1:], "problem": problem,
        "may_roll_back": is_active and bool(history), "installed": path.parent == store.installed,
        "task": manifest and manifest.task, "sha256": manifest and manifest.sha256, "labels": manifest and manifest.labels,
        "covers": manifest and refusal is None, "coverage": refusal,
        "optics": manifest and manifest.optics, "recipe": manifest and manifest.recipe,
    }  # fmt: skip


def _activations(store: ModelStore, name: str) -> tuple[Any, ...]:
    try:
        return store.activations().get(name, ())
    except HolonodeError:
        return ()


def _refusal(manifest: Manifest, geometry: Geometry, binning: float) -> str | None:
    """Why it doesn't cover this instrument; a reconstruction may have pixels averaged for it."""
    kind = task_kinds().get(manifest.task)
    if kind is None:
        return f"nothing here does {manifest.task}"
    if kind.name == "reconstruction":
        fits = binning_for(geometry, lambda coarse: kind.refusal(manifest, coarse) is None)
        return None if fits else kind.refusal(manifest, geometry)
    return kind.refusal(manifest, coarser(geometry, binning))


def _fields(kind: type[Struct], before: str) -> Iterator[tuple[str, str]]:
    """Dotted key and meaning of every setting."""
    said = meanings(kind)
    info = inspect.type_info(kind)
    for field in info.fields if isinstance(info, inspect.StructType) else ():
        key = f"{before}{field.name}"
        if isinstance(field.type, inspect.StructType):
            yield from _fields(field.type.cls, f"{key}.")
        else:
            yield key, said.get(field.name, "")


def _at(tree: Mapping[str, Any], key: str) -> Any:
    found: Any = tree
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
