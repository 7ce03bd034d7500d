"""Records as tables: columns with type, unit and meaning; one row a detection, a label of an interval, an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from device.exports.source import Source, Survey
from device.records import Event, Interval

__all__ = ["QARTOD_MEANINGS", "Column", "LabelCount", "Table", "label_counts", "tables", "unit_of"]

Kind = Literal["text", "time", "integer", "real", "flag", "map"]
"""time: as records write it; flag: true or false; map: numbers by name."""

QARTOD_MEANINGS = {1: "pass", 2: "not_evaluated", 3: "suspect", 4: "fail", 9: "missing"}

_SUFFIXES = {"_um3": "um^3", "_um2": "um^2", "_um": "um", "_rad": "rad", "_px": "px", "_s": "s", "_m3": "m^3", "_ml": "mL"}


def unit_of(name: str) -> str:
    """The unit that a name ends in; empty: none."""
    return next((unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix)), "")


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
        return [Column(f"{self.name}_{key}", "real", self._at(key), f"{self.text}: {key}") for key in self.keys]

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


def label_counts(intervals: Iterable[Interval]) -> Iterator[LabelCount]:
    """Every label of every interval."""
    for interval in intervals:
        for label in interval.counts:
            yield LabelCount(interval, label)


def tables(source: Source) -> list[Table]:
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


def _plain(kind: Kind, name: str, text: str, *path: str) -> Column:
    return Column(name, kind, _attribute(*(path or (name,))), text)


def _header(*inside: str) -> list[Column]:
    simulated = _attribute(*inside, "simulated")
    return [
        _plain("text", "device_id", "The box", *inside, "device_id"),
        _plain("text", "spool_id", "Its store; with device and seq it names a record for ever", *inside, "spool_id"),
        _plain("integer", "seq", "Number of the record in the store", *inside, "seq"),
        Column(
            "simulated",
            "text",
            lambda row: " ".join(simulated(row)),
            "Simulated parts of the instrument by spaces; empty: none",
        ),
    ]


def _quality(*inside: str) -> list[Column]:
    return [
        _plain("text", "clock_source", "What set the clock", *inside, "clock", "source"),
        _plain("flag", "clock_synchronised", "Whether the clock was set by it", *inside, "clock", "synchronised"),
        _plain("real", "clock_uncertainty_s", "Standard uncertainty of the times", *inside, "clock", "uncertainty_s"),
        _plain("text", "calibration_id", "Calibration record in use", *inside, "calibration_id"),
        _plain("text", "config_hash", "Configuration in use", *inside, "config_hash"),
        _plain("text", "pipeline_id", "Analysis in use: models and settings", *inside, "pipeline_id"),
        _plain("integer", "qc", "QARTOD flag: 1 pass, 2 not evaluated, 3 suspect, 4 fail, 9 missing", *inside, "qc"),
    ]


def _detection_columns(survey: Survey) -> list[Column]:
    box = ("left", "top", "width", "height")
    return [
        *_header(),
        _plain("text", "id", "The detection"),
        _plain("text", "interval_id", "The interval that it was seen in"),
        _plain("time", "captured_at", "When its frame was taken, UTC"),
        _plain("integer", "frame", "Number of its frame"),
        _plain("real", "x_um", "Along columns from the centre of pixel (0, 0), at the object plane"),
        _plain("real", "y_um", "Along rows from the centre of pixel (0, 0), at the object plane"),
        _plain("real", "z_um", "From the sensor to the particle"),
        _plain("real", "z_uncertainty_um", "Standard uncertainty of z_um"),
        *(
            Column(f"bbox_{side}_px", "integer", lambda row, k=k: row.bbox_px[k], f"Bounding box in the full frame: {side}")
            for k, side in enumerate(box)
        ),
        _plain("real", "esd_um", "Equivalent spherical diameter"),
        _plain("real", "esd_uncertainty_um", "Standard uncertainty of esd_um"),
        _plain("text", "label", "The most probable class, or unknown"),
        _plain("real", "score", "Calibrated probability of the label; none where no classifier spoke"),
        _plain("text", "unnamed", "Why no classifier spoke"),
        Column("prediction_set", "text", lambda row: " ".join(row.prediction_set), "Conformal set at 90 %, labels by spaces"),
        Column("probability", "map", _attribute("probabilities"), "Probability of a class", tuple(survey.classes)),
        Column("feature", "map", _attribute("features"), "Feature of shape or phase", tuple(survey.features)),
        _plain("real", "consistency_chi2", "Misfit of the forward-propagated reconstruction", "consistency", "chi2"),
        _plain("real", "consistency_p", "Its p-value", "consistency", "p"),
        _plain("integer", "consistency_flag", "Its QARTOD flag", "consistency", "flag"),
        _plain("text", "consistency_reason", "Why it was not evaluated", "consistency", "reason"),
        _plain("text", "reconstruction_sha256", "Reconstruction model", "model", "reconstruction", "sha256"),
        _plain("text", "classifier_sha256", "Classifier", "model", "classifier", "sha256"),
        *_quality(),
    ]


def _by_label(table: str, field: str) -> Callable[[LabelCount], Any]:
    def get(row: LabelCount) -> Any:
        found = getattr(row.interval, table).get(row.label)
        return None if found is None else getattr(found, field)

    return get


def _assay() -> list[Column]:
    """Of an assay's looks; empty for other ways of sampling."""
    clumps, dose = ("interval", "aggregation"), ("interval", "dose")
    return [
        _plain("real", "assay_elapsed_s", "Since the assay's first look", *clumps, "elapsed_s"),
        _plain("real", "mean_cluster_size", "Beads over clusters", *clumps, "mean_size"),
        _plain("real", "mean_cluster_size_uncertainty", "Standard uncertainty", *clumps, "mean_size_uncertainty"),
        _plain("real", "bonds_per_bead", "The assay's response so far", *clumps, "bonds_per_bead"),
        _plain("real", "bonds_per_bead_uncertainty", "Standard uncertainty", *clumps, "bonds_per_bead_uncertainty"),
        _plain(
            "real", "dose", "Analyte that the beads bind, in dose_unit; empty where only a limit can be told", *dose, "value"
        ),
        _plain("real", "dose_low", "Lower end of its 95 % interval", *dose, "low"),
        _plain("real", "dose_high", "Upper end; empty where there is none", *dose, "high"),
        _plain("text", "dose_unit", "uL^-1", *dose, "unit"),
        _plain("text", "dose_kind", "measured, below the limit of detection, or above the range", *dose, "kind"),
    ]


