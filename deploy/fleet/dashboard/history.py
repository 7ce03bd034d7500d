"""The history of one box, as `storage.history` tells it on the box, from the fleet's hours and records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from deploy.fleet.dashboard.pool import ConnectionPool
from deploy.fleet.database import Connection
from device.errors import InputError
from device.records import Concentration, iso_time
from device.storage.history.entries import edge_um
from device.storage.history.estimates import ARTEFACTS, concentrations
from device.storage.history.values import (
    HistoryGap,
    HistorySeries,
    HistoryStatus,
    LoggedEvent,
    LoggedInterval,
    LoggedParticle,
    ParticlePage,
    SeriesPoint,
    SizeDistribution,
    Sort,
    VolumeUnit,
)

__all__ = ["BoxHistory"]


_HOUR_S = 3600
_STEPS_H = (1, 3, 6, 12, 24, 48, 168, 336, 672, 2184, 8736)
"""Hours of a point's span."""
_MOST_POINTS = 2000
_MOST_ROWS = 10_000
_PER = {"m^3": "m^-3", "mL": "mL^-1"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SPAN = "SELECT min(hour), max(hour) FROM hours WHERE device_id = %s AND intervals > 0"
_FEW = """SELECT count(*) FROM (SELECT 1 FROM records WHERE device_id = %s AND kind = 'intervals' AND is_known(unknown_schema)
    AND at >= %s AND at < %s LIMIT %s) few"""
_INTERVALS = """SELECT at, spool_id, seq, record FROM records WHERE device_id = %s AND kind = 'intervals'
    AND is_known(unknown_schema) AND at >= %s AND at < %s ORDER BY at, spool_id, seq LIMIT %s OFFSET %s"""
_NEWEST_UNIT = """SELECT volume_m3 > 0 FROM hours WHERE device_id = %s AND hour < %s AND volume_m3 + volume_ml > 0
    ORDER BY hour DESC LIMIT 1"""
_HOURS = """SELECT floor(extract(epoch FROM hour) / %(step)s)::bigint AS span, sum(intervals)::bigint, sum(looked)::bigint,
    sum(failed)::bigint, sum(covered_s), sum(dead_time_s), sum(volume_m3), sum(volume_ml), sum(volume_uncertainty),
    sum(frames_analysed), sum(frames_dropped), sum(suspect)::bigint, sum(not_evaluated)::bigint
    FROM hours WHERE device_id = %(device)s AND hour >= %(since)s AND hour < %(until)s GROUP BY 1 HAVING sum(intervals) > 0 ORDER BY 1"""
_LABELS = """SELECT floor(extract(epoch FROM c.hour) / %(step)s)::bigint, c.label, sum(c.n), sum(c.stands_for), sum(c.squares),
    sum(c.exposure) FROM hour_counts c JOIN hours h USING (device_id, hour)
    WHERE c.device_id = %(device)s AND c.hour >= %(since)s AND c.hour < %(until)s AND h.intervals > h.failed
    AND (%(labels)s::text[] IS NULL OR c.label = ANY(%(labels)s)) GROUP BY 1, 2"""
_GAPS = """SELECT ended, begins FROM (
    SELECT max(ended_at) OVER (ORDER BY at) AS ended, lead(at) OVER (ORDER BY at) AS begins
    FROM records WHERE device_id = %s AND kind = 'intervals' AND is_known(unknown_schema) AND at >= %s AND at < %s) steps
    WHERE begins - ended > make_interval(secs => %s) ORDER BY ended LIMIT 1000"""
_HOUR_GAPS = """SELECT hour + interval '1 hour', next FROM (
    SELECT hour, lead(hour) OVER (ORDER BY hour) AS next FROM hours
    WHERE device_id = %s AND intervals > 0 AND hour >= %s AND hour < %s) steps
    WHERE next - hour - interval '1 hour' > make_interval(secs => %s) ORDER BY hour LIMIT 1000"""
_BY_HOURS_BEYOND = timedelta(days=8)
_SIZES = """SELECT size_class, sum(n)::bigint FROM day_sizes WHERE device_id = %(device)s AND day >= %(first)s AND day <= %(last)s
    AND CASE WHEN %(label)s::text IS NULL THEN label <> ALL(%(artefacts)s) ELSE label = %(label)s END GROUP BY 1 HAVING sum(n) > 0"""
_EVENTS = """SELECT record FROM records WHERE device_id = %s AND kind = 'events' AND is_known(unknown_schema)
    AND at >= %s AND at < %s ORDER BY at DESC LIMIT %s"""
_PARTICLES = """SELECT at, spool_id, seq, label, score, esd_um, esd_uncertainty_um, z_um FROM records
    WHERE device_id = %(device)s AND kind = 'detections' AND is_known(unknown_schema) AND at >= %(since)s AND at < %(until)s
    AND {label} AND (%(score)s <= 0 OR score >= %(score)s) ORDER BY {order} LIMIT %(limit)s OFFSET %(after)s"""
# By score over a long time: the first of each class by its index, and the first of these.
_BY_CLASS = """SELECT p.* FROM (SELECT DISTINCT label FROM day_sizes WHERE device_id = %(device)s
    AND day >= %(since)s::timestamptz::date AND day <= %(until)s::timestamptz::date) classes
    CROSS JOIN LATERAL (SELECT at, spool_id, seq, label, score, esd_um, esd_uncertainty_um, z_um FROM records r
        WHERE device_id = %(device)s AND kind = 'detections' AND is_known(unknown_schema) AND at >= %(since)s AND at < %(until)s
        AND r.label = classes.label AND (%(score)s <= 0 OR score >= %(score)s) ORDER BY {order} LIMIT %(limit)s + %(after)s) p
    ORDER BY {order} LIMIT %(limit)s OFFSET %(after)s"""
_ORDERS: dict[Sort, str] = {
    "time": "at, spool_id, seq",
    "-time": "at DESC, spool_id DESC, seq DESC",
    "score": "score NULLS FIRST, at, spool_id, seq",
    "-score": "score DESC NULLS LAST, at, spool_id, seq",
}
"""Without a score: least sure."""


class BoxHistory:
    """As `storage.history.HistoryReader` answers; TransientError where the database can't be read at the moment."""

    def __init__(self, pool: ConnectionPool, device_id: str) -> None:
        self._pool, self._device = pool, device_id

    def status(self) -> HistoryStatus:
        """How far it reaches."""
        first, last = self._rows(_SPAN, (self._device,))[0]
        count = self._rows("SELECT coalesce(sum(intervals), 0)::bigint FROM hours WHERE device_id = %s", (self._device,))[0][0]
        return HistoryStatus(
            there=True, first=None if first is None else _stamp(first), last=None if last is None else _stamp(last), intervals=count,
            bytes=0, behind=None, trouble="", rebuilt_at=None, rebuilt_why="", set_aside=(),
        )  # fmt: skip

    def series(
        self, since: str, until: str, points: int, labels: Sequence[str] | None = None, unit: VolumeUnit | None = None
    ) -> HistorySeries:
        """At most so many points: intervals where they are few enough, else sums of hours."""
        points = min(points, _MOST_POINTS)
        wanted = None if labels is None else list(labels)
        chosen: VolumeUnit | None = unit or self._newest_unit(until)
        few = self._rows(_FEW, (self._device, since, until, points + 1))[0][0]
        first, last = self._rows(_SPAN, (self._device,))[0]
        if first is None:
            return HistorySeries(since=since, until=until, step_s=0.0, unit=chosen)
        covered = few and few <= points and self._whole(since, until, few)
        if covered:
            found = [
                _interval_point(row[3], chosen, wanted)
                for row in self._rows(_INTERVALS, (self._device, since, until, points, 0))
            ]
            return _series(since, until, 0.0, chosen, found)
        since_at, until_at = max(_time(since), first), min(_time(until), last + timedelta(hours=1))
        if since_at >= until_at:
            return HistorySeries(since=since, until=until, step_s=0.0, unit=chosen)
        step_s = _step_s(since_at, until_at, points)
        return _series(since, until, float(step_s), chosen, self._summed(since_at, until_at, step_s, chosen, wanted))

    def sizes(self, since: str, until: str, label: str | None = None) -> SizeDistribution:
        """Of the detections of the days (UTC) from `since` up to `until`; of a label, or of all but artefacts such as bubbles."""
        days = [(at - _EPOCH).days for at in (_time(since), max(_time(since), _time(until) - timedelta(microseconds=1)))]
        first, last = (_EPOCH + timedelta(days=day) for day in days)
        asked = {
            "device": self._device,
            "first": first.date(),
            "last": last.date(),
            "label": label,
            "artefacts": list(ARTEFACTS),
        }
        found = {int(number): int(n) for number, n in self._rows(_SIZES, asked)}
        classes = range(min(found), max(found) + 1) if found else range(0)
        return SizeDistribution(
            since=_stamp(first), until=_stamp(last + timedelta(days=1)), n=tuple(found.get(k, 0) for k in classes),
            edges_um=tuple(round(edge_um(k), 4) for k in (*classes, classes.stop)) if found else (),
        )  # fmt: skip

    def gaps(self, since: str, until: str, longer_than_s: float) -> Sequence[HistoryGap]:
        """Times of which there is no interval; over more than some days by whole hours."""
        wide = _time(until) - _time(since) > _BY_HOURS_BEYOND
        rows = self._rows(_HOUR_GAPS if wide else _GAPS, (self._device, since, until, longer_than_s))
        return [HistoryGap(start=_stamp(a), end=_stamp(b), seconds=(b - a).total_seconds()) for a, b in rows]

    def events(self, since: str, until: str, limit: int) -> Sequence[LoggedEvent]:
        """The last, the newest first."""
        rows = self._rows(_EVENTS, (self._device, since, until, min(limit, _MOST_ROWS)))
        return [one for (record,) in rows if (one := _event(record)) is not None]

    def intervals(self, since: str, until: str, limit: int, after: int | None = None) -> Sequence[LoggedInterval]:
        """In order of time, after that many."""
        passed, unit = after or 0, self._newest_unit(until)
        rows = self._rows(_INTERVALS, (self._device, since, until, min(limit, _MOST_ROWS), passed))
        return [
            LoggedInterval(number=passed + k, spool_id=spool_id, seq=seq, point=_interval_point(record, unit, None))
            for k, (_, spool_id, seq, record) in enumerate(rows, start=1)
        ]

    def particles(
        self, label: str | None, since: str, until: str, min_score: float, sort: Sort, limit: int, after: str | None
    ) -> ParticlePage:
        """Some of those that are still kept, and how to go on."""
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):
            raise InputError("not a place to go on from", where="after", expected="what the page before said", got=after[:64])
        passed = int(after or 0)
        limit = min(limit, _MOST_ROWS)
        asked = {
            "device": self._device, "since": since, "until": until, "label": label, "score": min_score, "limit": limit + 1,
            "after": passed,
        }  # fmt: skip
        by_class = label is None and sort.endswith("score") and _time(until) - _time(since) > _BY_HOURS_BEYOND
        query = _BY_CLASS if by_class else _PARTICLES
        rows = self._rows(query.format(order=_ORDERS[sort], label="true" if label is None else "label = %(label)s"), asked)
        held = self._rows("SELECT min(at) FROM records WHERE device_id = %s AND kind = 'detections'", (self._device,))[0][0]
        return ParticlePage(
            particles=tuple(_particle(*row) for row in rows[:limit]), after=str(passed + limit) if len(rows) > limit else None,
            held_since=None if held is None else _stamp(held),
        )  # fmt: skip

    # -- inner ------------------------------------------------------------------------------------------------------------

    def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        def question(connection: Connection) -> list[tuple[Any, ...]]:
            return connection.execute(query.encode(), values).fetchall()

        return self._pool.ask(question)

    def _newest_unit(self, until: str) -> VolumeUnit | None:
        rows = self._rows(_NEWEST_UNIT, (self._device, until))
        return None if not rows else "m^3" if rows[0][0] else "mL"

    def _whole(self, since: str, until: str, few: int) -> bool:
        """Whether none of the intervals that the hours counted was deleted meanwhile."""
        query = "SELECT coalesce(sum(intervals), 0)::bigint FROM hours WHERE device_id = %s AND hour >= %s AND hour < %s"
        return self._rows(query, (self._device, since, until))[0][0] <= few

    def _summed(
        self, since: datetime, until: datetime, step_s: int, unit: VolumeUnit | None, labels: list[str] | None
    ) -> list[SeriesPoint]:
        asked = {"device": self._device, "since": _floor(since, step_s), "until": until, "step": step_s, "labels": labels}
        hours = self._rows(_HOURS, asked)
        volumes = {row[0]: ((row[6] if unit == "m^3" else row[7]) or 0.0, row[8] or 0.0) for row in hours}
        counts, told = _estimated(self._rows(_LABELS, asked), volumes, unit)
        return [_hours_point(row, step_s, volumes[row[0]][0], counts[row[0]], told[row[0]]) for row in hours]


