"""No score where no classifier spoke, no pass where a check was promised and not made; both said."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from scipy.special import expit

from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.report import Losses, RecordProvenance, SampledVolume, detection_records, interval_record
from device.cli import main
from device.config import AnalysisConfig, Config
from device.errors import InputError
from device.frames import Clock, Hologram
from device.optics.geometry import Geometry
from device.optics.propagation import propagate
from device.records import Consistency, Detection, FrameCounts, from_json, to_json
from device.rig.models import build_pipeline, model_store
from device.sampling.findings import Findings, LookedAt
from device.schemas import json_schema
from device.service.recorder import Recorder
from device.service.timekeeper import Beginning
from device.storage.outbox import Outbox
from device.storage.review import _reason
from tests.stores import START, configured, detection, interval

FAR = Geometry(wavelength_um=0.532, pitch_um=6.5, distance_um=9000.0)
NEAR = Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0)
SIDE = 400
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ORIGIN = RecordProvenance("box", "spool", "config", "pipeline", {}, "flow")


def hologram() -> Hologram:
    """Three discs."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    places = [(100, 80), (320, 200), (200, 330)]
    density = sum(expit((8 - np.hypot(x - c, y - r)) / 0.6) for c, r in places)
    at_sensor = propagate((1 - 0.9 * density).astype(np.complex64), pitch_um=1.12, wavelength_um=0.85, distance_um=500.0)
    noise = 1 + 0.01 * np.random.default_rng(1).standard_normal(density.shape)
    return Hologram((np.abs(at_sensor) ** 2 * noise).astype(np.float32), NEAR, 0.01, NOON)


class Same:
    """A network that gives back what it is given."""

    tile_px, margin_px, multiple_px = 256, 48, 0

    def run(self, tile: np.ndarray) -> np.ndarray:
        return tile


def records_of(pipeline: Pipeline) -> list[Detection]:
    return detection_records(ORIGIN, hologram(), pipeline.analyse(hologram()), 1, "i")


def test_a_classifier_that_does_not_cover_the_optics_leaves_no_score_and_no_pass() -> None:
    settings = AnalysisConfig(reconstruction="backpropagate")
    pipeline, labels = build_pipeline(model_store(Config()), settings, FAR, strict=False)
    assert labels == ("particle",)
    records = records_of(pipeline)
    assert records
    for record in records:
        assert (record.label, record.score, record.probabilities, record.prediction_set) == ("particle", None, {}, ())
        assert "bioaerosol" in str(record.unnamed)
        assert "wavelength_um" in str(record.unnamed)
        assert record.qc in (2, 3)
        assert "classifier" not in record.models
    with pytest.raises(InputError, match="doesn't cover"):
        build_pipeline(model_store(Config()), settings, FAR)


@pytest.mark.parametrize("said", ["", "none"])
def test_counted_and_not_named_can_be_asked_for(said: str) -> None:
    settings = AnalysisConfig(reconstruction="backpropagate", classifier_model=said)
    pipeline, _ = build_pipeline(model_store(Config()), settings, NEAR)
    records = records_of(pipeline)
    assert {(r.score, r.unnamed) for r in records} == {(None, "no classifier is configured")}
    assert {r.qc for r in records} == {1}


def test_a_record_without_a_score_is_valid_by_the_published_schema() -> None:
    settings = AnalysisConfig(reconstruction="backpropagate", classifier_model="none")
    (record, *_) = records_of(build_pipeline(model_store(Config()), settings, NEAR)[0])
    again = json.loads(to_json(record))
    assert again["score"] is None
    jsonschema.validate(again, json_schema("detection"))
    assert from_json(to_json(record), Detection) == record
    with pytest.raises(InputError):
        from_json(to_json(record).replace(b'"score":null', b'"score":1.5'), Detection)


@pytest.mark.parametrize("most", [2, 3])
def test_a_frame_with_more_particles_than_are_checked_says_so_in_every_record(most: int) -> None:
    pipeline = Pipeline(PipelineSettings(refine_iterations=2, refine_most=most), Same(), None, {})
    analysis = pipeline.analyse(hologram())
    found = len(analysis.particles)
    assert found >= 3
    assert analysis.unchecked == (found > most)
    records = detection_records(ORIGIN, hologram(), analysis, 1, "i")
    reasons = {record.consistency.reason for record in records}
    if analysis.unchecked:
        assert reasons == {f"{found} particles in the frame, at most {most} are checked (analysis.refine_most_particles)"}
        assert {record.qc for record in records} <= {2, 3}
    assert analysis.counts == FrameCounts(captured=1, analysed=1, unchecked=int(found > most))


