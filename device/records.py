"""What leaves the box: Particle (inside the pipeline), Detection, Interval and Event (on the wire and on disk).

Records are frozen; bytes meet them in `to_json` and `from_json` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from device.errors import InputError
from device.frames import Clock

__all__ = [
    "Aggregation",
    "Classification",
    "Concentration",
    "Consistency",
    "Count",
    "Detection",
    "DoseEstimate",
    "Efficiency",
    "Event",
    "FrameCounts",
    "Interval",
    "ModelUse",
    "Models",
    "Particle",
    "from_json",
    "iso_time",
    "to_json",
]

QARTOD_PASS, QARTOD_NOT_EVALUATED, QARTOD_SUSPECT, QARTOD_FAIL, QARTOD_MISSING = 1, 2, 3, 4, 9


def iso_time(moment: datetime) -> str:
    """RFC 3339 in UTC with Z and microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Particle:
    """One particle found in one hologram."""

    x_um: float
    """From the centre of pixel (0, 0) along columns, at the object plane."""
    y_um: float
    """From the centre of pixel (0, 0) along rows, at the object plane."""
    z_um: float
    """From the sensor to the particle."""
    z_uncertainty_um: float
    """One standard deviation of z_um."""
    bbox_px: tuple[int, int, int, int]
    """x, y, width, height in pixels of the full frame."""
    esd_um: float
    """Equivalent spherical diameter: of the disc of the same area."""
    esd_uncertainty_um: float
    """One standard deviation of esd_um."""
    features: dict[str, float]
    """Shape and phase features, units in their names."""
    mask: NDArray[np.bool_] = field(repr=False)
    """bool [bbox height, bbox width]: the particle's pixels."""
    field_crop: NDArray[np.complex64] = field(repr=False)
    """complex64 [bbox height, bbox width]: the reconstructed field (1 where nothing is)."""


@dataclass(frozen=True)
class Classification:
    """What the classifier says of one particle."""

    label: str
    """The most probable class, or 'unknown'."""
    score: float | None
    """Calibrated probability of the most probable class; of being none of them where that is why it is 'unknown'; None where no
    classifier spoke."""
    probabilities: dict[str, float]
    """Every class, given that it is one of them."""
    prediction_set: tuple[str, ...]
    """Conformal set at 90 %; empty where no class is plausible."""
    unnamed: str | None = None
    """Why no classifier spoke."""
    owed: bool = False
    """Whether one was configured: its word is missing."""


class _Record(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shared header of every record."""

    device_id: str
    spool_id: str
    seq: int


class ClockRecord(Struct, frozen=True):
    """Quality of the wall-clock stamps of a record."""

    source: str
    synchronised: bool
    uncertainty_s: float

    @classmethod
    def of(cls, clock: Clock) -> ClockRecord:
        return cls(clock.source, clock.synchronised, clock.uncertainty_s)


class Consistency(Struct, frozen=True, kw_only=True):
    """Whether the reconstruction, propagated forward, explains the measured hologram."""

    chi2: float | None = None
    p: float | None = None
    flag: int = QARTOD_NOT_EVALUATED
    reason: str | None = None
    """Why it was not evaluated."""


class ModelUse(Struct, frozen=True):
    """A model that took part, by content."""

    name: str
    version: str
    sha256: str


class Models(Struct, frozen=True, kw_only=True):
    """The models that took part."""

    reconstruction: ModelUse | None = None
    classifier: ModelUse | None = None


class Detection(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One particle, named and measured: `holonode.detection/1`."""

    schema: Literal["holonode.detection/1"] = "holonode.detection/1"
    id: str
    interval_id: str
    captured_at: str
    clock: ClockRecord
    frame: int
    x_um: float
    y_um: float
    z_um: float
    z_uncertainty_um: float
    bbox_px: tuple[int, int, int, int]
    esd_um: float
    esd_uncertainty_um: float
    features: dict[str, float]
    label: str
    score: Annotated[float, Meta(ge=0, le=1)] | None
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...]
    unnamed: str | None = None
    """Why no classifier spoke; `score` is null then, and `label` a mere 'particle'."""
    consistency: Consistency
    model: Models
    calibration_id: str | None
    config_hash: str
    pipeline_id: str
    media_id: str | None = None
    qc: int = QARTOD_NOT_EVALUATED
    historical: bool = False