def _estimated(
    rows: list[tuple[Any, ...]], volumes: dict[int, tuple[float, float]], unit: VolumeUnit | None
) -> tuple[dict[int, dict[str, int]], dict[int, dict[str, Concentration]]]:
    """Counts and concentrations by span and label, of (span, label, n, stands for, squares, exposure)."""
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    told: dict[int, dict[str, Concentration]] = defaultdict(dict)
    rows = [row for row in rows if row[0] in volumes]
    if not rows:
        return counts, told
    figures = np.array([(*volumes[row[0]], *map(float, row[3:])) for row in rows], dtype=np.float64)
    volume, spread, particles, squares, exposure = figures.T
    estimates = np.array(concentrations(volume, particles, squares, exposure, spread)).T.tolist()
    for (span, label, n, *_), (value, low, high), looked in zip(rows, estimates, volume, strict=True):
        counts[span][label] = round(n)
        if looked > 0 and unit is not None:
            told[span][label] = Concentration(value, low, high, _PER[unit])  # type: ignore[arg-type]
    return counts, told


def _hours_point(
    row: tuple[Any, ...], step_s: int, volume: float, counts: dict[str, int], told: dict[str, Concentration]
) -> SeriesPoint:
    span, intervals, looked, failed, covered_s, dead_time_s, _, _, _, analysed, dropped, suspect, not_evaluated = row
    start = _EPOCH + timedelta(seconds=span * step_s)
    qc = 4 if failed else 3 if suspect else 2 if not_evaluated else 1
    return SeriesPoint(
        start=_stamp(start), end=_stamp(start + timedelta(seconds=step_s)), intervals=intervals, looked=looked, failed=failed,
        covered_s=round(covered_s, 6), dead_time_s=round(dead_time_s, 6), volume=volume or None, frames_analysed=round(analysed),
        frames_dropped=round(dropped), qc=qc, counts=counts, concentration=told,
    )  # fmt: skip


