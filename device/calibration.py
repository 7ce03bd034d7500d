"""Calibration records: what an instrument was measured to be, and until when that holds.

A record is a TOML file of its own, outside the program's folder, made by `holonode-calibrate` and read at every start. Its
id is the hash of its content: a record that was edited is no longer that record. Records that are expired, of another
instrument, failed, edited, or outside what the instrument can be are refused, each with its reason; the rest, newest first
for each quantity, turn the nominal instrument into the measured one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.errors import HolonodeError, InputError
from device.instrument import Instrument
from device.optics.pupil import ABERRATIONS
from device.output import output_folder, writing
from device.tomlfile import load_toml

__all__ = [
    "ABERRATION_VALUES",
    "CalibrationRecord",
    "Calibrations",
    "Quantity",
    "commissioning_record",
    "load_calibrations",
    "read_record",
    "sealed",
    "write_record",
]

_CONTRADICTION_SIGMAS = 6.0

ABERRATION_VALUES = (*(f"{name}_rad" for name in ABERRATIONS), "pupil_radius_per_um")
"""Values of a record that together say how the instrument is aberrated."""

_Time = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
Procedure = Literal["dark", "flat", "distance", "tilt", "pitch", "flow", "counts", "dose", "transfer"]


class Quantity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measured figure."""

    value: float
    """In `unit`."""
    uncertainty: Annotated[float, Meta(ge=0)]
    """One standard deviation, systematic shares included."""
    unit: str
    """As in the name of what it replaces: um, degrees, counts, ..."""


class CalibrationRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One procedure's outcome."""

    schema: Literal["holonode.calibration/1"] = "holonode.calibration/1"
    """Name and version of this schema."""
    instrument_id: str
    """Content id of the instrument file it was made with."""
    made_at: _Time
    """Aware."""
    procedure: Procedure
    """What was done."""
    operator: str = ""
    """Who did it; empty: not said."""
    values: dict[str, Quantity]
    """What was measured, by name."""
    residuals: dict[str, float] = {}
    """What the procedure could not explain, by name with unit."""
    verdict: Literal["pass", "fail"]
    """Only what passed is used."""
    reasons: list[str] = []
    """Why it failed."""
    valid_until: _Time
    """Aware; it is not used after this."""
    sources: list[str] = []
    """SHA-256 of every frame it was made from."""
    id: str = ""
    """First 16 hex digits of the SHA-256 of everything else."""


@dataclass(frozen=True)
class Calibrations:
    """What the records of one instrument add up to."""

    instrument: Instrument
    """With the measured figures in place of the nominal ones."""
    id: str | None
    """Of the records used together; None where none is."""
    used: tuple[CalibrationRecord, ...]
    refused: tuple[str, ...]
    """One sentence each."""

    def figures(self, procedure: Procedure) -> dict[str, tuple[float, float]]:
        """Value and uncertainty by name, of all records in force for a procedure."""
        found = [record.values for record in reversed(self.used) if record.procedure == procedure]
        return {name: (q.value, q.uncertainty) for values in found for name, q in values.items()}

    def newest(self, procedure: Procedure) -> CalibrationRecord | None:
        """The record in force for a procedure."""
        return next((record for record in self.used if record.procedure == procedure), None)


def _content_id(record: CalibrationRecord) -> str:
    bare = msgspec.structs.replace(
        record, id="", made_at=record.made_at.astimezone(UTC), valid_until=record.valid_until.astimezone(UTC)
    )
    return hashlib.sha256(msgspec.json.encode(bare, order="sorted")).hexdigest()[:16]


def sealed(record: CalibrationRecord) -> CalibrationRecord:
    """The record with its id."""
    return msgspec.structs.replace(record, id=_content_id(record))


def write_record(folder: Path, record: CalibrationRecord) -> Path:
    """Write a sealed record, as `<procedure>-<time>-<id>.toml`; never over another."""
    folder = output_folder(folder)
    path = folder / f"{record.procedure}-{record.made_at:%Y%m%dT%H%M%SZ}-{record.id[:8]}.toml"
    with writing(path), path.open("x", encoding="utf-8") as file:
        file.write(_toml(msgspec.to_builtins(record)))
    return path


def _toml(tree: dict[str, Any]) -> str:
    """TOML of plain figures, texts, lists and one level of tables within tables."""
    plain = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in tree.items():
        if not isinstance(value, dict):
            continue
        figures = {k: v for k, v in value.items() if not isinstance(v, dict)}
        lines += ["", f"[{key}]"] + [f"{k} = {json.dumps(v)}" for k, v in figures.items()]
        for inner, table in value.items():
            if isinstance(table, dict):
                lines += ["", f"[{key}.{inner}]"] + [f"{k} = {json.dumps(v)}" for k, v in table.items()]
    return "\n".join(lines) + "\n"


def read_record(path: Path) -> CalibrationRecord:
    """A record whose content is what its id says; InputError where it isn't."""
    record = load_toml(path, CalibrationRecord)
    if record.id != _content_id(record):
        raise InputError(
            "the calibration record was changed after it was made", where=path, expected=f"id {_content_id(record)}",
            got=f"id {record.id or 'none'}", remedy="Run the procedure again; records are measured, not edited.",
        )  # fmt: skip
    return record