@pytest.mark.parametrize(("unchecked", "owed", "qc"), [(0, False, 1), (1, False, 2), (0, True, 2)])
def test_counts_that_were_not_checked_or_named_as_promised_are_not_evaluated(unchecked: int, owed: bool, qc: int) -> None:
    record = interval_record(
        ORIGIN, seq=1, interval_id="i", span=(NOON, NOON), clock=Clock(), labels=["particle"] * 9, names_owed=owed,
        frames=FrameCounts(captured=1, analysed=1, unchecked=unchecked),
    )  # fmt: skip
    assert record.qc == qc


def test_replay_says_that_particles_are_counted_and_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "one.npy", hologram().intensity * 1000)
    optics = ["--wavelength-um", "0.6", "--pitch-um", "1.12", "--distance-um", "700", "--method", "backpropagate"]
    assert main(["replay", str(tmp_path / "one.npy"), "--out", str(tmp_path / "out"), *optics]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    (first, *_) = [json.loads(line) for line in (tmp_path / "out" / "detections.jsonl").read_text().splitlines()]
    assert first["score"] is None
    assert first["unnamed"] == run["unnamed"]
    assert "counted, not named: the classifier" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "intervals.jsonl").read_text())["qc"] != 1


def test_replay_counts_frames_with_more_particles_than_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "one.npy", hologram().intensity * 1000)
    config = tmp_path / "box.toml"
    config.write_text('[analysis]\nclassifier_model = "none"\nrefine_most_particles = 1\n')
    optics = ["--wavelength-um", "0.85", "--pitch-um", "1.12", "--distance-um", "500"]
    assert main(["replay", str(tmp_path / "one.npy"), "--out", str(tmp_path / "out"), "--config", str(config), *optics]) == 0
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["frames_unchecked"] == 1
    assert run["frames"][0]["unchecked"]
    assert "too many to be refined and checked" in capsys.readouterr().out
    interval = json.loads((tmp_path / "out" / "intervals.jsonl").read_text())
    assert interval["frames"]["unchecked"] == 1


def test_what_no_classifier_named_is_nothing_to_review_for_uncertainty(tmp_path: Path) -> None:
    with closing(Outbox(tmp_path / "store", "box-1")) as outbox:
        one = detection(outbox, 1, START, "i", "particle")
    bare = msgspec.structs.replace(one, score=None, probabilities={}, prediction_set=(), unnamed="why")
    assert _reason(one, 0.0) is None
    assert _reason(bare, 0.0) is None
    assert _reason(msgspec.structs.replace(bare, consistency=Consistency(flag=4)), 0.0) == "inconsistent"


@pytest.mark.parametrize("kind", ["csv", "parquet", "netcdf", "darwincore", "influx", "ecotaxa"])
def test_every_export_takes_records_without_a_score(tmp_path: Path, kind: str) -> None:
    config = configured(tmp_path)
    with closing(Outbox(tmp_path / "store", "box-1")) as outbox:

        def build(first: int) -> list[object]:
            one = detection(outbox, first, START, "interval-1", "particle")
            bare = msgspec.structs.replace(one, score=None, probabilities={}, prediction_set=(), unnamed="it doesn't cover")
            end = START + timedelta(seconds=20)
            return [bare, interval(outbox, first + 1, end, "interval-1", ["particle"], looked=True, unit="m^-3")]

        outbox.commit(build)  # type: ignore[arg-type]
    out = tmp_path / "out"
    status = main(["export", "--format", kind, "--out", str(out), "--config", str(config)])
    # EcoTaxa takes pictures, and none were kept here.
    assert status == (2 if kind == "ecotaxa" else 0)
    if kind == "csv":
        (row,) = csv.DictReader((out / "detections.csv").read_text(encoding="utf-8").splitlines())
        assert (row["score"], row["unnamed"]) == ("", "it doesn't cover")


def test_the_service_tells_of_frames_that_were_not_checked(tmp_path: Path) -> None:
    analysis = Pipeline(PipelineSettings(refine_iterations=2, refine_most=1), Same(), None, {}).analyse(hologram())
    looked = LookedAt(hologram(), replace(analysis, reconstruction=None), ())
    with closing(Outbox(tmp_path / "store", "box")) as outbox:
        said: list[str] = []
        recorder = Recorder(outbox, None, said.append)
        began = Beginning.at(outbox.clock)
        found = Findings((looked,), analysis.counts, SampledVolume(1.0, 0.1, "mL^-1"), Losses(), "1 mL")
        recorder.interval(replace(ORIGIN, spool_id=outbox.spool_id), found, began, {})
        bodies = [json.loads(row.body) for row in outbox.pending(100)]
    assert recorder.tally.frames_unchecked == 1
    assert any("more particles than are checked" in line for line in said)
    assert [body["code"] for body in bodies if body["schema"] == "holonode.event/2"] == ["frames_unchecked"]
    (one,) = [body for body in bodies if body["schema"] == "holonode.interval/2"]
    assert (one["frames"]["unchecked"], one["qc"] != 1) == (1, True)