def _interval_point(record: dict[str, Any], unit: VolumeUnit | None, labels: list[str] | None) -> SeriesPoint:
    """As its record has it; what isn't as it should be is left out."""
    qc = record.get("qc")
    qc = qc if qc in (1, 2, 3, 4, 9) else 2
    frames, fit = _object(record.get("frames")), qc != 4
    volume = _number(record.get("volume_m3" if unit == "m^3" else "volume_ml"))
    start, end = str(record.get("started_at", "")), str(record.get("ended_at", ""))
    counts = {
        label: int(one["n"])
        for label, one in _object(record.get("counts")).items()
        if (labels is None or label in labels) and isinstance(one, dict) and _number(one.get("n")) is not None and fit
    }
    told: dict[str, Concentration] = {}
    for label, one in _object(record.get("concentration")).items():
        if label in counts and volume:
            try:
                told[label] = msgspec.convert(one, Concentration)
            except msgspec.ValidationError:
                continue
    return SeriesPoint(
        start=start, end=end, intervals=1, looked=int((_number(frames.get("analysed")) or 0) > 0), failed=int(not fit),
        covered_s=max((_time(end) - _time(start)).total_seconds(), 0.0), dead_time_s=_number(record.get("dead_time_s")) or 0.0,
        volume=volume if fit else None, frames_analysed=int(_number(frames.get("analysed")) or 0),
        frames_dropped=int(_number(frames.get("dropped")) or 0), qc=qc, counts=counts, concentration=told,
    )  # fmt: skip


