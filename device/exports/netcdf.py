"""netCDF-4 by the CF conventions 1.8 and ACDD 1.3: intervals as a time series at a station, detections as points.

The configuration is embedded, so that a run can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from device import __version__
from device.errors import InputError
from device.exports.bundle import ExportBundle
from device.exports.source import RecordSource
from device.exports.steady_file import SteadyFile
from device.exports.tables import Column, LabelCount, tables
from device.installation import how_to_install
from device.meaning import meaning, unit_of
from device.records import (
    QARTOD_MEANINGS,
    ClockRecord,
    Concentration,
    Count,
    Efficiency,
    FrameCounts,
    Interval,
    SceneRecord,
    iso_time,
)

try:
    import h5netcdf
    import h5py
except ImportError as error:
    raise InputError(
        "netCDF needs a library that is not installed", expected="h5netcdf",
        remedy=how_to_install("export") + ". CSV and Darwin Core need none.",
    ) from error  # fmt: skip

__all__ = ["write"]

_BLOCK_ROWS = 10_000
_MISSING_INT = -1
_TIME = {
    "standard_name": "time", "units": "seconds since 1970-01-01T00:00:00Z", "calendar": "standard", "axis": "T",
    "long_name": "time",
}  # fmt: skip
_UDUNITS = {"m^-3": "m-3", "L^-1": "L-1", "mL^-1": "mL-1"}
_PER_M3 = {"m^-3": 1.0, "L^-1": 1e3, "mL^-1": 1e6}
_HEADER = ("device_id", "spool_id")
"""The same in every row: global attributes; where a store has several spools, these stand in the rows, too."""

_TYPES: dict[str, Any] = {"text": str, "time": "f8", "integer": "i4", "real": "f8", "flag": "i1"}


@dataclass(frozen=True)
class _Variable:
    """One variable, filled block by block along time or obs; a scalar has no dimensions."""

    name: str
    dims: tuple[str, ...]
    dtype: Any
    get: Callable[[Any], Any]
    attributes: dict[str, Any] = field(default_factory=dict)

    def at(self, start: int, length: int) -> tuple[Any, ...]:
        """Index of a block of rows."""
        # The edges of an interval come after time, as CF has them.
        rows = slice(start, start + length)
        return tuple(rows if name in ("time", "obs") else slice(None) for name in self.dims)

    def values(self, rows: Sequence[Any]) -> Any:
        """An array of a block, axes as in `dims`."""
        found = [self.get(row) for row in rows]
        if self.dtype is str:
            return np.array([value or "" for value in found], object)
        if self.dtype == "f8":
            array = np.array(found, np.float64)  # None becomes NaN
            return array.T if self.dims[0] == "label" else array
        return np.array([_MISSING_INT if value is None else value for value in found], self.dtype)


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """intervals.nc and detections.nc."""
    survey = source.survey
    if survey.intervals:
        labels = tuple(survey.labels)
        variables = [*_station(source, "time"), *_interval_variables(source, labels)]
        sizes = {"time": survey.intervals, "nv": 2, "label": len(labels)}
        attributes = _attributes(source, "timeSeries", "Particles in air or liquid: counts and concentrations by class")
        fixed = {"label_name": (("label",), list(labels), {"long_name": meaning(LabelCount, "label")})}
        _write(bundle, "intervals.nc", sizes, variables, fixed, attributes, source.intervals())
    if survey.detections:
        variables = [*_station(source, "obs"), *_detection_variables(source)]
        attributes = _attributes(source, "point", "Particles detected by holography, each measured and named")
        _write(bundle, "detections.nc", {"obs": survey.detections}, variables, {}, attributes, source.detections())
    if survey.events:
        bundle.left_out["events (netCDF holds measurements; --format csv has them)"] += survey.events


def _write(
    bundle: ExportBundle,
    name: str,
    sizes: dict[str, int],
    variables: list[_Variable],
    fixed: dict[str, tuple[tuple[str, ...], list[str], dict[str, str]]],
    attributes: dict[str, Any],
    rows: Iterable[Any],
) -> None:
    along = next(iter(sizes))
    with closing(SteadyFile(bundle.begin(name))) as steady:
        try:
            with h5netcdf.File(steady, "w") as file:
                _fill(file, sizes, variables, fixed, attributes, rows)
        finally:
            # Whatever HDF5 makes of a disk that fails: this is the reason.
            steady.check()
    bundle.end(name, sizes[along], lambda path: _count(path, along))


def _fill(
    file: Any,
    sizes: dict[str, int],
    variables: list[_Variable],
    fixed: dict[str, tuple[tuple[str, ...], list[str], dict[str, str]]],
    attributes: dict[str, Any],
    rows: Iterable[Any],
) -> None:
    file.dimensions = sizes
    file.attrs.update({key: value for key, value in attributes.items() if value not in (None, "")})
    for key, (dims, values, about) in fixed.items():
        file.create_variable(key, dims, dtype=h5py.string_dtype(), data=np.array(values, object)).attrs.update(about)
    for variable in variables:
        _create(file, variable, sizes)
    start = 0
    for block in _blocks(rows):
        for variable in variables:
            if variable.dims:
                file.variables[variable.name][variable.at(start, len(block))] = variable.values(block)
        start += len(block)


def _create(file: Any, variable: _Variable, sizes: dict[str, int]) -> None:
    options: dict[str, Any] = {}
    if variable.dims:
        options["chunks"] = tuple(min(sizes[name], _BLOCK_ROWS) for name in variable.dims)
        if variable.dtype is not str:
            # What was not measured is missing, not zero.
            fill = np.nan if variable.dtype == "f8" else _MISSING_INT
            options |= {"compression": "gzip", "shuffle": True, "fletcher32": True}
            if variable.name not in ("time", "time_bounds", "lat", "lon"):
                options["fillvalue"] = np.dtype(variable.dtype).type(fill)
    dtype = h5py.string_dtype() if variable.dtype is str else variable.dtype
    made = file.create_variable(variable.name, variable.dims, dtype=dtype, **options)
    made.attrs.update(variable.attributes)
    if not variable.dims:
        made[...] = variable.get(None)


def _blocks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(rows)
    while block := list(islice(iterator, _BLOCK_ROWS)):
        yield block


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _station(source: RecordSource, along: str) -> list[_Variable]:
    """Where the box stands: once for a time series, at every point for points."""
    place, once = source.place, along == "time"
    dims = () if once else (along,)
    found: list[_Variable] = []
    if once:
        about = {"long_name": "the box", "cf_role": "timeseries_id"}
        found.append(_Variable("station", (), str, lambda _: source.device_id, about))
    if place.known:
        latitude = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"}
        longitude = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"}
        found += [
            _Variable("lat", dims, "f8", lambda _: place.latitude_degrees, latitude),
            _Variable("lon", dims, "f8", lambda _: place.longitude_degrees, longitude),
        ]
    if place.altitude_m is not None:
        altitude = {"standard_name": "altitude", "long_name": "above sea level", "units": "m", "positive": "up", "axis": "Z"}
        found.append(_Variable("alt", dims, "f8", lambda _: place.altitude_m, altitude))
    return found


def _coordinates(source: RecordSource, *more: str) -> dict[str, str]:
    place = source.place
    names = (["time"] if more == () else list(more)) + (["lat", "lon"] if place.known else [])
    return {"coordinates": " ".join(names + (["alt"] if place.altitude_m is not None else []))}


def _qc(about: str) -> dict[str, Any]:
    return {
        "long_name": about,
        "standard_name": "aggregate_quality_flag",
        "flag_values": np.array(list(QARTOD_MEANINGS), np.int8),
        "flag_meanings": " ".join(QARTOD_MEANINGS.values()),
        "references": "QARTOD, https://ioos.noaa.gov/project/qartod/",
    }


def _interval_variables(source: RecordSource, labels: tuple[str, ...]) -> list[_Variable]:
    bounds = {**_TIME, "long_name": "beginning of the interval", "bounds": "time_bounds"}
    here = _coordinates(source, "label_name", "station")
    at_station = _coordinates(source, "station")
    plain = [
        _plain("interval_id", str, Interval, "id", lambda i: i.id),
        _plain("mode", str, Interval, "mode", lambda i: i.mode),
        _plain("simulated", str, Interval, "simulated", lambda i: " ".join(i.simulated)),
        _plain("calibration_id", str, Interval, "calibration_id", lambda i: i.calibration_id),
        _plain("config_hash", str, Interval, "config_hash", lambda i: i.config_hash),
        _plain("pipeline_id", str, Interval, "pipeline_id", lambda i: i.pipeline_id),
        _plain("volume_m3", "f8", Interval, "volume_m3", lambda i: i.volume_m3),
        _plain("volume_ml", "f8", Interval, "volume_ml", lambda i: i.volume_ml),
        _plain("dead_time_s", "f8", Interval, "dead_time_s", lambda i: i.dead_time_s),
        _plain("clock_uncertainty_s", "f8", ClockRecord, "uncertainty_s", lambda i: i.clock.uncertainty_s),
        *(
            _plain(f"frames_{name}", "i4", FrameCounts, name, lambda i, name=name: getattr(i.frames, name))
            for name in ("captured", "analysed", "dropped", "unchecked")
        ),
        _plain("scene_explained", "f8", SceneRecord, "explained", lambda i: i.scene.explained if i.scene else None),
        _plain("reasons", str, Interval, "reasons", lambda i: "; ".join(i.reasons)),
    ]
    return [
        _Variable("time", ("time",), "f8", lambda i: _seconds(i.started_at), bounds),
        _Variable("time_bounds", ("time", "nv"), "f8", lambda i: [_seconds(i.started_at), _seconds(i.ended_at)]),
        *(replace(one, attributes={**one.attributes, **at_station}) for one in plain),
        _Variable(
            "volume_relative_uncertainty", ("time",), "f8", _relative, {
                "long_name": "standard uncertainty of the volume, relative", "units": "1", **at_station,
            },
        ),
        *_label_variables(source, labels, here),
        _Variable("qc", ("time",), "i1", lambda i: i.qc, {**_qc(meaning(Interval, "qc")), **at_station}),
    ]  # fmt: skip


def _plain(name: str, dtype: Any, owner: type, field: str, get: Callable[[Interval], Any]) -> _Variable:
    """A field of an interval or a part of it, which means here what it means there."""
    about = {"long_name": meaning(owner, field)}
    if dtype is not str:
        about["units"] = _udunits(unit_of(field))
    return _Variable(name, ("time",), dtype, get, about)


def _udunits(unit: str) -> str:
    """As UDUNITS writes it; a number without a unit, and pixels, are 1."""
    return "1" if unit in ("", "px") else unit.replace("^", "")


def _relative(interval: Interval) -> float | None:
    volume = interval.volume_m3 if interval.volume_m3 is not None else interval.volume_ml
    return interval.volume_uncertainty / volume if volume and interval.volume_uncertainty is not None else None


def _label_variables(source: RecordSource, labels: tuple[str, ...], here: dict[str, str]) -> list[_Variable]:
    """Count and concentration [label, time] with their intervals."""
    units = source.survey.units
    unit = next(iter(units)) if len(units) == 1 else "m^-3"

    def per_label(table: str, name: str) -> Callable[[Interval], list[float | None]]:
        def get(interval: Interval) -> list[float | None]:
            found = [getattr(interval, table).get(label) for label in labels]
            scale = [_PER_M3[c.unit] / _PER_M3[unit] if table == "concentration" and c is not None else 1.0 for c in found]
            return [None if c is None else getattr(c, name) * s for c, s in zip(found, scale, strict=True)]

        return get

    def variable(table: str, owner: type, name: str, end: str, unit: str) -> _Variable:
        about = {"long_name": meaning(owner, name), "units": unit, **here}
        if not end:
            about["ancillary_variables"] = f"{table}_low {table}_high qc" if table != "detection_efficiency" else "qc"
        return _Variable(table + end, ("label", "time"), "f8", per_label(table, name), about)

    per = _UDUNITS[unit]
    return [
        variable("counts", Count, "n", "", "1"),
        variable("counts", Count, "low", "_low", "1"),
        variable("counts", Count, "high", "_high", "1"),
        variable("concentration", Concentration, "value", "", per),
        variable("concentration", Concentration, "low", "_low", per),
        variable("concentration", Concentration, "high", "_high", per),
        variable("detection_efficiency", Efficiency, "value", "", "1"),
    ]


def _detection_variables(source: RecordSource) -> list[_Variable]:
    here = _coordinates(source)
    found = [_Variable("time", ("obs",), "f8", lambda d: _seconds(d.captured_at), dict(_TIME))]
    columns = [column for table in tables(source) if table.name == "detections" for column in table.flat()]
    for column in columns:
        several = column.name == "spool_id" and len(source.spool_ids) > 1
        if (column.name in _HEADER and not several) or column.kind == "time":
            continue
        found.append(_detection_variable(column, here))
    return found


def _detection_variable(column: Column, here: dict[str, str]) -> _Variable:
    about: dict[str, Any] = {"long_name": column.text, **here}
    if column.name in ("qc", "consistency_flag"):
        return _Variable(column.name, ("obs",), "i1", column.get, {**_qc(column.text), **here})
    if column.kind == "flag":
        about |= {"flag_values": np.array([0, 1], np.int8), "flag_meanings": "no yes"}
    elif column.kind in ("real", "integer"):
        about["units"] = _udunits(column.unit)
    name = column.name.replace("-", "_")
    return _Variable(name, ("obs",), _TYPES[column.kind], column.get, about)


def _attributes(source: RecordSource, feature: str, title: str) -> dict[str, Any]:
    survey, place, now = source.survey, source.place, iso_time(datetime.now(UTC))
    found: dict[str, Any] = {
        "Conventions": "CF-1.8, ACDD-1.3",
        "featureType": feature,
        "title": f"{title} ({source.device_id})",
        "summary": f"{survey.intervals} intervals with {survey.detections} detections of a holographic particle sensor.",
        "keywords": "particles, digital holography, concentration",
        "id": f"{source.device_id}/{source.spool_id}",
        "institution": place.operator,
        "creator_name": place.operator,
        "source": f"digital in-line holography, Holonode {source.instrument.name}",
        "platform": place.name or source.device_id,
        "instrument": f"{source.instrument.name} ({source.instrument.id})",
        "processing_level": "2: derived from holograms on the instrument; not validated by a person",
        "history": f"{now} exported by holonode {__version__}",
        "date_created": now,
        "time_coverage_start": survey.first,
        "time_coverage_end": survey.last,
        "device_id": source.device_id,
        "spool_id": ", ".join(source.spool_ids),
        "software": f"holonode {__version__}",
        "configuration": json.dumps(source.configuration),
        "configuration_hash": source.config_hash,
        "models": json.dumps(survey.models),
        "comment": "config_hash tells which configuration a record was made with; the one embedded is that of the export.",
    }
    if place.known:
        for end in ("min", "max"):
            found[f"geospatial_lat_{end}"] = place.latitude_degrees
            found[f"geospatial_lon_{end}"] = place.longitude_degrees
        found |= {"geospatial_lat_units": "degrees_north", "geospatial_lon_units": "degrees_east"}
    return found


def _count(path: Path, along: str) -> int:
    """Rows, every block of every variable read (checksums included)."""
    with h5netcdf.File(path, "r") as file:
        length = int(file.dimensions[along].size)
        for variable in file.variables.values():
            for start in range(0, length if variable.shape else 0, _BLOCK_ROWS):
                variable[start : start + _BLOCK_ROWS]
        return length
