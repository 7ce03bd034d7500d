"""Records as tables: columns with type, unit and meaning; one row a detection, a label of an interval, an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from device.exports.source import PeriodSummary, RecordSource
from device.meaning import meaning, unit_of
from device.records import (
    SCENE_KINDS,
    Aggregation,
    ClockRecord,
    Concentration,
    Consistency,
    Count,
    Detection,
    DoseEstimate,
    Efficiency,
    Event,
    FrameCounts,
    Interval,
    ModelUse,
    SceneRecord,
)

__all__ = ["Column", "LabelCount", "Table", "label_counts", "tables"]

Kind = Literal["text", "time", "integer", "real", "flag", "map"]
"""time: as records write it; flag: true or false; map: numbers by name."""


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    kind: Kind
    get: Callable[[Any], Any]
    """Its value in a row; None: missing."""
    text: str
    keys: tuple[str, ...] = ()
    """For a map: every name that occurs."""

    @property
    def unit(self) -> str:
        """Empty: none."""
        return unit_of(self.name)

    def flat(self) -> list[Column]:
        """Itself; a map as one column a key, named `name_key`."""
        if self.kind != "map":
            return [self]
        return [Column(f"{self.name}_{key}", "real", self._at(key), f"{key}: {self.text}") for key in self.keys]

    def _at(self, key: str) -> Callable[[Any], Any]:
        return lambda row: self.get(row).get(key)


@dataclass(frozen=True)
class Table:
    """One kind of record."""

    name: str
    columns: list[Column]
    length: int
    rows: Callable[[], Iterable[Any]]

    def flat(self) -> list[Column]:
        """The columns without maps."""
        return [flat for column in self.columns for flat in column.flat()]


@dataclass(frozen=True)
class LabelCount:
    """What an interval says of one label."""

    interval: Interval
    label: str
    """Class that is counted; total: all but artefacts."""


def label_counts(intervals: Iterable[Interval]) -> Iterator[LabelCount]:
    """Every label of every interval."""
    for interval in intervals:
        for label in interval.counts:
            yield LabelCount(interval, label)


def tables(source: RecordSource) -> list[Table]:
    """Detections, intervals and events of a source."""
    survey = source.survey
    return [
        Table("detections", _detection_columns(survey), survey.detections, source.detections),
        Table("intervals", _interval_columns(), survey.interval_rows, lambda: label_counts(source.intervals())),
        Table("events", _event_columns(), survey.events, source.events),
    ]


def _attribute(*path: str) -> Callable[[Any], Any]:
    def get(row: Any) -> Any:
        for name in path:
            if row is None:
                return None
            row = getattr(row, name)
        return row

    return get


def _plain(kind: Kind, owner: type, field: str, *before: str, name: str = "") -> Column:
    """A field of a class of values, found from the row by way of `before`; it means there what it means in the record."""
    return Column(name or field, kind, _attribute(*before, field), meaning(owner, field))


def _spaced(owner: type, field: str, *before: str) -> Column:
    """A field of several words, by spaces."""
    get = _attribute(*before, field)
    return Column(field, "text", lambda row: " ".join(get(row)), f"{meaning(owner, field)} By spaces.")


def _header(owner: type, *before: str) -> list[Column]:
    return [
        _plain("text", owner, "device_id", *before),
        _plain("text", owner, "spool_id", *before),
        _plain("integer", owner, "seq", *before),
        _spaced(owner, "simulated", *before),
    ]


def _quality(owner: type, *before: str) -> list[Column]:
    clock = (*before, "clock")
    return [
        _plain("text", ClockRecord, "source", *clock, name="clock_source"),
        _plain("flag", ClockRecord, "synchronised", *clock, name="clock_synchronised"),
        _plain("real", ClockRecord, "uncertainty_s", *clock, name="clock_uncertainty_s"),
        _plain("text", owner, "calibration_id", *before),
        _plain("text", owner, "config_hash", *before),
        _plain("text", owner, "pipeline_id", *before),
        _plain("integer", owner, "qc", *before),
    ]


def _models(survey: PeriodSummary) -> list[Column]:
    """The model of each role, by content."""

    def digest(role: str) -> Callable[[Detection], str | None]:
        return lambda row: row.models[role].sha256 if role in row.models else None

    roles = dict.fromkeys(("reconstruction", "classifier", *survey.roles))
    return [Column(f"{role}_sha256", "text", digest(role), f"{role}: {meaning(ModelUse, 'sha256')}") for role in roles]


def _detection_columns(survey: PeriodSummary) -> list[Column]:
    box = ("left", "top", "width", "height")
    fits = ("consistency",)
    return [
        *_header(Detection),
        _plain("text", Detection, "id"),
        _plain("text", Detection, "interval_id"),
        _plain("time", Detection, "captured_at"),
        _plain("integer", Detection, "frame"),
        _plain("real", Detection, "x_um"),
        _plain("real", Detection, "y_um"),
        _plain("real", Detection, "z_um"),
        _plain("real", Detection, "z_uncertainty_um"),
        *(
            Column(f"bbox_{side}_px", "integer", lambda row, k=k: row.bbox_px[k], f"{side}: {meaning(Detection, 'bbox_px')}")
            for k, side in enumerate(box)
        ),
        _plain("real", Detection, "esd_um"),
        _plain("real", Detection, "esd_uncertainty_um"),
        _plain("text", Detection, "label"),
        _plain("real", Detection, "score"),
        _plain("text", Detection, "unnamed"),
        _spaced(Detection, "prediction_set"),
        Column("probability", "map", _attribute("probabilities"), meaning(Detection, "probabilities"), tuple(survey.classes)),
        Column("feature", "map", _attribute("features"), meaning(Detection, "features"), tuple(survey.features)),
        _plain("real", Consistency, "chi2", *fits, name="consistency_chi2"),
        _plain("real", Consistency, "p", *fits, name="consistency_p"),
        _plain("integer", Consistency, "flag", *fits, name="consistency_flag"),
        _plain("text", Consistency, "reason", *fits, name="consistency_reason"),
        _plain("real", Detection, "confidence"),
        *_models(survey),
        *_quality(Detection),
    ]


def _by_label(kind: Kind, table: str, owner: type, field: str, name: str) -> Column:
    """What an interval says of a label in one of its tables."""

    def get(row: LabelCount) -> Any:
        found = getattr(row.interval, table).get(row.label)
        return None if found is None else getattr(found, field)

    return Column(name, kind, get, meaning(owner, field))


def _assay() -> list[Column]:
    """Of an assay's looks; empty for other ways of sampling."""
    clumps, dose = ("interval", "aggregation"), ("interval", "dose")
    return [
        _plain("real", Aggregation, "elapsed_s", *clumps, name="assay_elapsed_s"),
        _plain("real", Aggregation, "mean_size", *clumps, name="mean_cluster_size"),
        _plain("real", Aggregation, "mean_size_uncertainty", *clumps, name="mean_cluster_size_uncertainty"),
        _plain("real", Aggregation, "bonds_per_bead", *clumps),
        _plain("real", Aggregation, "bonds_per_bead_uncertainty", *clumps),
        _plain("real", DoseEstimate, "value", *dose, name="dose"),
        _plain("real", DoseEstimate, "low", *dose, name="dose_low"),
        _plain("real", DoseEstimate, "high", *dose, name="dose_high"),
        _plain("text", DoseEstimate, "unit", *dose, name="dose_unit"),
        _plain("text", DoseEstimate, "kind", *dose, name="dose_kind"),
    ]