def _series(since: str, until: str, step_s: float, unit: VolumeUnit | None, points: list[SeriesPoint]) -> HistorySeries:
    seen = dict.fromkeys(label for point in points for label in point.counts)
    labels = tuple(sorted(seen, key=lambda label: (label != "total", label)))
    return HistorySeries(since=since, until=until, step_s=step_s, unit=unit, labels=labels, points=tuple(points))


def _step_s(since: datetime, until: datetime, points: int) -> int:
    """The shortest span of which no more than `points` overlap the time."""
    for hours in _STEPS_H:
        step_s = hours * _HOUR_S
        if (until - _floor(since, step_s)).total_seconds() <= points * step_s:
            return step_s
    return _STEPS_H[-1] * _HOUR_S * max(1, round((until - since).total_seconds() / (points * _STEPS_H[-1] * _HOUR_S)) + 1)


def _floor(at: datetime, step_s: int) -> datetime:
    return _EPOCH + timedelta(seconds=(at - _EPOCH).total_seconds() // step_s * step_s)


def _event(record: dict[str, Any]) -> LoggedEvent | None:
    try:
        return msgspec.convert({key: record.get(key) for key in LoggedEvent.__struct_fields__}, LoggedEvent)
    except msgspec.ValidationError:
        return None


def _particle(at: datetime, spool_id: str, seq: int, label: str | None, *figures: float | None) -> LoggedParticle:
    score, esd_um, esd_uncertainty_um, z_um = figures
    return LoggedParticle(
        at=_stamp(at), spool_id=spool_id, seq=seq, label=label or "", score=score, esd_um=esd_um or 0.0,
        esd_uncertainty_um=esd_uncertainty_um or 0.0, z_um=z_um or 0.0,
    )  # fmt: skip


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return _EPOCH


def _stamp(at: datetime) -> str:
    return iso_time(at.astimezone(UTC))