def _interval_columns() -> list[Column]:
    volume = "that was looked at, {}"
    return [
        *_header("interval"),
        _plain("text", "interval_id", "The interval", "interval", "id"),
        _plain("time", "started_at", "Its beginning, UTC", "interval", "started_at"),
        _plain("time", "ended_at", "Its end, UTC", "interval", "ended_at"),
        _plain("text", "mode", "Way of sampling", "interval", "mode"),
        _plain("real", "volume_m3", "Air " + volume.format("cubic metres"), "interval", "volume_m3"),
        _plain("real", "volume_ml", "Liquid " + volume.format("millilitres"), "interval", "volume_ml"),
        _plain(
            "real", "volume_uncertainty", "Standard uncertainty of the volume, in its unit", "interval", "volume_uncertainty"
        ),
        _plain("real", "dead_time_s", "Time that nothing could be seen in", "interval", "dead_time_s"),
        _plain("integer", "frames_captured", "Frames taken", "interval", "frames", "captured"),
        _plain("integer", "frames_analysed", "Frames searched", "interval", "frames", "analysed"),
        _plain("integer", "frames_dropped", "Frames lost", "interval", "frames", "dropped"),
        _plain("integer", "frames_unchecked", "Frames with more particles than are checked", "interval", "frames", "unchecked"),
        _plain("text", "label", "Class counted; total: all but artefacts"),
        Column(
            "count", "integer", _by_label("counts", "n"), "Particles seen; 0 where frames were analysed: looked and saw none"
        ),
        Column("count_low", "real", _by_label("counts", "low"), "Lower end of the 95 % interval of the mean count"),
        Column("count_high", "real", _by_label("counts", "high"), "Upper end"),
        Column("concentration", "real", _by_label("concentration", "value"), "Particles per volume, in concentration_unit"),
        Column("concentration_low", "real", _by_label("concentration", "low"), "Lower end of its 95 % interval"),
        Column("concentration_high", "real", _by_label("concentration", "high"), "Upper end"),
        Column("concentration_unit", "text", _by_label("concentration", "unit"), "m^-3, L^-1 or mL^-1"),
        Column(
            "detection_efficiency",
            "real",
            _by_label("detection_efficiency", "value"),
            "Share that is counted, as corrected for",
        ),
        Column(
            "detection_efficiency_uncertainty", "real", _by_label("detection_efficiency", "uncertainty"), "Standard uncertainty"
        ),
        *_assay(),
        *_quality("interval"),
    ]


def _event_columns() -> list[Column]:
    def number(row: Event) -> float | None:
        return row.value if isinstance(row.value, (int, float)) else None

    def words(row: Event) -> str | None:
        return row.value if isinstance(row.value, str) else None

    return [
        *_header(),
        _plain("text", "id", "The event"),
        _plain("text", "code", "What happened, for programs"),
        _plain("text", "severity", "info, warning or alarm"),
        _plain("text", "message", "What happened, for people"),
        Column("value", "real", number, "A figure with it, in unit"),
        Column("value_text", "text", words, "A word with it"),
        _plain("text", "unit", "Unit of value"),
        _plain("time", "since", "When, UTC"),
    ]