def load_calibrations(folder: Path, instrument: Instrument, now: datetime | None = None, *, dated: bool = True) -> Calibrations:
    """Every record of a folder that holds for this instrument today, newest first, and why the others don't.

    Not `dated`: nobody knows what day it is, so that no record is refused for its age.
    """
    today = (now or datetime.now(UTC)) if dated else None
    used: list[CalibrationRecord] = []
    refused: list[str] = []
    for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
        try:
            record = read_record(path)
        except HolonodeError as error:
            refused.append(str(error))
            continue
        reason = _refusal(record, instrument, today)
        if reason:
            refused.append(f"{path.name}: {reason}.")
        else:
            used.append(record)
    used, contradictions = _agreeing(used)
    refused += contradictions
    latest = [r for k, r in enumerate(used) if all(_slot(r) != _slot(other) for other in used[:k])]
    measured = _applied(instrument, latest)
    joint = hashlib.sha256(" ".join(sorted(r.id for r in latest)).encode()).hexdigest()[:16] if latest else None
    return Calibrations(measured, joint, tuple(latest), tuple(refused))


def commissioning_record(folder: Path, instrument: Instrument, procedure: Procedure = "flat") -> CalibrationRecord | None:
    """The first passed record of a procedure for this instrument, expired or not: what it was like when it was new."""
    found: list[CalibrationRecord] = []
    for path in sorted(folder.glob(f"{procedure}-*.toml")) if folder.is_dir() else []:
        try:
            record = read_record(path)
        except HolonodeError:
            continue  # load_calibrations names it as refused
        if record.instrument_id == instrument.id and record.procedure == procedure and record.verdict == "pass":
            found.append(record)
    return min(found, key=lambda record: record.made_at, default=None)


def _agreeing(records: Sequence[CalibrationRecord]) -> tuple[list[CalibrationRecord], list[str]]:
    """Records newest first, less those whose distance or pitch no earlier valid record agrees with."""
    kept: list[CalibrationRecord] = []
    refused: list[str] = []
    for record in sorted(records, key=lambda record: record.made_at):
        reason = next((r for earlier in reversed(kept) if (r := _disagreement(record, earlier))), None)
        if reason:
            refused.append(reason)
        else:
            kept.append(record)
    return kept[::-1], refused


def _slot(record: CalibrationRecord) -> tuple[str, ...]:
    """What a newer record takes the place of: its procedure's; of `counts`, only that of the same size class."""
    return (record.procedure, *sorted(record.values)) if record.procedure == "counts" else (record.procedure,)


def _disagreement(record: CalibrationRecord, earlier: CalibrationRecord) -> str | None:
    for name in ("distance_um", "pitch_um"):
        here, there = record.values.get(name), earlier.values.get(name)
        if here is None or there is None:
            continue
        apart = abs(here.value - there.value) / max((here.uncertainty**2 + there.uncertainty**2) ** 0.5, 1e-12)
        if apart > _CONTRADICTION_SIGMAS:
            return (
                f"{record.procedure} record {record.id}: {name} {here.value:g} contradicts {there.value:g} of the valid record "
                f"{earlier.id} ({apart:.0f} standard deviations apart). Measure again; if the instrument was rebuilt, move the "
                "older record out of the folder."
            )
    return None


def _refusal(record: CalibrationRecord, instrument: Instrument, now: datetime | None) -> str | None:
    if record.instrument_id != instrument.id:
        return f"made for instrument {record.instrument_id}, this is {instrument.id} ({instrument.name})"
    if record.verdict != "pass":
        return "the procedure failed: " + ("; ".join(record.reasons) or "no reason given")
    if now is not None and now > record.valid_until:
        return f"expired on {record.valid_until:%Y-%m-%d}"
    if now is not None and record.made_at > now:
        return f"made in the future, {record.made_at:%Y-%m-%d %H:%M}; check the clock"
    return _contradiction(record, instrument)


def _contradiction(record: CalibrationRecord, instrument: Instrument) -> str | None:
    """What the instrument can't be, whatever was measured."""
    optics, sensor = instrument.optics, instrument.sensor
    limits = {
        "distance_um": (optics.distance_um, max(0.2 * optics.distance_um, 6 * optics.distance_uncertainty_um)),
        "pitch_um": (sensor.pitch_um, max(0.02 * sensor.pitch_um, 6 * sensor.pitch_uncertainty_um)),
        "flow_ml_min": (instrument.fluidics.flow_ml_min, 0.5 * instrument.fluidics.flow_ml_min),
    }
    for name, (nominal, tolerance) in limits.items():
        measured = record.values.get(name)
        if measured is not None and abs(measured.value - nominal) > tolerance:
            return f"{name} {measured.value:g} contradicts the instrument file's {nominal:g} +- {tolerance:g}"
    return None


def _applied(instrument: Instrument, records: Sequence[CalibrationRecord]) -> Instrument:
    parts = {"sensor": instrument.sensor, "optics": instrument.optics, "fluidics": instrument.fluidics}
    targets = {
        "pitch_um": ("sensor", "pitch_um", "pitch_uncertainty_um"),
        "distance_um": ("optics", "distance_um", "distance_uncertainty_um"),
        "dark_level_counts": ("sensor", "dark_level_counts", None),
        "read_noise_e": ("sensor", "read_noise_e", None),
        "full_well_e": ("sensor", "full_well_e", None),
        "flow_ml_min": ("fluidics", "flow_ml_min", None),
    }
    for record in reversed(records):
        for name, quantity in record.values.items():
            if name not in targets:
                continue
            part, field, uncertainty = targets[name]
            changes = {field: quantity.value} | ({uncertainty: quantity.uncertainty} if uncertainty else {})
            if name == "flow_ml_min" and quantity.value > 0:
                changes["flow_relative_uncertainty"] = quantity.uncertainty / quantity.value
            parts[part] = msgspec.structs.replace(parts[part], **changes)
        if all(name in record.values for name in ABERRATION_VALUES):
            *aberrations_rad, radius_per_um = (record.values[name].value for name in ABERRATION_VALUES)
            parts["optics"] = msgspec.structs.replace(
                parts["optics"], aberrations_rad=tuple(aberrations_rad), pupil_radius_per_um=radius_per_um
            )
    return msgspec.structs.replace(instrument, **parts)
