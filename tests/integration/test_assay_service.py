"""`holonode run` as a biosensor: a process, a real broker, a calibration record, and what the twin knows to be true."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jsonschema
import numpy as np

from calibration.cli import main as calibrate
from calibration.procedures.dose import measure_dose_response
from device.calibration import CalibrationRecord, read_record, sealed, write_record
from device.instrument import load_instrument
from device.schemas import json_schema
from tests.brokers import Subscriber, broker
from tests.services import Service

CONFIG = """
[device]
id = "test-assay"
instrument = "{instrument}"
[camera]
exposure_us = 1500.0
[sampling]
mode = "assay"
max_intervals = 3
[sampling.assay]
duration_s = 600.0
look_every_s = 300.0
empty_frames = 2
[analysis]
classifier_model = "beads"
reject_below = 0.0
min_esd_um = 6.0
[twin]
realtime = false
scattering = "lorenz-mie"
truth_file = "{truth}"
analyte_per_ul = 300.0
beads_per_ul = 400.0
[twin.concentration_per_m3]
dust = 20_000_000
[storage]
folder = "{store}"
min_free_mb = 0
[calibration]
folder = "{records}"
[mqtt]
url = "{url}"
"""


def small_instrument(folder: Path) -> Path:
    text = (Path(__file__).parents[2] / "calibration/instruments/assay-chamber-ov9281-850nm.toml").read_text()
    path = folder / "small-assay.toml"
    path.write_text(text.replace("width_px = 1280", "width_px = 320").replace("height_px = 800", "height_px = 256"))
    return path


def put_response(folder: Path, instrument: Path) -> None:
    doses = np.array([0.0] * 6 + [20.0] * 4 + [100.0] * 4 + [400.0] * 4 + [1000.0] * 4)
    responses = 0.01 + 1.5 * doses / (doses + 400) + np.random.default_rng(1).normal(0, 0.03, len(doses))
    outcome = measure_dose_response(doses.tolist(), responses.tolist(), duration_s=600.0)
    now = datetime.now(UTC)
    record = CalibrationRecord(
        instrument_id=load_instrument(str(instrument)).id, made_at=now, procedure="dose", values=outcome.values,
        verdict="pass", valid_until=now + timedelta(days=1),
    )  # fmt: skip
    write_record(folder, sealed(record))


def test_an_assay_publishes_its_clumping_and_at_its_end_the_dose(tmp_path: Path) -> None:
    instrument, truth, records = small_instrument(tmp_path), tmp_path / "truth.jsonl", tmp_path / "records"
    put_response(records, instrument)
    with broker(tmp_path / "broker") as running:
        listener, config = Subscriber(running.port), tmp_path / "box.toml"
        config.write_text(
            CONFIG.format(instrument=instrument, truth=truth, store=tmp_path / "store", records=records, url=running.url)
        )
        status, output = Service(config).run(timeout_s=200)
        messages = listener.drain()
        listener.close()
    assert status == 0, output
    intervals = [payload for topic, payload, _ in messages if topic.endswith("/intervals")]
    assert [i["mode"] for i in intervals] == ["assay"] * 3
    for interval in intervals:
        jsonschema.validate(interval, json_schema("interval"))
        assert interval["concentration"]["total"]["unit"] == "mL^-1"
    clumping = [i["aggregation"] for i in intervals]
    assert [round(a["elapsed_s"]) for a in clumping] == [0, 300, 600]
    known = [json.loads(line) for line in truth.read_text().splitlines()]
    last = [t["beads"] for t in known if t["frame"] == max(t["frame"] for t in known)]
    # Those that the border cuts, and single beads taken for debris, are left out.
    assert 0.6 * sum(last) < clumping[-1]["beads"] < 1.2 * sum(last)
    assert abs(clumping[-1]["mean_size"] - sum(last) / len(last)) < 0.3
    assert clumping[-1]["bonds_per_bead"] > 0.1
    dose = intervals[-1]["dose"]
    assert [i["dose"] for i in intervals[:2]] == [None, None]
    assert dose["unit"] == "uL^-1"
    assert dose["low"] > 0
    events = [payload for topic, payload, _ in messages if topic.endswith("/events")]
    assert "assay_result" in [event["code"] for event in events]


def test_an_assay_that_was_cut_off_goes_on_with_the_beads_that_it_had(tmp_path: Path) -> None:
    instrument = small_instrument(tmp_path)
    with broker(tmp_path / "broker") as running:
        listener, config = Subscriber(running.port), tmp_path / "box.toml"
        for intervals in (2, 1):
            text = CONFIG.replace("max_intervals = 3", f"max_intervals = {intervals}")
            config.write_text(
                text.format(
                    instrument=instrument, truth=tmp_path / "truth.jsonl", store=tmp_path / "store", records=tmp_path / "records",
                    url=running.url,
                )
            )  # fmt: skip
            status, output = Service(config).run(timeout_s=200)
            assert status == 0, output
        messages = listener.drain()
        listener.close()
    beads = [payload["aggregation"]["beads"] for topic, payload, _ in messages if topic.endswith("/intervals")]
    assert len(beads) == 3
    assert beads[2] > 0.6 * beads[1] > 0
    assert "assay_resumed" in [payload["code"] for topic, payload, _ in messages if topic.endswith("/events")]


def test_known_doses_in_a_table_become_a_calibration_record(tmp_path: Path) -> None:
    table, doses = tmp_path / "known.csv", [0.0] * 6 + [10.0] * 4 + [40.0] * 4 + [160.0] * 4
    rng = np.random.default_rng(2)
    rows = [f"{d},{0.01 + d / (d + 150) + rng.normal(0, 0.01):.5f}" for d in doses]
    table.write_text("\n".join(["dose_per_ul,bonds_per_bead", *rows]) + "\n")
    arguments = ["dose", str(table), "--config", "simulated-assay", "--out", str(tmp_path / "records"), "--yes"]
    assert calibrate(arguments) == 0
    (path,) = (tmp_path / "records").glob("dose-*.toml")
    record = read_record(path)
    assert record.verdict == "pass"
    assert 0 < record.values["limit_of_detection_per_ul"].value < 40
    assert record.values["duration_s"].value == 1200.0


def test_doses_and_a_table_at_once_or_neither_is_refused(tmp_path: Path) -> None:
    assert calibrate(["dose", "--config", "simulated-assay", "--out", str(tmp_path), "--yes"]) == 2


def test_an_instrument_that_makes_no_assays_gives_no_dose_response(tmp_path: Path) -> None:
    assert calibrate(["dose", "--doses-per-ul", "0", "--out", str(tmp_path), "--yes"]) == 2
