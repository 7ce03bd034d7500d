"""What leaves the box: Particle (inside the pipeline), Detection, Interval and Event (on the wire and on disk).

Records are frozen; bytes meet them in `to_json` and `from_json` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from device.errors import InputError
from device.frames import Clock
from device.records_1 import EARLIER, upgraded

__all__ = [
    "QARTOD_MEANINGS",
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
    "Role",
    "SceneRecord",
    "Seq",
    "Stamp",
    "Whole",
    "from_json",
    "iso_time",
    "to_json",
]

QARTOD_PASS: Final = 1
QARTOD_NOT_EVALUATED: Final = 2
QARTOD_SUSPECT: Final = 3
QARTOD_FAIL: Final = 4
QARTOD_MISSING: Final = 9

QARTOD_MEANINGS: Final = {
    QARTOD_PASS: "pass", QARTOD_NOT_EVALUATED: "not_evaluated", QARTOD_SUSPECT: "suspect", QARTOD_FAIL: "fail", QARTOD_MISSING: "missing",
}  # fmt: skip

Qartod: TypeAlias = Annotated[
    Literal[1, 2, 3, 4, 9],
    Meta(extra_json_schema={"x-meanings": {str(flag): meaning for flag, meaning in QARTOD_MEANINGS.items()}}),
]
"""A quality flag: one of those above (https://ioos.noaa.gov/project/qartod/)."""

# Bounds that no box comes near, so that whatever passes can be stored, summed and shown beside the records of other boxes.
_END = r"$(?!\n)"
"""In Python, unlike in a JSON Schema, `$` would let a last newline through."""
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=rf"^[A-Za-z0-9._-]+{_END}")]
"""What stands in topics and keys."""
_Label = Annotated[str, Meta(max_length=256)]
"""Ids, labels, units, versions, digests."""
_Text = Annotated[str, Meta(max_length=16_384)]
"""For a person to read."""
Stamp = Annotated[
    str,
    Meta(
        pattern=rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}([.][0-9]{{1,9}})?Z{_END}",
        extra_json_schema={"format": "date-time"},
    ),
]
"""RFC 3339 in UTC."""
_Number = Annotated[float, Meta(ge=-1e30, le=1e30)]
"""Millions of these add up, squared too, within double precision."""
_Share = Annotated[float, Meta(ge=0, le=1)]
Whole = Annotated[int, Meta(ge=0, le=10**12)]
"""A count: a particle every microsecond for eleven days."""
_Pixel = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Seq = Annotated[int, Meta(ge=1, le=2**53 - 1)]
"""What every reader of JSON holds exactly (RFC 8259, section 6)."""
Role = Annotated[str, Meta(pattern=rf"^[a-z][a-z0-9_-]{{0,31}}{_END}")]
"""What a model does: reconstruction, classifier or another."""
_MOST_LABELS, _MOST_FEATURES = 1024, 512


def iso_time(moment: datetime) -> str:
    """RFC 3339 in UTC with Z and microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True)
class Particle:
    """One particle found in one hologram; places, sizes and `bbox_px` mean what they mean in `Detection`."""

    x_um: float
    y_um: float
    z_um: float
    z_uncertainty_um: float
    bbox_px: tuple[int, int, int, int]
    esd_um: float
    esd_uncertainty_um: float
    features: dict[str, float]
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
    """The box."""
    spool_id: Name
    """Its store, or 'replay' of recorded frames; with the box and `seq` it names the record for ever."""
    seq: Seq
    """Number of the record in the store, from 1."""
    simulated: Annotated[tuple[Annotated[str, Meta(max_length=32)], ...], Meta(max_length=8)] = ()
    """Parts of the instrument that were simulated, e.g. "camera"; empty: none. Beside real parts, `qc` is never 1."""
    historical: bool = False
    """Whether it waited through a restart or an outage before it was sent."""


class _Result(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every record of an analysis says of its origin and worth."""

    calibration_id: _Label | None
    """Of the calibration records in use; None: none."""
    config_hash: _Label
    """Of the configuration in use: 16 hex digits of its SHA-256."""
    pipeline_id: _Label
    """Of the analysis in use, its code, models and settings: 16 hex digits of a SHA-256."""
    qc: Qartod = QARTOD_NOT_EVALUATED
    """QARTOD flag: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing."""


class ClockRecord(Struct, frozen=True):
    """Quality of the wall-clock stamps of a record."""

    source: _Label
    """What set the clock: ntp, gnss, rtc, file; system: nobody vouches for it; none: it says what can't be; backdated: from a
    synchronisation that came later."""
    synchronised: bool
    """Whether the clock was known to be right."""
    uncertainty_s: _Number
    """Of the stamps, one standard deviation."""

    @classmethod
    def of(cls, clock: Clock) -> ClockRecord:
        return cls(clock.source, clock.synchronised, clock.uncertainty_s)


