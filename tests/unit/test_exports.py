"""Exports hold what the store holds, as the formats' own readers and checkers see it."""

from __future__ import annotations

import csv
import hashlib
import json
import zipfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from device.cli import main
from device.errors import InputError
from device.exports.source import moment
from device.storage.outbox import Outbox
from tests.stores import CONFIG, START, add_event, add_interval, configured, filled

FORMATS = ("csv", "parquet", "ecotaxa", "netcdf", "darwincore", "influx")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("box"))


def export(config: Path, out: Path, kind: str, *more: str) -> int:
    return main(["export", "--format", kind, "--out", str(out), "--config", str(config), *more])


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_export_lists_its_files_with_their_digests(
    config: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert export(config, out, kind, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    listed = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    assert {p.name for p in out.iterdir()} == {*listed, "SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    assert {f["name"]: f["sha256"] for f in summary["files"]} == listed
    assert (summary["intervals"], summary["detections"], summary["events"]) == (4, 6, 1)


def test_csv_reads_back_to_the_records_zeros_and_line_breaks_included(config: Path, tmp_path: Path) -> None:
    export(config, tmp_path / "out", "csv")
    detections, intervals = table(tmp_path / "out/detections.csv"), table(tmp_path / "out/intervals.csv")
    assert [d["label"] for d in detections] == ["birch", "birch", "dust", "unknown", "pennate-diatom", "birch"]
    assert {d["probability_pennate-diatom"] for d in detections} == {"0.05"}
    assert float(detections[0]["feature_area_um2"]) == 331.0
    empty = [r for r in intervals if r["started_at"] == "2026-05-05T00:00:30.000000Z"]
    assert {(r["count"], r["concentration"]) for r in empty} == {("0", "0.0")}
    assert all(float(r["count_high"]) > 2.9 and float(r["concentration_high"]) > 100 for r in empty)
    assert {(r["volume_m3"], r["concentration_unit"]) for r in empty} == {("0.013", "m^-3")}
    blind = [r for r in intervals if r["frames_analysed"] == "0"]
    assert blind
    assert {r["concentration"] for r in blind} == {""}
    assert table(tmp_path / "out/events.csv")[0]["message"] == 'the "window" is full,\nchange it'
    assert {r["confidence"] for r in detections} == {"0.9"}
    assert {(r["scene_empty"], r["scene_too_strong"], r["reasons"]) for r in empty} == {("1.0", "0.0", "")}
    assert {(r["scene_empty"], r["reasons"]) for r in blind} == {
        ("", "no frame could be searched; 1 of 1 frames were not searched")
    }
    described = {(r["file"], r["column"]) for r in table(tmp_path / "out/columns.csv")}
    assert described >= {("intervals.csv", name) for name in intervals[0]}
    assert (tmp_path / "out/intervals.csv").read_bytes().count(b"\r\n") == len(intervals) + 1


def test_parquet_has_types_units_maps_and_its_origin(config: Path, tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    export(config, tmp_path / "out", "parquet")
    read = pq.read_table(tmp_path / "out/detections.parquet")
    assert read.schema.field("captured_at").type == pa.timestamp("us", tz="UTC")
    assert read.schema.field("z_um").metadata[b"unit"] == b"um"
    assert dict(read.column("probability")[0].as_py()) == {"birch": 0.8, "dust": 0.15, "pennate-diatom": 0.05}
    assert read.column("captured_at")[0].as_py() == START
    embedded = json.loads(read.schema.metadata[b"holonode.configuration"])
    assert embedded["device"]["id"] == "box-1"
    assert embedded["mqtt"]["username"] == "(set)"
    counted = pq.read_table(tmp_path / "out/intervals.parquet", filters=[("label", "=", "total")])
    assert counted.column("count").to_pylist() == [4, 0, 2, 0]
    assert counted.column("concentration").to_pylist()[3] is None


def test_netcdf_says_zero_missing_and_how_sure_apart(config: Path, tmp_path: Path) -> None:
    netcdf = pytest.importorskip("h5netcdf")
    export(config, tmp_path / "out", "netcdf")
    with netcdf.File(tmp_path / "out/intervals.nc", "r") as file:
        names = [n.decode() if isinstance(n, bytes) else n for n in file.variables["label_name"][:]]
        total = names.index("total")
        assert list(file.variables["counts"][total]) == [4, 0, 2, 0]
        concentration = file.variables["concentration"][total]
        assert list(concentration[:3] * 0.013) == pytest.approx([4, 0, 2])
        assert concentration[3] != concentration[3]
        assert file.variables["concentration"].attrs["units"] == "m-3"
        assert file.variables["qc"].attrs["flag_meanings"] == "pass not_evaluated suspect fail missing"
        assert list(file.variables["time_bounds"][0] - START.timestamp()) == [0, 20]
        assert json.loads(file.attrs["configuration"])["site"]["latitude_degrees"] == 47.25


def test_two_units_in_one_netcdf_become_one(tmp_path: Path) -> None:
    netcdf = pytest.importorskip("h5netcdf")
    outbox = Outbox(tmp_path / "store", "box-1")
    add_interval(outbox, START, ["birch"])
    add_interval(outbox, START + timedelta(seconds=60), ["birch"], unit="mL^-1")
    outbox.close()
    export(configured(tmp_path), tmp_path / "out", "netcdf")
    with netcdf.File(tmp_path / "out/intervals.nc", "r") as file:
        assert file.variables["concentration"].attrs["units"] == "m-3"
        assert list(file.variables["concentration"][0]) == pytest.approx([1 / 0.013, 1e6 / 0.4])


def test_a_darwin_core_reader_finds_presences_and_absences(config: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("dwca.read")
    terms = pytest.importorskip("dwca.darwincore.utils")
    export(config, tmp_path / "out", "darwincore")
    found: dict[tuple[int, str], str] = {}
    with reader.DwCAReader(str(tmp_path / "out/dwca-box-1.zip")) as archive:
        assert archive.core_contains_term(terms.qualname("eventDate"))
        assert archive.metadata.find("dataset/title").text == 'Particles counted by box-1, Roof, "north" side'
        for k, event in enumerate(archive):
            assert event.data[terms.qualname("decimalLatitude")] == "47.25"
            assert event.data[terms.qualname("sampleSizeValue")] == "0.013"
            for occurrence in event.extensions:
                data = occurrence.data
                assert data[terms.qualname("basisOfRecord")] == "MachineObservation"
                assert data[terms.qualname("identificationVerificationStatus")] == "unverified"
                name, status = data[terms.qualname("scientificName")], data[terms.qualname("occurrenceStatus")]
                found[k, name] = f"{status} {data[terms.qualname('individualCount')]}"
    assert found == {
        (0, "Betula"): "present 2", (0, "Bacillariophyta"): "absent 0", (1, "Betula"): "absent 0", (1, "Bacillariophyta"): "absent 0",
        (2, "Betula"): "present 1", (2, "Bacillariophyta"): "present 1",
    }  # fmt: skip


def test_what_is_no_organism_is_counted_as_left_out_unless_a_name_is_given(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(config, tmp_path / "a", "darwincore", "--json")
    left = json.loads(capsys.readouterr().out)["left_out"]
    assert sum(n for reason, n in left.items() if "'dust'" in reason) == 1
    named = tmp_path / "named.toml"
    named.write_text(config.read_text(encoding="utf-8") + '[export.taxa]\ndust = "Dermatophagoides"\n', encoding="utf-8")
    export(named, tmp_path / "b", "darwincore", "--json")
    assert not any("'dust'" in reason for reason in json.loads(capsys.readouterr().out)["left_out"])
    with zipfile.ZipFile(tmp_path / "b/dwca-box-1.zip") as archive:
        assert b"Dermatophagoides" in archive.read("occurrence.txt")


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert moment("2026-05-04", "--since") == "2026-05-04T00:00:00.000000Z"
    assert moment("2026-05-04T02:00:00+02:00", "--since") == "2026-05-04T00:00:00.000000Z"
    with pytest.raises(InputError, match="--since"):
        moment("yesterday", "--since")


def test_a_detection_goes_with_its_interval_into_exactly_one_of_adjoining_periods(config: Path, tmp_path: Path) -> None:
    edges = ["2026-05-04", "2026-05-05T00:00:30Z", "2026-05-05T00:01:30Z", "2026-05-06"]
    seen: list[str] = []
    for k, (since, until) in enumerate(pairwise(edges)):
        export(config, tmp_path / str(k), "csv", "--since", since, "--until", until)
        intervals = {r["interval_id"] for r in table(tmp_path / str(k) / "intervals.csv")}
        detections = table(tmp_path / str(k) / "detections.csv")
        assert {d["interval_id"] for d in detections} <= intervals
        seen += [d["id"] for d in detections]
    export(config, tmp_path / "all", "csv")
    assert seen == [d["id"] for d in table(tmp_path / "all/detections.csv")]


BAD = {
    "no store": (["--format", "csv"], "no store yet", False),
    "nothing then": (["--format", "csv", "--since", "2030-01-01"], "nothing to export", True),
    "backwards": (["--format", "csv", "--since", "2026-06-01", "--until", "2026-05-01"], "period is empty", True),
}


@pytest.mark.parametrize("case", BAD)
def test_what_can_not_be_exported_is_said_and_leaves_nothing(
    config: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message, there = BAD[case]
    used = config if there else configured(tmp_path)
    assert main(["export", *options, "--out", str(tmp_path / "out"), "--config", str(used)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_with_something_in_it_is_not_written_into_unasked(config: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("mine")
    assert export(config, tmp_path / "out", "csv") == 2
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert export(config, tmp_path / "out", "csv", "--force") == 0
    assert (tmp_path / "out/thesis.txt").read_text() == "mine"


def test_a_row_that_is_no_record_is_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sqlite3

    config = filled(tmp_path)
    with sqlite3.connect(tmp_path / "store/outbox.sqlite") as database:
        database.execute("UPDATE records SET body = ? WHERE seq = 1", (b'{"schema": "holonode.dete',))
    database.close()
    assert export(config, tmp_path / "out", "csv", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["unreadable"], summary["detections"]) == (1, 5)


def test_an_export_never_changes_the_store(tmp_path: Path) -> None:
    config = filled(tmp_path)
    before = {p: p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()}
    for kind in FORMATS:
        export(config, tmp_path / kind, kind)
    assert before == {p: p.read_bytes() for p in (tmp_path / "store").rglob("*") if p.is_file()}


def test_the_site_falls_back_to_the_place_of_the_schedule(tmp_path: Path) -> None:
    filled(tmp_path)
    text = CONFIG.split("[site]")[0] + "[sampling.schedule]\nlatitude_degrees = -10.5\nlongitude_degrees = 20.0\n"
    export(configured(tmp_path, text), tmp_path / "out", "darwincore")
    with zipfile.ZipFile(tmp_path / "out/dwca-box-1.zip") as archive:
        assert b"\t-10.5\t20.0\tEPSG:4326" in archive.read("event.txt")


def test_half_a_position_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path)
    config = configured(tmp_path, CONFIG.replace("longitude_degrees = 8.5\n", ""))
    assert export(config, tmp_path / "out", "csv") == 2
    assert "half a position" in capsys.readouterr().err


def test_events_alone_can_be_exported(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "store", "box-1")
    add_event(outbox, START, "m")
    outbox.close()
    assert export(configured(tmp_path), tmp_path / "out", "csv") == 0
    assert len(table(tmp_path / "out/events.csv")) == 1
    assert table(tmp_path / "out/detections.csv") == []
