"""What leaves the box: Particle (inside the pipeline), Detection, Interval and Event (on the wire and on disk).

Records are frozen; bytes meet them in `to_json` and `from_json` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

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
    "Name",
    "Particle",
    "Qartod",
    "SceneRecord",
    "Seq",
    "from_json",
    "iso_time",
    "to_json",
]

QARTOD_PASS: Final = 1
QARTOD_NOT_EVALUATED: Final = 2
QARTOD_SUSPECT: Final = 3
QARTOD_FAIL: Final = 4
QARTOD_MISSING: Final = 9

Qartod: TypeAlias = Literal[1, 2, 3, 4, 9]
"""A quality flag: one of those above."""

# Bounds that no box comes near, so that whatever passes can be stored, summed and shown beside the records of other boxes.
_END = r"$(?!\n)"
"""In Python, unlike in a JSON Schema, `$` would let a last newline through."""
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=rf"^[A-Za-z0-9._-]+{_END}")]
"""What stands in topics and keys."""
_Label = Annotated[str, Meta(max_length=256)]
"""Ids, labels, units, versions, digests."""
_Text = Annotated[str, Meta(max_length=16_384)]
"""For a person to read."""
_Stamp = Annotated[
    str, Meta(pattern=rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}([.][0-9]{{1,9}})?Z{_END}")
]
"""RFC 3339 in UTC."""
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
"""Millions of these add up, squared too, within double precision."""
_Share = Annotated[float, Meta(ge=0, le=1)]
_Whole = Annotated[int, Meta(ge=0, le=10**12)]
"""A count: a particle every microsecond for eleven days."""
_Pixel = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Seq = Annotated[int, Meta(ge=1, le=2**53 - 1)]
"""What every reader of JSON holds exactly (RFC 8259, section 6)."""
_MOST_LABELS, _MOST_FEATURES = 1024, 512


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

    device_id: Name
    spool_id: Name
    seq: Seq
    simulated: Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=8)] = ()
    """Parts of the instrument that were simulated, e.g. "camera"; empty: none. Beside real parts, `qc` is never 1."""


class ClockRecord(Struct, frozen=True):
    """Quality of the wall-clock stamps of a record."""

    source: _Label
    synchronised: bool
    uncertainty_s: _Number

    @classmethod
    def of(cls, clock: Clock) -> ClockRecord:
        return cls(clock.source, clock.synchronised, clock.uncertainty_s)


class Consistency(Struct, frozen=True, kw_only=True):
    """Whether the reconstruction, propagated forward, explains the measured hologram."""

    chi2: _Number | None = None
    p: _Number | None = None
    flag: Qartod = QARTOD_NOT_EVALUATED
    reason: _Text | None = None
    """Why it was not evaluated."""


class ModelUse(Struct, frozen=True):
    """A model that took part, by content."""

    name: _Label
    version: _Label
    sha256: _Label


class Models(Struct, frozen=True, kw_only=True):
    """The models that took part."""

    reconstruction: ModelUse | None = None
    classifier: ModelUse | None = None


class Detection(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One particle, named and measured: `holonode.detection/1`."""

    schema: Literal["holonode.detection/1"] = "holonode.detection/1"
    id: _Label
    interval_id: _Label
    captured_at: _Stamp
    clock: ClockRecord
    frame: _Whole
    x_um: _Number
    y_um: _Number
    z_um: _Number
    z_uncertainty_um: _Number
    bbox_px: tuple[_Pixel, _Pixel, _Pixel, _Pixel]
    esd_um: _Number
    esd_uncertainty_um: _Number
    features: Annotated[dict[_Label, _Number], Meta(max_length=_MOST_FEATURES)]
    label: _Label
    score: Annotated[float, Meta(ge=0, le=1)] | None
    probabilities: Annotated[dict[_Label, _Number], Meta(max_length=_MOST_LABELS)]
    prediction_set: Annotated[tuple[_Label, ...], Meta(max_length=_MOST_LABELS)]
    unnamed: _Text | None = None
    """Why no classifier spoke; `score` is null then, and `label` a mere 'particle'."""
    consistency: Consistency
    model: Models
    calibration_id: _Label | None
    config_hash: _Label
    pipeline_id: _Label
    media_id: _Label | None = None
    qc: Qartod = QARTOD_NOT_EVALUATED
    historical: bool = False
    confidence: _Share | None = None
    """Share of the fringes' energy around it that the reconstruction predicts; null where nothing stands above the noise."""