def _scene() -> list[Column]:
    """What the frames held, and what speaks against the counts."""
    text = meaning(SceneRecord, "tiles")

    def share(kind: str) -> Callable[[LabelCount], float | None]:
        return lambda row: None if row.interval.scene is None else row.interval.scene.tiles.get(kind)

    return [
        *(Column(f"scene_{kind.replace(' ', '_')}", "real", share(kind), f"{kind}: {text}") for kind in SCENE_KINDS),
        _plain("real", SceneRecord, "explained", "interval", "scene", name="scene_explained"),
        Column(
            "reasons",
            "text",
            lambda row: "; ".join(row.interval.reasons) or None,
            f"{meaning(Interval, 'reasons')} By semicolons.",
        ),
    ]


def _interval_columns() -> list[Column]:
    frames = ("interval", "frames")
    return [
        *_header(Interval, "interval"),
        _plain("text", Interval, "id", "interval", name="interval_id"),
        _plain("time", Interval, "started_at", "interval"),
        _plain("time", Interval, "ended_at", "interval"),
        _plain("text", Interval, "mode", "interval"),
        _plain("real", Interval, "volume_m3", "interval"),
        _plain("real", Interval, "volume_ml", "interval"),
        _plain("real", Interval, "volume_uncertainty", "interval"),
        _plain("real", Interval, "dead_time_s", "interval"),
        *(
            _plain("integer", FrameCounts, name, *frames, name=f"frames_{name}")
            for name in ("captured", "analysed", "dropped", "unchecked")
        ),
        _plain("text", LabelCount, "label"),
        _by_label("integer", "counts", Count, "n", "count"),
        _by_label("real", "counts", Count, "low", "count_low"),
        _by_label("real", "counts", Count, "high", "count_high"),
        _by_label("real", "concentration", Concentration, "value", "concentration"),
        _by_label("real", "concentration", Concentration, "low", "concentration_low"),
        _by_label("real", "concentration", Concentration, "high", "concentration_high"),
        _by_label("text", "concentration", Concentration, "unit", "concentration_unit"),
        _by_label("real", "detection_efficiency", Efficiency, "value", "detection_efficiency"),
        _by_label("real", "detection_efficiency", Efficiency, "uncertainty", "detection_efficiency_uncertainty"),
        *_assay(),
        *_scene(),
        *_quality(Interval, "interval"),
    ]


def _event_columns() -> list[Column]:
    def number(row: Event) -> float | None:
        return row.value if isinstance(row.value, (int, float)) else None

    def words(row: Event) -> str | None:
        return row.value if isinstance(row.value, str) else None

    return [
        *_header(Event),
        _plain("text", Event, "id"),
        _plain("text", Event, "code"),
        _plain("text", Event, "severity"),
        _plain("text", Event, "message"),
        Column("value", "real", number, meaning(Event, "value")),
        Column("value_text", "text", words, f"In words: {meaning(Event, 'value')}"),
        _plain("text", Event, "unit"),
        _plain("time", Event, "since"),
    ]
