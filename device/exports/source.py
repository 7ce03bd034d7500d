"""The common reader: records of a period, interval by interval, and a survey of them made beforehand.

A detection goes with its interval: the period holds the intervals that began in it and all that they saw. One interval is
held in memory at a time.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from device.config import Config, config_hash, public
from device.errors import InputError
from device.instrument import Instrument
from device.records import Detection, Event, Interval, from_json, iso_time
from device.storage.review import ReviewFolder
from device.storage.rot import is_whole
from device.storage.spools import Spools

__all__ = ["Group", "Period", "PeriodSummary", "Place", "RecordSource", "moment"]

_T = TypeVar("_T", Detection, Interval, Event)


@dataclass(frozen=True)
class Period:
    """From `since` on, before `until`; both as records write times, None: open."""

    since: str | None = None
    until: str | None = None

    def holds(self, time: str) -> bool:
        """Whether a record's time is in it."""
        # Records write times in UTC at one length: their order is that of the letters.
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)


def moment(text: str, option: str) -> str:
    """A date or a time, in UTC unless it says otherwise, as records write it; InputError where it is neither."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            "not a date or a time", where=option, expected="e.g. 2026-05-04 or 2026-05-04T12:30:00Z", got=repr(text)
        ) from error
    return iso_time(found if found.tzinfo else found.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Place:
    """Where the box stands; None and empty: not said."""

    name: str = ""
    operator: str = ""
    latitude_degrees: float | None = None
    longitude_degrees: float | None = None
    altitude_m: float | None = None

    @classmethod
    def of(cls, config: Config) -> Place:
        """[site], or the place of the schedule."""
        site, schedule = config.site, config.sampling.schedule
        latitude, longitude = site.latitude_degrees, site.longitude_degrees
        if (latitude is None) != (longitude is None):
            raise InputError("half a position", where="site", expected="latitude_degrees and longitude_degrees, or neither")
        if latitude is None:
            latitude, longitude = schedule.latitude_degrees, schedule.longitude_degrees
        return cls(site.name, site.operator, latitude, longitude, site.altitude_m)

    @property
    def known(self) -> bool:
        """Whether there is a position."""
        return self.latitude_degrees is not None and self.longitude_degrees is not None


@dataclass(frozen=True)
class Group:
    """One interval and its detections; `interval` is None where the store has only the detections."""

    interval: Interval | None
    detections: list[Detection]


@dataclass
class PeriodSummary:
    """What the period holds."""

    detections: int = 0
    intervals: int = 0
    interval_rows: int = 0
    """Labels counted, over all intervals."""
    events: int = 0
    unreadable: int = 0
    """Rows of the store that are no records; left out of the export."""
    orphans: int = 0
    """Detections without an interval."""
    first: str = ""
    last: str = ""
    labels: dict[str, None] = field(default_factory=dict)
    """Of detections and counts, in the order that they appear in."""
    classes: dict[str, None] = field(default_factory=dict)
    """Of probabilities."""
    features: dict[str, None] = field(default_factory=dict)
    units: set[str] = field(default_factory=set)
    """Of concentrations."""
    roles: dict[str, None] = field(default_factory=dict)
    """Of models."""
    models: dict[str, str] = field(default_factory=dict)
    """The classifier of each pipeline."""
    config_hashes: Counter[str] = field(default_factory=Counter[str])
    calibrations: set[str] = field(default_factory=set)

    def see_group(self, group: Group) -> None:
        """Count an interval."""
        for one in group.detections:
            self.labels.setdefault(one.label)
            self.classes.update(dict.fromkeys(one.probabilities))
            self.features.update(dict.fromkeys(one.features))
            self._see_origin(one)
            self.roles.update(dict.fromkeys(one.models))
            used = one.models.get("classifier")
            if used is not None and one.pipeline_id not in self.models:
                self.models[one.pipeline_id] = f"{used.name} {used.version} (sha256 {used.sha256})"
        self.detections += len(group.detections)
        interval = group.interval
        if interval is None:
            self.orphans += len(group.detections)
            return
        self.intervals += 1
        self.interval_rows += len(interval.counts)
        self.labels.update(dict.fromkeys(interval.counts))
        self.units.update(c.unit for c in interval.concentration.values())
        self.first = min(self.first or interval.started_at, interval.started_at)
        self.last = max(self.last, interval.ended_at)
        self._see_origin(interval)

    def _see_origin(self, record: Detection | Interval) -> None:
        self.config_hashes[record.config_hash] += 1
        if record.calibration_id:
            self.calibrations.add(record.calibration_id)


class RecordSource:
    """The records of a period in a snapshot, read as often as a format likes."""

    def __init__(
        self, database: sqlite3.Connection, period: Period, config: Config, instrument: Instrument, review: ReviewFolder
    ) -> None:
        self._database, self.period = database, period
        self.instrument, self.review = instrument, review
        self.place = Place.of(config)
        self.taxa = config.export.taxa
        self.configuration: dict[str, Any] = public(config)
        """The configuration, secrets as set or not."""
        self.config_hash = config_hash(config)
        meta = dict(database.execute("SELECT key, value FROM meta").fetchall())
        self.device_id, self.spool_id = str(meta["device_id"]), str(meta["spool_id"])
        known = Spools.of(meta.get("spools")) or Spools.begun(self.spool_id)
        self.spool_ids = tuple(spool.spool_id for spool in known.known)
        """The store's spools, the current one last; a store that was copied or damaged has several."""
        self._summed_from = int(meta.get("summed_from", 1)) if self._has_sums() else None
        self._unreadable = 0
        self.survey = self._survey()

    def groups(self) -> Iterator[Group]:
        """Every interval of the period with its detections, in the order of the store."""
        held: list[Detection] = []
        for kind, body in self._rows("kind IN ('detections', 'intervals')"):
            if kind == "detections":
                detection = self._read(body, Detection)
                if detection is None:
                    continue
                if held and held[0].interval_id != detection.interval_id:
                    yield from self._orphans(held)
                    held = []
                held.append(detection)
                continue
            interval = self._read(body, Interval)
            if interval is None:
                continue
            if held and held[0].interval_id != interval.id:
                yield from self._orphans(held)
                held = []
            if self.period.holds(interval.started_at):
                yield Group(interval, held)
            held = []
        yield from self._orphans(held)

    def events(self) -> Iterator[Event]:
        """Every event of the period, in the order of the store."""
        for _, body in self._rows("kind = 'events'"):
            event = self._read(body, Event)
            if event is not None and self.period.holds(event.since):
                yield event

    def detections(self) -> Iterator[Detection]:
        """Every detection of the period."""
        for group in self.groups():
            yield from group.detections

    def intervals(self) -> Iterator[Interval]:
        """Every interval of the period."""
        return (group.interval for group in self.groups() if group.interval is not None)

    def _orphans(self, held: list[Detection]) -> Iterator[Group]:
        found = [one for one in held if self.period.holds(one.captured_at)]
        if found:
            yield Group(None, found)

    def _has_sums(self) -> bool:
        return any(column[1] == "sum" for column in self._database.execute("PRAGMA table_info(records)"))

    def _rows(self, where: str) -> Iterator[tuple[str, bytes]]:
        """Rows that are whole; the others are counted."""
        column = "NULL" if self._summed_from is None else "sum"
        query = f"SELECT seq, kind, body, boot, {column} FROM records WHERE {where} ORDER BY seq"  # noqa: S608  constants
        for seq, kind, body, boot, known in self._database.execute(query):
            if self._summed_from is None or is_whole(seq, kind, body, boot, known, self._summed_from):
                yield kind, body
            else:
                self._unreadable += 1

    def _read(self, body: bytes, kind: type[_T]) -> _T | None:
        try:
            return from_json(body, kind)
        except InputError:
            self._unreadable += 1
            return None

    def _survey(self) -> PeriodSummary:
        survey = PeriodSummary()
        for group in self.groups():
            survey.see_group(group)
        survey.events = sum(1 for _ in self.events())
        survey.unreadable = self._unreadable
        return survey