class SceneRecord(Struct, frozen=True, kw_only=True):
    """What kind of scene the frames of an interval showed."""

    tiles: Annotated[dict[_Label, _Share], Meta(max_length=_MOST_LABELS)]
    """Share of the frames' tiles that are empty, sparse, dense, extended (no particles) or too strong."""
    explained: _Share | None = None
    """Share of the fringes' energy that the reconstruction predicts, of the frame in which it is least; null: all were empty."""


class FrameCounts(Struct, frozen=True, kw_only=True):
    """Frames of an interval: what was taken, searched, lost."""

    captured: _Whole = 0
    analysed: _Whole = 0
    dropped: _Whole = 0
    unchecked: _Whole = 0
    """Of those analysed: held more particles than are refined and checked."""


class Count(Struct, frozen=True):
    """A count with its 95 % Poisson interval."""

    n: _Whole
    low: _Number
    high: _Number


class Concentration(Struct, frozen=True):
    """A concentration with its 95 % interval."""

    value: _Number
    low: _Number
    high: _Number
    unit: Literal["m^-3", "L^-1", "mL^-1"]


class Efficiency(Struct, frozen=True):
    """Share of the particles that were counted."""

    value: _Number
    uncertainty: _Number
    """One standard deviation."""


class Aggregation(Struct, frozen=True, kw_only=True):
    """How far beads have clumped at one look of an assay; uncertainties are one standard deviation."""

    elapsed_s: _Number
    """Since the assay's first look."""
    beads: _Number
    """Expected number."""
    clusters: _Number
    """Single beads count as clusters of one."""
    debris: _Whole
    """Particles that are no beads."""
    share_clustered: _Number
    """Of the beads that are not single."""
    share_clustered_uncertainty: _Number
    mean_size: _Number
    """Beads over clusters."""
    mean_size_uncertainty: _Number
    weighted_mean_size: _Number
    """Size of the cluster that a bead is in, mean over beads."""
    bonds_per_bead: _Number | None = None
    """The assay's response so far; None where there is too little to tell it."""
    bonds_per_bead_uncertainty: _Number | None = None


class DoseEstimate(Struct, frozen=True, kw_only=True):
    """What an assay found, with its 95 % interval."""

    value: _Number | None
    """None where only a limit can be told."""
    low: _Number
    """0 where no dose at all would explain what was seen."""
    high: _Number | None
    """None where there is no upper limit."""
    unit: Literal["uL^-1"] = "uL^-1"
    kind: Literal["measured", "below the limit of detection", "above the range"]
    limit_of_detection: _Number | None = None
    """Of a single assay, as calibrated."""


class Interval(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was looked at and what was seen over a span of time: `holonode.interval/1`."""

    schema: Literal["holonode.interval/1"] = "holonode.interval/1"
    id: _Label
    started_at: _Stamp
    ended_at: _Stamp
    clock: ClockRecord
    mode: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")]
    """How it was sampled: impactor, flow, assay or another; replay: recorded frames."""
    volume_ml: _Number | None = None
    volume_m3: _Number | None = None
    volume_uncertainty: _Number | None = None
    dead_time_s: _Number = 0.0
    frames: FrameCounts
    counts: Annotated[dict[_Label, Count], Meta(max_length=_MOST_LABELS)]
    concentration: Annotated[dict[_Label, Concentration], Meta(max_length=_MOST_LABELS)]
    detection_efficiency: Annotated[dict[_Label, Efficiency], Meta(max_length=_MOST_LABELS)] = {}
    """By label, as the concentrations are corrected for it; empty where it was not measured."""
    aggregation: Aggregation | None = None
    """Of an assay's look."""
    dose: DoseEstimate | None = None
    """Of an assay's last look, where its response was calibrated."""
    calibration_id: _Label | None
    config_hash: _Label
    pipeline_id: _Label
    qc: Qartod = QARTOD_NOT_EVALUATED
    historical: bool = False
    scene: SceneRecord | None = None
    """None where no frame could be searched."""
    reasons: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()
    """Why `qc` is not 1, in words."""


class Event(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a person may need to know: `holonode.event/1`."""

    schema: Literal["holonode.event/1"] = "holonode.event/1"
    id: _Label
    code: _Label
    severity: Literal["info", "warning", "alarm"]
    message: _Text
    value: _Number | _Text | None = None
    unit: _Label | None = None
    since: _Stamp
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
