"""What was counted, for minutes to a season; as many points as are asked for and no more."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.responses import StreamingResponse

from device.records import iso_time
from device.storage.history.values import LoggedInterval, LoggedParticle, SeriesPoint, Sort, VolumeUnit
from device.web.api.box import Histories
from device.web.serving.answers import RefusedError
from device.web.serving.governor import unhurried
from device.web.serving.routes import Endpoint, HttpRequest

__all__ = ["HistoryEndpoints"]

_LONGEST_DAYS = 20 * 366
_MOST_LABELS = 200
_ROWS_AT_ONCE = 1000
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula."""

_Label = Annotated[str, Meta(max_length=64)]


class _AskedPeriod(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    since: datetime | None = None
    """Left out: a day before `until`."""
    until: datetime | None = None
    """Left out: now."""


class _SeriesAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    points: Annotated[int, Meta(ge=1, le=2000)] = 600
    labels: Annotated[str, Meta(max_length=65 * _MOST_LABELS)] = ""
    """Separated by commas; empty: all."""
    unit: VolumeUnit | None = None


class _SizesAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    label: _Label | None = None


class _GapsAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    longer_than_s: Annotated[float, Meta(gt=0, le=1e9)] = 3600.0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500


class _EventsAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 200


class _ParticlesAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    label: _Label | None = None
    min_score: Annotated[float, Meta(ge=0, le=1)] = 0.0
    sort: Sort = "-time"
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    after: Annotated[str, Meta(max_length=200)] | None = None


class _DownloadAsked(_AskedPeriod, frozen=True, forbid_unknown_fields=True, kw_only=True):
    what: Literal["series", "intervals", "particles"]
    format: Literal["csv"] = "csv"
    points: Annotated[int, Meta(ge=1, le=2000)] = 600
    labels: Annotated[str, Meta(max_length=65 * _MOST_LABELS)] = ""
    label: _Label | None = None
    unit: VolumeUnit | None = None


class HistoryEndpoints:
    """The routes."""

    def __init__(self, history: Histories, device_id: str) -> None:
        self._history, self._device_id = history, device_id

    def endpoints(self) -> list[Endpoint]:
        """Of the history."""
        return [
            Endpoint("GET", "/api/history/status", "viewer", self._status),
            Endpoint("GET", "/api/history/series", "viewer", self._series),
            Endpoint("GET", "/api/history/sizes", "viewer", self._sizes),
            Endpoint("GET", "/api/history/gaps", "viewer", self._gaps),
            Endpoint("GET", "/api/history/events", "viewer", self._events),
            Endpoint("GET", "/api/history/particles", "viewer", self._particles),
            Endpoint("GET", "/api/history/download", "viewer", self._download),
        ]

    def _status(self, _request: HttpRequest) -> Any:
        return self._history.status()

    def _series(self, request: HttpRequest) -> Any:
        asked = request.query_as(_SeriesAsked)
        return self._history.series(*_span(asked), asked.points, _labels(asked.labels), asked.unit)

    def _sizes(self, request: HttpRequest) -> Any:
        asked = request.query_as(_SizesAsked)
        return self._history.sizes(*_span(asked), asked.label)

    def _gaps(self, request: HttpRequest) -> dict[str, Any]:
        asked = request.query_as(_GapsAsked)
        return {"gaps": self._history.gaps(*_span(asked), asked.longer_than_s)[-asked.limit :]}

    def _events(self, request: HttpRequest) -> dict[str, Any]:
        asked = request.query_as(_EventsAsked)
        span = _span(asked, days=_LONGEST_DAYS)
        return {"events": self._history.events(*span, asked.limit)}

    def _particles(self, request: HttpRequest) -> Any:
        asked = request.query_as(_ParticlesAsked)
        since, until = _span(asked)
        return self._history.particles(asked.label, since, until, asked.min_score, asked.sort, asked.limit, asked.after)

    def _download(self, request: HttpRequest) -> StreamingResponse:
        asked = request.query_as(_DownloadAsked)
        since, until = _span(asked)
        rows: dict[str, Callable[[], Iterator[Sequence[Any]]]] = {
            "series": lambda: self._series_rows(since, until, asked),
            "intervals": lambda: self._interval_rows(since, until),
            "particles": lambda: self._particle_rows(since, until, asked.label),
        }
        name = f"{self._device_id}-{asked.what}-{since[:10]}-{until[:10]}.csv"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        lines = unhurried(_lines(rows[asked.what]()))
        # What can't be read is told before a word goes out; later, the download breaks off and is no whole file.
        first = next(lines)
        return StreamingResponse(chain((first,), lines), media_type="text/csv; charset=utf-8", headers=headers)

    def _series_rows(self, since: str, until: str, asked: _DownloadAsked) -> Iterator[Sequence[Any]]:
        series = self._history.series(since, until, asked.points, _labels(asked.labels), asked.unit)
        labels = series.labels
        columns = [
            column
            for label in labels
            for column in (f"{label}_count", f"{label}_concentration", f"{label}_low", f"{label}_high")
        ]
        unit = {"m^3": "m3", "mL": "ml"}.get(series.unit or "", "volume")
        yield [*_point_columns(unit), *columns]
        for point in series.points:
            figures: list[Any] = []
            for label in labels:
                found = point.concentration.get(label)
                figures.append(point.counts.get(label))
                figures += [None] * 3 if found is None else [found.value, found.low, found.high]
            yield [*_point_row(point), *figures]

    def _interval_rows(self, since: str, until: str) -> Iterator[Sequence[Any]]:
        yield ["spool_id", "seq", *_point_columns("volume"), "counts"]
        after: int | None = None
        while page := self._history.intervals(since, until, _ROWS_AT_ONCE, after):
            found: Sequence[LoggedInterval] = page
            for one in found:
                yield [one.spool_id, one.seq, *_point_row(one.point), msgspec.json.encode(one.point.counts).decode()]
            after = found[-1].number

    def _particle_rows(self, since: str, until: str, label: str | None) -> Iterator[Sequence[Any]]:
        columns = LoggedParticle.__struct_fields__
        yield columns
        after: str | None = None
        while True:
            page = self._history.particles(label, since, until, 0.0, "time", _ROWS_AT_ONCE, after)
            for one in page.particles:
                yield [getattr(one, column) for column in columns]
            after = page.after
            if after is None:
                return


def _span(asked: _AskedPeriod, days: float = 1.0) -> tuple[str, str]:
    """As records write times; RefusedError where there is nothing between them, or more than anybody has."""
    until = _aware(asked.until, "until") or datetime.now(UTC)
    try:
        since = _aware(asked.since, "since") or until - timedelta(days=days)
        length = until - since
        told = iso_time(since), iso_time(until)
    except (OverflowError, ValueError) as error:
        raise RefusedError(422, "the period can't be", where="since, until", got=str(error)) from error
    if length <= timedelta(0):
        raise RefusedError(
            422, "the period ends before it begins", where="since, until", expected="since before until", got=told
        )
    if length > timedelta(days=_LONGEST_DAYS):
        raise RefusedError(
            422,
            "the period is too long",
            where="since, until",
            expected=f"at most {_LONGEST_DAYS // 366} years",
            got=f"{length.days} days",
        )
    return told


def _aware(time: datetime | None, where: str) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise RefusedError(422, "the time has no zone", where=where, expected="2026-05-04T12:00:00Z", got=time.isoformat())
    return time


def _labels(text: str) -> list[str] | None:
    found = [label for label in text.split(",") if label]
    if len(found) > _MOST_LABELS or any(len(label) > 64 for label in found):
        raise RefusedError(
            422, "too many labels, or too long ones", where="labels", expected=f"at most {_MOST_LABELS} of 64 characters"
        )
    return found or None


def _point_columns(unit: str) -> list[str]:
    return [
        "start", "end", "intervals", "looked", "failed", "covered_s", "dead_time_s", f"volume_{unit}" if unit != "volume" else unit,
        "frames_analysed", "frames_dropped", "qc",
    ]  # fmt: skip


def _point_row(point: SeriesPoint) -> list[Any]:
    return [
        point.start, point.end, point.intervals, point.looked, point.failed, point.covered_s, point.dead_time_s, point.volume,
        point.frames_analysed, point.frames_dropped, point.qc,
    ]  # fmt: skip


def _lines(rows: Iterator[Sequence[Any]]) -> Iterator[bytes]:
    """CSV (RFC 4180), some rows at a time."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        writer.writerow([_safe(value) for value in row])
        if text.tell() > 32_768:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _safe(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_DANGEROUS) else value
