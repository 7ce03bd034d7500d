"""Answer sheets say what holds, and beads are matched one to one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from calibration.cli import _PROCEDURES
from calibration.procedures.dose import measure_dose_response
from calibration.rehearsal import CASES, AnswerLine, answer_sheet, hidden_dose, table, told_dose
from calibration.targets import found_share, hidden_instrument, put_suspension
from device.calibration import Quantity
from device.frames import Exposure
from device.instrument import load_instrument
from device.twin.world import SimulatedTime, TwinWorld


def test_every_calibration_is_rehearsed() -> None:
    assert {case.options[0] for case in CASES.values()} == set(_PROCEDURES)
    assert len(CASES) == 10


def test_a_sheet_says_what_holds_and_what_is_wrong() -> None:
    values = {
        name: Quantity(value=value, uncertainty=0.1, unit="um") for name, value in (("a_um", 1.1), ("b_um", 1.3), ("c_um", 1.5))
    }
    sheet = answer_sheet(values | {"d_um": values["a_um"]}, {"a_um": 1.0, "b_um": 1.0, "c_um": 1.0})
    assert [(line.holds, line.wrong) for line in sheet] == [(True, False), (False, False), (False, True)]
    text = table([("distance", line) for line in sheet]).splitlines()
    assert [line.split()[-1] for line in text[1:]] == ["yes", "no", "no"]
    assert AnswerLine("e", 1.0, Quantity(value=1.1, uncertainty=0.0, unit="1")).wrong


def test_a_hidden_instrument_differs_within_what_its_file_states_and_is_the_same_again() -> None:
    nominal = load_instrument("bioaerosol-imx219-850nm")
    (one, _), (again, _), (other, _) = (hidden_instrument(nominal, seed) for seed in (4, 4, 5))
    assert one == again
    assert one.optics.distance_um not in (nominal.optics.distance_um, other.optics.distance_um)
    drawn = [hidden_instrument(nominal, seed)[0].optics.distance_um for seed in range(200)]
    assert np.mean(drawn) == pytest.approx(nominal.optics.distance_um, abs=3)
    assert np.std(drawn) == pytest.approx(nominal.optics.distance_uncertainty_um, rel=0.2)


def test_the_share_that_was_found_counts_each_bead_once(tmp_path: Path) -> None:
    truth = tmp_path / "truth.jsonl"
    told = [
        {"frame": 0, "x_um": 10.0, "y_um": 10.0},
        {"frame": 0, "x_um": 50.0, "y_um": 10.0},
        {"frame": 1, "x_um": 9.0, "y_um": 9.0},
    ]
    truth.write_text("".join(json.dumps(line) + "\n" for line in told))
    twice = np.array([[10.0, 11.0], [11.0, 10.0]])
    assert found_share([twice, np.zeros((0, 2))], truth, 15.0) == pytest.approx(1 / 3)
    assert found_share([np.array([[50.0, 12.0], [10.0, 11.0]]), np.array([[9.0, 9.0]])], truth, 15.0) == 1.0


def test_a_suspension_is_as_dense_as_stated_and_moves_with_the_pump(tmp_path: Path) -> None:
    instrument = load_instrument("flow-imx296-530nm")
    small = msgspec.structs.replace(instrument, sensor=msgspec.structs.replace(instrument.sensor, width_px=128, height_px=128))
    time, truth = SimulatedTime(), tmp_path / "truth.jsonl"
    world = TwinWorld(small, {}, 2, monotonic=time.monotonic, sleep=time.sleep)
    put_suspension(world, small, diameter_um=20.0, contrast=0.18, per_ml=20_000, truth_file=truth)
    for _ in range(20):
        world.set_flow(1.5)
        time.sleep(1.0)
        world.expose(Exposure(200.0))
    there = [json.loads(line) for line in truth.read_text().splitlines()]
    expected = 20 * 20_000 * (128 * 3.45) ** 2 * 800 * 1e-12
    assert len(there) == pytest.approx(expected, abs=5 * expected**0.5)
    assert {line["label"] for line in there} == {"bead"}
    assert len({line["particle"] for line in there}) > 0.8 * len(there)


def test_a_hidden_dose_is_told_with_its_interval_or_not_at_all() -> None:
    doses = [0.0, 0.0, 0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0]
    responses = [0.010, 0.012, 0.008, 0.045, 0.09, 0.17, 0.31, 0.52, 0.80]
    values = measure_dose_response(doses, responses, duration_s=1200.0).values
    told = told_dose(values, 0.17)["dose_per_ul"]
    assert told.value == pytest.approx(40.0, rel=0.2)
    assert 0 < told.uncertainty < 30
    assert not told_dose(values, 0.0)
    assert not told_dose(values, None)
    assert not told_dose({}, 0.17)
    assert all(15 <= hidden_dose(seed, doses) <= 160 for seed in range(50))