class FrameCounts(Struct, frozen=True, kw_only=True):
    """Frames of an interval: what was taken, searched, lost."""

    captured: int = 0
    analysed: int = 0
    dropped: int = 0
    unchecked: int = 0
    """Of those analysed: held more particles than are refined and checked."""


class Count(Struct, frozen=True):
    """A count with its 95 % Poisson interval."""

    n: int
    low: float
    high: float


class Concentration(Struct, frozen=True):
    """A concentration with its 95 % interval."""

    value: float
    low: float
    high: float
    unit: Literal["m^-3", "L^-1", "mL^-1"]


class Efficiency(Struct, frozen=True):
    """Share of the particles that were counted."""

    value: float
    uncertainty: float
    """One standard deviation."""


class Aggregation(Struct, frozen=True, kw_only=True):
    """How far beads have clumped at one look of an assay; uncertainties are one standard deviation."""

    elapsed_s: float
    """Since the assay's first look."""
    beads: float
    """Expected number."""
    clusters: float
    """Single beads count as clusters of one."""
    debris: int
    """Particles that are no beads."""
    share_clustered: float
    """Of the beads that are not single."""
    share_clustered_uncertainty: float
    mean_size: float
    """Beads over clusters."""
    mean_size_uncertainty: float
    weighted_mean_size: float
    """Size of the cluster that a bead is in, mean over beads."""
    bonds_per_bead: float | None = None
    """The assay's response so far; None where there is too little to tell it."""
    bonds_per_bead_uncertainty: float | None = None


class DoseEstimate(Struct, frozen=True, kw_only=True):
    """What an assay found, with its 95 % interval."""

    value: float | None
    """None where only a limit can be told."""
    low: float
    """0 where no dose at all would explain what was seen."""
    high: float | None
    """None where there is no upper limit."""
    unit: Literal["uL^-1"] = "uL^-1"
    kind: Literal["measured", "below the limit of detection", "above the range"]
    limit_of_detection: float | None = None
    """Of a single assay, as calibrated."""


class Interval(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was looked at and what was seen over a span of time: `holonode.interval/1`."""

    schema: Literal["holonode.interval/1"] = "holonode.interval/1"
    id: str
    started_at: str
    ended_at: str
    clock: ClockRecord
    mode: Literal["impactor", "flow", "assay", "replay"]
    volume_ml: float | None = None
    volume_m3: float | None = None
    volume_uncertainty: float | None = None
    dead_time_s: float = 0.0
    frames: FrameCounts
    counts: dict[str, Count]
    concentration: dict[str, Concentration]
    detection_efficiency: dict[str, Efficiency] = {}
    """By label, as the concentrations are corrected for it; empty where it was not measured."""
    aggregation: Aggregation | None = None
    """Of an assay's look."""
    dose: DoseEstimate | None = None
    """Of an assay's last look, where its response was calibrated."""
    calibration_id: str | None
    config_hash: str
    pipeline_id: str
    qc: int = QARTOD_NOT_EVALUATED
    historical: bool = False


class Event(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a person may need to know: `holonode.event/1`."""

    schema: Literal["holonode.event/1"] = "holonode.event/1"
    id: str
    code: str
    severity: Literal["info", "warning", "alarm"]
    message: str
    value: float | str | None = None
    unit: str | None = None
    since: str
    historical: bool = False


_RecordT = TypeVar("_RecordT", Detection, Interval, Event)


def to_json(record: Detection | Interval | Event) -> bytes:
    """One line of JSON, UTF-8, without a newline."""
    return msgspec.json.encode(record)


def from_json(data: bytes, kind: type[_RecordT]) -> _RecordT:
    """The record in `data`; raises InputError where it doesn't match the schema."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"not a valid {kind.__name__.lower()} record", got=str(error)) from error


def json_schema(kind: type[Struct]) -> dict[str, Any]:
    """The published JSON Schema of a record."""
    return msgspec.json.schema(kind)
