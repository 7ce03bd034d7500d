"""EcoTaxa: one `ecotaxa_*.zip` of a table and the pictures, as its importer wants it.

Its rules are those of the importer itself (github.com/ecotaxa/ecotaxa_back, BO/TSVFile.py): every row needs a picture, a
category needs a status and the other way round, every prefix needs its id. Rows without a picture would refuse the whole
file: detections whose crop was not kept for review are left out, and counted.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from device import __version__
from device.analysis.drawing import phase_colours
from device.errors import InputError
from device.exports.bundle import ExportBundle
from device.exports.source import Group, RecordSource
from device.exports.taxa import taxon
from device.records import Detection
from device.storage.review import Crop, Label
from device.text import plain

__all__ = ["LONGEST", "write"]

LONGEST = 250
"""Characters of a value; EcoTaxa's columns hold no more."""

_Cell = str | float | int | None


@dataclass(frozen=True)
class _Object:
    """One detection with its pictures."""

    detection: Detection
    group: Group
    crop: Crop
    label: Label | None
    """A person's."""


def write(source: RecordSource, bundle: ExportBundle) -> None:
    """ecotaxa_DEVICE_DATE.zip, two pictures an object: amplitude (rank 0) and phase (rank 1)."""
    day = (source.survey.first or source.survey.last)[:10].replace("-", "")
    stem = f"ecotaxa_{source.device_id}_{day}"
    # The table grows beside the archive, for an archive takes one file at a time.
    table, rows = bundle.begin(f"{stem}.tsv"), 0
    with zipfile.ZipFile(bundle.begin(f"{stem}.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
            for one in _objects(source, bundle):
                for rank, (kind, picture) in enumerate(_pictures(one.crop).items()):
                    name = f"{one.detection.id}_{kind}.png"
                    # Pictures are compressed already.
                    archive.writestr(name, picture, zipfile.ZIP_STORED)
                    row = _row(source, one, name, rank)
                    if rows == 0:
                        writer.writerow(row)
                        writer.writerow([kind for kind, _ in row.values()])
                    writer.writerow([_text(value) for _, value in row.values()])
                    rows += 1
        if rows == 0:
            raise InputError(
                "no detection of the period has a picture", where=source.review.folder, expected="crops kept for review",
                remedy="EcoTaxa takes no rows without pictures. [review] random_share = 1 keeps a crop of every detection to come.",
            )  # fmt: skip
        archive.write(table, f"{stem}.tsv")
    table.unlink()
    bundle.end(f"{stem}.zip", rows, _count)


def _objects(source: RecordSource, bundle: ExportBundle) -> Iterator[_Object]:
    entries = {entry.id: entry for entry in source.review.entries()}
    labels, _ = source.review.labels()
    for group in source.groups():
        for detection in group.detections:
            entry = entries.get(detection.id)
            if entry is None:
                bundle.left_out["detections without a picture (their crops were not kept for review)"] += 1
                continue
            try:
                crop = source.review.read(entry)
            except InputError:
                crop = None
            if crop is None:
                bundle.left_out["detections whose picture can't be read"] += 1
                continue
            yield _Object(detection, group, crop, labels.get(detection.id))


def _pictures(crop: Crop) -> dict[str, bytes]:
    """PNG of amplitude (grey, 1 is mid) and of phase (colours of device.analysis.drawing)."""
    field = 1 + crop.image[..., 0] + 1j * crop.image[..., 1]
    grey = np.clip((np.abs(field) - 0.2) / 1.3 * 255, 0, 255).astype(np.uint8)
    shown = {"amplitude": grey, "phase": phase_colours(np.angle(field))}
    return {kind: cv2.imencode(".png", picture)[1].tobytes() for kind, picture in shown.items()}


def _row(source: RecordSource, one: _Object, picture: str, rank: int) -> dict[str, tuple[str, _Cell]]:
    """Type and value by column; every row of an export has the same columns in the same order."""
    return {
        "img_file_name": ("[t]", picture),
        "img_rank": ("[f]", rank),
        **_typed("object", _object_values(source, one)),
        **_typed("object", _annotation(source, one)),
        **_typed("sample", _sample_values(source, one)),
        **_typed("acq", _acquisition_values(source, one)),
        **_typed("process", _process_values(source, one)),
    }


def _typed(prefix: str, values: dict[str, tuple[str, _Cell]]) -> dict[str, tuple[str, _Cell]]:
    # Only objects have numbers: of the other tables EcoTaxa takes every value for text.
    return {f"{prefix}_{_name(k)}": (kind if prefix == "object" else "[t]", v) for k, (kind, v) in values.items()}


def _name(key: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", key.lower())


def _object_values(source: RecordSource, one: _Object) -> dict[str, tuple[str, _Cell]]:
    found, place = one.detection, source.place
    numbers = (
        "x_um", "y_um", "z_um", "z_uncertainty_um", "esd_um", "esd_uncertainty_um", "score", "qc",
    )  # fmt: skip
    time = found.captured_at
    return {
        "id": ("[t]", found.id),
        "date": ("[t]", time[:10].replace("-", "")),
        "time": ("[t]", time[11:19].replace(":", "")),
        "lat": ("[f]", place.latitude_degrees),
        "lon": ("[f]", place.longitude_degrees),
        "label": ("[t]", found.label),
        **{name: ("[f]", getattr(found, name)) for name in numbers},
        **{name: ("[f]", found.features.get(name)) for name in source.survey.features},
        **{f"probability_{name}": ("[f]", found.probabilities.get(name)) for name in source.survey.classes},
        "consistency_chi2": ("[f]", found.consistency.chi2),
        "consistency_flag": ("[f]", found.consistency.flag),
        "confidence": ("[f]", found.confidence),
    }


def _annotation(source: RecordSource, one: _Object) -> dict[str, tuple[str, _Cell]]:
    """A person's label is validated, the classifier's predicted; 'unknown' is neither, nor is what no classifier named."""
    label = one.label.label if one.label else one.detection.label
    named = label != "unknown" and (one.label is not None or one.detection.score is not None)
    known = taxon(label, source.taxa)
    person = one.label if one.label and named else None
    status = "validated" if person else "predicted"
    return {
        "annotation_category": ("[t]", (known.name if known else label) if named else None),
        "annotation_status": ("[t]", status if named else None),
        "annotation_person_name": ("[t]", person.by if person else None),
        "annotation_date": ("[t]", person.at[:10].replace("-", "") if person else None),
        "annotation_time": ("[t]", person.at[11:19].replace(":", "") if person else None),
    }


def _sample_values(source: RecordSource, one: _Object) -> dict[str, tuple[str, _Cell]]:
    interval, total = one.group.interval, None
    if interval is not None:
        total = interval.counts.get("total")
    return {
        "id": ("[t]", one.detection.interval_id),
        "device_id": ("[t]", one.detection.device_id),
        "site": ("[t]", source.place.name or None),
        "operator": ("[t]", source.place.operator or None),
        "started_at": ("[t]", interval.started_at if interval else None),
        "ended_at": ("[t]", interval.ended_at if interval else None),
        "mode": ("[t]", interval.mode if interval else None),
        "volume_m3": ("[t]", interval.volume_m3 if interval else None),
        "volume_ml": ("[t]", interval.volume_ml if interval else None),
        "volume_uncertainty": ("[t]", interval.volume_uncertainty if interval else None),
        "dead_time_s": ("[t]", interval.dead_time_s if interval else None),
        "total_count": ("[t]", total.n if total else None),
        "qc": ("[t]", interval.qc if interval else None),
        "reasons": ("[t]", "; ".join(interval.reasons)[:LONGEST] if interval else None),
        "explained": ("[t]", interval.scene.explained if interval and interval.scene else None),
    }


def _acquisition_values(source: RecordSource, one: _Object) -> dict[str, tuple[str, _Cell]]:
    instrument = source.instrument
    return {
        "id": ("[t]", one.detection.interval_id),
        "instrument": ("[t]", f"Holonode {instrument.name}"),
        "instrument_id": ("[t]", instrument.id),
        "sensor": ("[t]", instrument.sensor.model),
        "wavelength_um": ("[t]", instrument.lamp.wavelength_um),
        "pixel_um": ("[t]", one.crop.about.pitch_um),
        "calibration_id": ("[t]", one.detection.calibration_id),
        "simulated": ("[t]", " ".join(one.detection.simulated) or None),
    }


def _process_values(source: RecordSource, one: _Object) -> dict[str, tuple[str, _Cell]]:
    found = one.detection
    return {
        "id": ("[t]", one.detection.interval_id),
        "software": ("[t]", f"holonode {__version__}"),
        "pipeline_id": ("[t]", found.pipeline_id),
        "config_hash": ("[t]", found.config_hash),
        "classifier": ("[t]", source.survey.models.get(found.pipeline_id)),
    }


def _text(value: Any) -> str:
    """A value as the table holds it: no tabs, no breaks, no quotes, at most LONGEST characters."""
    if value is None:
        return ""
    return re.sub(r'[\s"]+', " ", plain(value)).strip()[:LONGEST]


def _count(path: Path) -> int:
    """Rows whose picture is there, every file's checksum right."""
    with zipfile.ZipFile(path) as archive:
        if archive.testzip() is not None:
            return -1
        names = set(archive.namelist())
        [table] = (name for name in names if name.endswith(".tsv"))
        with archive.open(table) as raw:
            reader = csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
            next(reader)
            return sum(row["img_file_name"] in names for row in reader)