class Consistency(Struct, frozen=True, kw_only=True):
    """Whether the reconstruction, propagated forward, explains the measured hologram."""

    chi2: _Number | None = None
    """What is left unexplained, in units of what a right reconstruction may leave: the worst of fringes, movement and depth; about 1
    in a right one. None: not evaluated."""
    p: _Number | None = None
    """Probability of as much in a right reconstruction, 0 to 1. None: not evaluated."""
    flag: Qartod = QARTOD_NOT_EVALUATED
    """QARTOD flag of the misfit: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing."""
    reason: _Text | None = None
    """Why it was not evaluated."""


class ModelUse(Struct, frozen=True):
    """A model that took part, by content."""

    name: _Label
    """Of the bundle."""
    version: _Label
    """Major.minor.patch."""
    sha256: _Label
    """Digest of the model's file, 64 hex digits."""


Models: TypeAlias = Annotated[dict[Role, ModelUse], Meta(max_length=64)]
"""The models that took part, by what they did; a role that nobody took is left out."""


class Detection(_Result, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One particle, named and measured: `holonode.detection/2`."""

    schema: Literal["holonode.detection/2"] = "holonode.detection/2"
    """Name and version of this schema."""
    id: _Label
    """The detection, a ULID."""
    interval_id: _Label
    """The interval that it was seen in."""
    captured_at: Stamp
    """When its frame was taken, UTC."""
    clock: ClockRecord
    """Quality of `captured_at`."""
    frame: Whole
    """Number of its frame in its source, from 0: since the service opened the camera, or in the recording."""
    x_um: _Number
    """From the centre of pixel (0, 0) of the full frame along columns, at the object plane."""
    y_um: _Number
    """From the centre of pixel (0, 0) of the full frame along rows, at the object plane."""
    z_um: _Number
    """From the sensor to the particle."""
    z_uncertainty_um: _Number
    """One standard deviation of z_um."""
    bbox_px: tuple[_Pixel, _Pixel, _Pixel, _Pixel]
    """Bounding box in the full frame: x and y of its corner, width, height."""
    esd_um: _Number
    """Equivalent spherical diameter: of the disc of the same area."""
    esd_uncertainty_um: _Number
    """One standard deviation of esd_um."""
    features: Annotated[dict[_Label, _Number], Meta(max_length=_MOST_FEATURES)]
    """Of shape and phase, by name, which ends in its unit."""
    label: _Label
    """The most probable class; 'unknown' where none is, 'particle' where no classifier spoke."""
    score: Annotated[float, Meta(ge=0, le=1)] | None
    """Calibrated probability of the most probable class; of being none of them where that is why it is 'unknown'; None where no
    classifier spoke."""
    probabilities: Annotated[dict[_Label, _Number], Meta(max_length=_MOST_LABELS)]
    """By class, 0 to 1, given that it is one of them."""
    prediction_set: Annotated[tuple[_Label, ...], Meta(max_length=_MOST_LABELS)]
    """Conformal set at 90 %; empty where no class is plausible."""
    unnamed: _Text | None = None
    """Why no classifier spoke; `score` is null then, and `label` a mere 'particle', or 'unknown' where the field is not one of
    particles."""
    consistency: Consistency
    """Whether the reconstruction explains the hologram there."""
    models: Models
    """That took part, by role (reconstruction, classifier or another); a role that nobody took is left out."""
    media_id: _Label | None = None
    """Of a picture that goes with it; None: none."""
    confidence: _Share | None = None
    """Share of the fringes' energy around it that the reconstruction predicts; null where nothing stands above the noise."""


SCENE_KINDS: Final = ("empty", "sparse", "dense", "extended", "too strong")
"""Of a frame's tiles (`device.analysis.scene`)."""


class SceneRecord(Struct, frozen=True, kw_only=True):
    """What kind of scene the frames of an interval showed."""

    tiles: Annotated[dict[_Label, _Share], Meta(max_length=_MOST_LABELS)]
    """Share of the frames' tiles that are empty, sparse, dense, extended (no particles) or too strong."""
    explained: _Share | None = None
    """Share of the fringes' energy that the reconstruction predicts, of the frame in which it is least; null: all were empty."""


class FrameCounts(Struct, frozen=True, kw_only=True):
    """Frames of an interval: what was taken, searched, lost."""

    captured: Whole = 0
    """Taken."""
    analysed: Whole = 0
    """Searched for particles."""
    dropped: Whole = 0
    """Lost, or not searched."""
    unchecked: Whole = 0
    """Of those analysed: held more particles than are refined and checked."""


class Count(Struct, frozen=True):
    """A count with its 95 % Poisson interval."""

    n: Whole
    """Particles seen; 0 where frames were analysed: looked and saw none."""
    low: _Number
    """Lower end of the 95 % interval of the mean count."""
    high: _Number
    """Upper end of the 95 % interval of the mean count."""


class Concentration(Struct, frozen=True, gc=False):
    """A concentration with its 95 % interval."""

    value: _Number
    """Particles per volume, in `unit`."""
    low: _Number
    """Lower end of the 95 % interval of the concentration."""
    high: _Number
    """Upper end of the 95 % interval of the concentration."""
    unit: Literal["m^-3", "L^-1", "mL^-1"]
    """Of the concentration and its interval."""


class Efficiency(Struct, frozen=True):
    """Share of the particles that were counted."""

    value: _Number
    """Share that is counted, 0 to 1; the concentration is corrected for it."""
    uncertainty: _Number
    """One standard deviation of the share."""


class Aggregation(Struct, frozen=True, kw_only=True):
    """How far beads have clumped at one look of an assay; uncertainties are one standard deviation."""

    elapsed_s: _Number
    """Since the assay's first look."""
    beads: _Number
    """Expected number."""
    clusters: _Number
    """Single beads count as clusters of one."""
    debris: Whole
    """Particles that are no beads."""
    share_clustered: _Number
    """Of the beads that are not single."""
    share_clustered_uncertainty: _Number
    """Of share_clustered."""
    mean_size: _Number
    """Beads over clusters."""
    mean_size_uncertainty: _Number
    """Of mean_size."""
    weighted_mean_size: _Number
    """Size of the cluster that a bead is in, mean over beads."""
    bonds_per_bead: _Number | None = None
    """The assay's response so far; None where there is too little to tell it."""
    bonds_per_bead_uncertainty: _Number | None = None
    """Of bonds_per_bead."""


class DoseEstimate(Struct, frozen=True, kw_only=True):
    """What an assay found, with its 95 % interval."""

    value: _Number | None
    """Analyte that the beads bind, in `unit`; None where only a limit can be told."""
    low: _Number
    """Lower end of its 95 % interval; 0 where no dose at all would explain what was seen."""
    high: _Number | None
    """Upper end of its 95 % interval; None where there is none."""
    unit: Literal["uL^-1"] = "uL^-1"
    """Of dose, interval and limit."""
    kind: Literal["measured", "below the limit of detection", "above the range"]
    """What can be told of the dose."""
    limit_of_detection: _Number | None = None
    """Of a single assay, as calibrated, in `unit`."""


class Interval(_Result, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was looked at and what was seen over a span of time: `holonode.interval/2`."""

    schema: Literal["holonode.interval/2"] = "holonode.interval/2"
    """Name and version of this schema."""
    id: _Label
    """The interval, a ULID."""
    started_at: Stamp
    """Its beginning, UTC."""
    ended_at: Stamp
    """Its end, UTC."""
    clock: ClockRecord
    """Quality of its times."""
    mode: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,31}$")]
    """How it was sampled: impactor, flow, assay or another; replay: recorded frames."""
    volume_ml: _Number | None = None
    """Liquid that was looked at; None: none, or not known."""
    volume_m3: _Number | None = None
    """Air that was looked at; None: none, or not known."""
    volume_uncertainty: _Number | None = None
    """One standard deviation of the volume, in its unit."""
    dead_time_s: _Number = 0.0
    """Part of the interval in which nothing was sampled, or nothing could be seen."""
    frames: FrameCounts
    """What became of its frames."""
    counts: Annotated[dict[_Label, Count], Meta(max_length=_MOST_LABELS)]
    """By label, those that were looked for and not seen among them; total: all but artefacts such as bubbles."""
    concentration: Annotated[dict[_Label, Concentration], Meta(max_length=_MOST_LABELS)]
    """By label, as the counts; empty where nothing could be analysed or the volume isn't known."""
    detection_efficiency: Annotated[dict[_Label, Efficiency], Meta(max_length=_MOST_LABELS)] = {}
    """By label, as the concentrations are corrected for it; empty where it was not measured."""
    aggregation: Aggregation | None = None
    """Of an assay's look."""
    dose: DoseEstimate | None = None
    """Of an assay's last look, where its response was calibrated."""
    scene: SceneRecord | None = None
    """None where no frame could be searched."""
    reasons: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()
    """Why `qc` is not 1, in words."""


class Event(_Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a person may need to know: `holonode.event/2`."""

    schema: Literal["holonode.event/2"] = "holonode.event/2"
    """Name and version of this schema."""
    id: _Label
    """The event, a ULID."""
    code: _Label
    """What happened, for programs: one of the catalogue, or of a later version's."""
    severity: Literal["info", "warning", "alarm"]
    """info: to know; warning: to look at; alarm: to do something about."""
    message: _Text
    """What happened and what to do, for people."""
    value: _Number | _Text | None = None
    """A figure, or words, that go with it; None: none."""
    unit: _Label | None = None
    """Of the figure."""
    since: Stamp
    """When it began, UTC."""


_RecordT = TypeVar("_RecordT", Detection, Interval, Event)


def to_json(record: Detection | Interval | Event) -> bytes:
    """One line of JSON, UTF-8, without a newline."""
    return msgspec.json.encode(record)


def from_json(data: bytes, kind: type[_RecordT]) -> _RecordT:
    """The record in `data`, one of version 1 as one of today; InputError where it doesn't match its schema."""
    try:
        if EARLIER in data:
            return msgspec.convert(upgraded(msgspec.json.decode(data)), kind)
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise InputError(f"not a valid {kind.__name__.lower()} record", got=str(error)) from error
