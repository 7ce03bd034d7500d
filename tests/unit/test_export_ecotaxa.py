"""The EcoTaxa archive passes the rules of EcoTaxa's importer.

The rules are written down here from those of the importer (github.com/ecotaxa/ecotaxa_back, py/BO/TSVFile.py, BO/Bundle.py and
BO/Mappings.py at cb44b190), not from the exporter.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from device.cli import main
from device.storage.review import FOLDER, ReviewFolder
from tests.stores import filled

PREDEFINED_NUMBERS = {"object_lat", "object_lon", "object_depth_min", "object_depth_max", "img_rank"}


def violations(archive: Path) -> list[str]:
    """Everything that the importer would refuse."""
    with zipfile.ZipFile(archive) as content:
        files = {name: content.read(name) for name in content.namelist()}
    found = [f"name: {archive.name}"] if not re.fullmatch(r"ecotaxa_[A-Za-z0-9_.-]+\.zip", archive.name) else []
    tables = [name for name in files if re.fullmatch(r"(.*/)?ecotaxa[^/]*\.(txt|tsv)", name)]
    if not tables:
        return [*found, "no ecotaxa*.tsv"]
    for name in tables:
        found += _table_violations(files[name].decode("utf-8"), files)
    return found


def _table_violations(text: str, files: dict[str, bytes]) -> list[str]:
    lines = list(csv.reader(io.StringIO(text), delimiter="\t"))
    header, types, rows = lines[0], lines[1], lines[2:]
    found = [f"type {kind}" for kind in types if kind not in ("[f]", "[t]")]
    if len(types) != len(header) or len(set(header)) != len(header):
        found.append("header")
    prefixes = {name.split("_", 1)[0] for name in header}
    found += [f"prefix {p}" for p in prefixes - {"img", "object", "acq", "process", "sample"}]
    found += [f"{p}_id is mandatory" for p in prefixes - {"img"} if f"{p}_id" not in header]
    seen: set[tuple[str, str]] = set()
    sample_of: dict[str, str] = {}
    for number, cells in enumerate(rows, 3):
        if len(cells) != len(header):
            found.append(f"line {number}: columns")
            continue
        row = dict(zip(header, cells, strict=True))
        found += [f"line {number}: {what}" for what in _row_violations(row, dict(zip(header, types, strict=True)), files)]
        key = (row["object_id"], row["img_file_name"])
        if key in seen:
            found.append(f"line {number}: twice")
        seen.add(key)
        if sample_of.setdefault(row["acq_id"], row["sample_id"]) != row["sample_id"]:
            found.append(f"line {number}: one acquisition, two samples")
    return found


def _row_violations(row: dict[str, str], types: dict[str, str], files: dict[str, bytes]) -> list[str]:
    found = [f"{k} too long" for k, v in row.items() if len(v) > 250]
    found += ["no object_id"] if not row["object_id"] else []
    picture = files.get(row["img_file_name"])
    if picture is None or cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED) is None:
        found.append("no picture")
    if bool(row["object_annotation_status"]) != bool(row["object_annotation_category"]):
        found.append("category and status")
    if row["object_annotation_status"] not in ("", "predicted", "dubious", "validated"):
        found.append("status")
    for name, form in (("date", "%Y%m%d"), ("time", "%H%M%S"), ("annotation_date", "%Y%m%d"), ("annotation_time", "%H%M%S")):
        value = row.get(f"object_{name}", "")
        if (value or "annotation" not in name) and not _parses(lambda v, f=form: time.strptime(v, f), value):
            found.append(f"object_{name} {value}")
    for name, value in row.items():
        if value and (types[name] == "[f]" or name in PREDEFINED_NUMBERS) and not _parses(float, value):
            found.append(f"{name} is no number")
    if row["object_lat"] and not (-90 <= float(row["object_lat"]) <= 90 and -180 <= float(row["object_lon"]) <= 180):
        found.append("position")
    return found


def _parses(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


def exported(folder: Path, config: Path) -> Path:
    assert main(["export", "--format", "ecotaxa", "--out", str(folder), "--config", str(config)]) == 0
    [archive] = folder.glob("*.zip")
    return archive


def rows_of(archive: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(archive) as content:
        [name] = [n for n in content.namelist() if n.endswith(".tsv")]
        return list(csv.DictReader(io.StringIO(content.read(name).decode()), delimiter="\t"))[1:]


def test_the_importer_would_take_the_archive(tmp_path: Path) -> None:
    archive = exported(tmp_path / "out", filled(tmp_path))
    assert violations(archive) == []
    rows = rows_of(archive)
    assert len({r["object_id"] for r in rows}) == 6
    assert {r["img_rank"] for r in rows} == {"0", "1"}
    assert {(r["object_date"], r["object_time"], r["object_lat"]) for r in rows[:8]} == {("20260504", "235930", "47.25")}
    assert {r["object_annotation_category"] for r in rows} == {"Betula", "dust", "", "Bacillariophyta"}
    assert {r["sample_volume_m3"] for r in rows} == {"0.013"}


def test_the_checker_finds_what_the_importer_would_refuse(tmp_path: Path) -> None:
    archive = exported(tmp_path / "out", filled(tmp_path))
    with zipfile.ZipFile(archive) as content:
        files = {n: content.read(n) for n in content.namelist()}
    [name] = [n for n in files if n.endswith(".tsv")]
    text = files[name].decode()
    first = next(n for n in files if n.endswith(".png"))
    breaks = {
        "too long": text.replace("20260504", "2" * 251),
        "object_date": text.replace("20260504", "2026-05-04"),
        "category and status": text.replace("\tpredicted", "\t"),
        "process_id is mandatory": text.replace("process_id", "process_number"),
        "no picture": text.replace(first, "other.png"),
    }
    for what, changed in breaks.items():
        assert any(what in one for one in _table_violations(changed, files)), what


def test_long_and_broken_words_are_cut_and_mended(tmp_path: Path) -> None:
    config = filled(tmp_path)
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace('name = "Roof', 'name = "A\\ttab, a\\nbreak ' + "x" * 300), encoding="utf-8")
    archive = exported(tmp_path / "out", config)
    assert violations(archive) == []
    assert {len(r["sample_site"]) for r in rows_of(archive)} == {250}


def test_a_persons_label_is_validated_and_the_classifiers_predicted(tmp_path: Path) -> None:
    config = filled(tmp_path)
    folder = ReviewFolder(tmp_path / "store" / FOLDER)
    labelled = folder.entries()[0].id
    folder.label([(labelled, "grass")], "Ada")
    archive = exported(tmp_path / "out", config)
    assert violations(archive) == []
    for row in rows_of(archive):
        if row["object_id"] == labelled:
            assert (row["object_annotation_category"], row["object_annotation_status"]) == ("Poaceae", "validated")
            assert row["object_annotation_person_name"] == "Ada"
        else:
            assert row["object_annotation_status"] in ("predicted", "")


def test_detections_without_a_picture_are_counted_as_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = filled(tmp_path)
    entries = ReviewFolder(tmp_path / "store" / FOLDER).entries()
    entries[0].path.unlink()
    entries[1].path.write_bytes(b"damaged")
    status = main(["export", "--format", "ecotaxa", "--out", str(tmp_path / "out"), "--config", str(config), "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert status == 0
    assert sorted(summary["left_out"].values()) == [1, 1]
    assert summary["files"][0]["rows"] == 2 * (len(entries) - 2)


def test_without_any_picture_there_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = filled(tmp_path, crops=False)
    assert main(["export", "--format", "ecotaxa", "--out", str(tmp_path / "out"), "--config", str(config)]) == 2
    assert "random_share" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []
