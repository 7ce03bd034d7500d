"""What the columns mean, in the database itself: of the views' as the records say it, of the tables' as it is said here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg import sql

from deploy.fleet.database import SCHEMA, Connection
from device.meaning import meaning, unit_of
from device.records import Concentration, Count, Detection, Event, Interval, ModelUse

__all__ = ["comment", "comments"]

_KEY = ("device_id", "spool_id", "seq")
_WHOLE = "The whole record as it came, of whichever version."

_VIEWS: Mapping[str, tuple[type, Mapping[str, tuple[type, str] | str]]] = {
    "detections": (Detection, {"at": (Detection, "captured_at"), "record": _WHOLE}),
    "intervals": (Interval, {"record": _WHOLE}),
    "events": (Event, {"at": (Event, "since"), "record": _WHOLE}),
    "counts": (Count, {"label": (Interval, "counts")}),
    "concentrations": (Concentration, {"label": (Interval, "concentration")}),
    "models": (ModelUse, {"at": (Detection, "captured_at"), "role": (Detection, "models")}),
}
"""Whose fields the columns are, and those that have another name; times and keys are those of their record."""

_TABLES: Mapping[str, Mapping[str, str]] = {
    "received": {},
    "records": {
        "kind": "detections, intervals or events.",
        "received_at": "When a collector committed it.",
        "unknown_schema": "Of a record whose schema the collector that wrote it did not know.",
        **dict.fromkeys(
            ("mode", "volume_ml", "volume_m3", "ended_at", "dead_time_s", "particles"), "Of an interval, as in the view."
        ),
        **dict.fromkeys(
            ("interval_id", "label", "score", "esd_um", "esd_uncertainty_um", "x_um", "y_um", "z_um"),
            "Of a detection, as in the view.",
        ),
        "qc": "Of a detection or an interval.",
    },
    "day_sizes": {
        "device_id": "The box.",
        "day": "UTC; a detection counts on the day on which it was captured.",
        "label": "Class.",
        "size_class": "Of the equivalent spherical diameter: four to an octave, class 0 begins at 1 um.",
        "n": "Detections.",
    },
    "spools": {
        "highest": "The highest seq that has come.",
        "last_at": "The newest time in a record.",
        "last_received_at": "When the last record came.",
    },
    "conflicts": {
        "digest": "Of the content without the stamps.",
        "kind": "detections, intervals or events.",
        "at": "captured_at, started_at or since of the record.",
        "synchronised": "The wall clock was: such a record is never replaced.",
        "times": "How often this content has come.",
        "received_at": "When it came first.",
        "last_at": "When it came last.",
        "record": _WHOLE,
    },
    "rejected": {
        "topic": "Where it was published.",
        "sha256": "Of the message.",
        "reason": "Why it is no record.",
        "payload": "The message; of a large one its beginning.",
        "times": "How often it has come.",
        "first_at": "When it came first.",
        "last_at": "When it came last.",
    },
    "rejections": {
        "not_kept": "Messages that the device's quota left no room for.",
        "not_kept_bytes": "Bytes of these.",
        "last_at": "When the last message came that was no record.",
        "last_reason": "Why it was none.",
    },
    "hours": {
        "device_id": "The box.",
        "hour": "Its beginning, UTC; an interval counts where it began.",
        "intervals": "That began in it; an hour without any was not looked at.",
        "looked": "Of these, how many had a frame that was searched.",
        "volume_ml": "Liquid that was looked at, in all, by intervals that didn't fail.",
        "volume_m3": "Air that was looked at, in all, by intervals that didn't fail.",
        "volume_uncertainty": "Sum of the intervals' standard deviations, as of one flow meter; in the unit of the volume.",
        "covered_s": "Length of its intervals, summed.",
        "dead_time_s": "In which nothing was sampled or nothing could be seen.",
        "frames_captured": "By the camera.",
        "frames_analysed": "Of these.",
        "frames_dropped": "That were not.",
        "good": "Intervals of qc 1.",
        "not_evaluated": "Intervals of qc 2, or without one.",
        "suspect": "Intervals of qc 3.",
        "failed": "Intervals of qc 4 or 9.",
    },
    "hour_counts": {
        "device_id": "The box.",
        "hour": "Its beginning, UTC.",
        "label": "Class; total: all but artefacts such as bubbles.",
        "n": "Particles that were counted by intervals that didn't fail.",
        "stands_for": "Particles that were there, as the intervals' concentrations say: divided by the volume, the concentration.",
        "squares": "Of each particle, the square of how many it stands for, summed: stands_for^2 / squares is the effective count.",
        "exposure": "Volume times how many a particle stands for, summed: of none that were seen, divided by the volume.",
    },
    "latest": {
        "device_id": "The box.",
        "topic": "status, info, health or stats.",
        "payload": "As it came.",
        "received_at": "When.",
    },
    "optics_days": {
        "device_id": "The box.",
        "figure": "As in stats.optics.",
        "day": "UTC, on which a watcher heard it.",
        "mean": "Departure from the baseline, the mean of what was said on the day.",
        "n": "How often it was said.",
    },
    "alarms": {
        "id": "Of the alarm.",
        "device_id": "The box.",
        "rule": "silent, offline, health, outbox or level.",
        "subject": "Which of several: a check's name, a label.",
        "severity": "warning or alarm.",
        "message": "What is wrong, for people.",
        "value": "A figure that goes with it.",
        "unit": "Of the figure.",
        "begun_at": "When its condition was first seen.",
        "raised_at": "When it had stood long enough.",
        "quiet_since": "Since when its condition is over, where it is.",
        "cleared_at": "When it had been over long enough.",
        "acknowledged_at": "When somebody said that they see to it.",
        "acknowledged_by": "Who.",
    },
    "silences": {
        "id": "Of the silence.",
        "device_id": "The box; NULL: all.",
        "rule": "The rule; NULL: all.",
        "until": "When it ends.",
        "by": "Who.",
        "reason": "Why.",
        "made_at": "When.",
    },
    "alarm_messages": {
        "alarm_id": "Of the alarm.",
        "transition": "raised or cleared.",
        "channel": "Who is told.",
        "made_at": "When it was queued.",
        "next_at": "When it is tried next.",
        "sent_at": "When it was taken.",
        "attempts": "Times that it was tried.",
        "last_error": "Why it was not taken.",
    },
    "migrations": {
        "number": "Of the step.",
        "name": "Its file.",
        "sha256": "Of its text.",
        "applied_at": "When it was applied.",
    },
}
"""Columns that no step says it of."""

_KNOWN = """SELECT c.relname, a.attname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped"""


def comment(connection: Connection) -> None:
    """Say it of every column that there is and that doesn't say it yet."""
    known = {(table, column): said for table, column, said in connection.execute(_KNOWN, (SCHEMA,)).fetchall()}
    for (table, column), text in comments(known):
        if known[table, column] != text:
            place = sql.SQL(".").join(map(sql.Identifier, (SCHEMA, table, column)))
            connection.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(place, sql.Literal(text)))


def comments(columns: Mapping[tuple[str, str], str | None]) -> Iterator[tuple[tuple[str, str], str]]:
    """What is said of these columns of tables and views, where anything is."""
    for table, column in columns:
        text = _of_table(table, column) or _of_view(table, column)
        if text:
            unit = unit_of(column)
            yield (table, column), f"{text} [{unit}]" if unit else text


def _of_table(table: str, column: str) -> str:
    own = _TABLES.get(table)
    if own is None:
        return ""
    return own.get(column) or (meaning(Detection, column) if column in _KEY else "")


def _of_view(view: str, column: str) -> str:
    if view not in _VIEWS:
        return ""
    owner, others = _VIEWS[view]
    there = others.get(column)
    if isinstance(there, str):
        return there
    for kind, field in filter(None, (there, (owner, column), (Interval, column))):
        try:
            return meaning(kind, field)
        except KeyError:
            continue
    return ""
