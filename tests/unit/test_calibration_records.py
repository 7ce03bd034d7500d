from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from device.calibration import (
    CalibrationRecord,
    Quantity,
    commissioning_record,
    load_calibrations,
    read_record,
    sealed,
    write_record,
)
from device.errors import InputError
from device.instrument import Instrument, load_instrument
from device.service.health_monitor import expiry

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def instrument() -> Instrument:
    return load_instrument("bioaerosol-imx219-850nm")


def a_record(instrument: Instrument, **changes: object) -> CalibrationRecord:
    plain = CalibrationRecord(
        instrument_id=instrument.id,
        made_at=NOW - timedelta(days=1),
        procedure="distance",
        operator="someone",
        values={"distance_um": Quantity(value=503.25, uncertainty=1.5, unit="um")},
        residuals={"depth_scatter_um": 0.4},
        verdict="pass",
        valid_until=NOW + timedelta(days=30),
        sources=["ab" * 32],
    )
    return sealed(msgspec.structs.replace(plain, **changes))


def distance(value: float, uncertainty: float = 1.5) -> dict[str, Quantity]:
    return {"distance_um": Quantity(value=value, uncertainty=uncertainty, unit="um")}


def test_a_record_comes_back_as_it_was_written(tmp_path: Path, instrument: Instrument) -> None:
    record = a_record(instrument)
    assert read_record(write_record(tmp_path, record)) == record


def test_a_valid_record_replaces_the_nominal_distance(tmp_path: Path, instrument: Instrument) -> None:
    write_record(tmp_path, a_record(instrument))
    calibrated = load_calibrations(tmp_path, instrument, NOW)
    assert calibrated.instrument.optics.distance_um == 503.25
    assert calibrated.instrument.optics.distance_uncertainty_um == 1.5
    assert calibrated.id is not None
    assert calibrated.refused == ()


def test_no_records_leave_the_instrument_as_it_is(tmp_path: Path, instrument: Instrument) -> None:
    calibrated = load_calibrations(tmp_path / "none", instrument, NOW)
    assert calibrated.instrument == instrument
    assert calibrated.id is None


def test_an_edited_record_is_refused(tmp_path: Path, instrument: Instrument) -> None:
    path = write_record(tmp_path, a_record(instrument))
    path.write_text(path.read_text().replace("503.25", "504.25"))
    with pytest.raises(InputError, match="changed after it was made"):
        read_record(path)
    calibrated = load_calibrations(tmp_path, instrument, NOW)
    assert calibrated.instrument == instrument
    assert "changed after it was made" in calibrated.refused[0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"valid_until": NOW - timedelta(hours=1)}, "expired on"),
        ({"instrument_id": "0" * 16}, "made for instrument"),
        ({"verdict": "fail", "reasons": ["only 3 usable beads"]}, "only 3 usable beads"),
        ({"made_at": NOW + timedelta(days=2)}, "made in the future"),
        ({"values": distance(900.0)}, "contradicts the instrument file"),
    ],
)
def test_a_record_that_does_not_hold_is_refused_with_its_reason(
    tmp_path: Path, instrument: Instrument, changes: dict[str, object], reason: str
) -> None:
    write_record(tmp_path, a_record(instrument, **changes))
    calibrated = load_calibrations(tmp_path, instrument, NOW)
    assert calibrated.instrument == instrument
    assert len(calibrated.refused) == 1
    assert reason in calibrated.refused[0]


def test_a_record_that_contradicts_an_earlier_one_is_refused(tmp_path: Path, instrument: Instrument) -> None:
    first = a_record(instrument, made_at=NOW - timedelta(days=5), values=distance(500.0))
    write_record(tmp_path, first)
    write_record(tmp_path, a_record(instrument, values=distance(530.0)))
    calibrated = load_calibrations(tmp_path, instrument, NOW)
    assert calibrated.instrument.optics.distance_um == 500.0
    assert first.id in calibrated.refused[0]


def test_the_newer_of_two_agreeing_records_counts(tmp_path: Path, instrument: Instrument) -> None:
    write_record(tmp_path, a_record(instrument, made_at=NOW - timedelta(days=5), values=distance(500.0)))
    write_record(tmp_path, a_record(instrument, values=distance(502.0)))
    assert load_calibrations(tmp_path, instrument, NOW).instrument.optics.distance_um == 502.0


def efficiency(name: str, value: float) -> dict[str, Quantity]:
    return {name: Quantity(value=value, uncertainty=0.02, unit="counted over present")}


def test_efficiencies_of_other_size_classes_hold_beside_each_other_and_the_newer_of_one_class_counts(
    tmp_path: Path, instrument: Instrument
) -> None:
    small, large = "detection_efficiency_4_8_um", "detection_efficiency_8_16_um"
    for days, values in ((9, efficiency(small, 0.5)), (5, efficiency(large, 0.9)), (1, efficiency(small, 0.6))):
        write_record(
            tmp_path, a_record(instrument, procedure="counts", made_at=NOW - timedelta(days=days), values=values)
        )  # fmt: skip
    figures = load_calibrations(tmp_path, instrument, NOW).figures("counts")
    assert figures == {small: (0.6, 0.02), large: (0.9, 0.02)}


def test_the_commissioning_record_is_the_first_one_even_when_expired(tmp_path: Path, instrument: Instrument) -> None:
    level = {"background_level": Quantity(value=0.5, uncertainty=0.01, unit="of full scale")}
    old = a_record(
        instrument, procedure="flat", values=level, made_at=NOW - timedelta(days=400), valid_until=NOW - timedelta(days=200)
    )
    write_record(tmp_path, old)
    write_record(tmp_path, a_record(instrument, procedure="flat", values=level))
    assert commissioning_record(tmp_path, instrument) == old


def test_a_measured_flow_makes_volumes_as_sure_as_it_was_measured(tmp_path: Path, instrument: Instrument) -> None:
    nominal = instrument.fluidics.flow_ml_min
    values = {"flow_ml_min": Quantity(value=1.1 * nominal, uncertainty=0.022 * nominal, unit="mL/min")}
    write_record(tmp_path, a_record(instrument, procedure="flow", values=values))
    fluidics = load_calibrations(tmp_path, instrument, NOW).instrument.fluidics
    assert fluidics.flow_ml_min == pytest.approx(1.1 * nominal)
    assert fluidics.flow_relative_uncertainty == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("days", "status", "said"), [(30, "ok", "1 records"), (13, "warning", "expires on"), (-1, "warning", "has expired")]
)
def test_health_tells_of_a_record_that_ends_in_time_for_a_visit(
    tmp_path: Path, instrument: Instrument, days: int, status: str, said: str
) -> None:
    write_record(tmp_path, a_record(instrument, valid_until=NOW + timedelta(days=30)))
    check = expiry(load_calibrations(tmp_path, instrument, NOW), NOW + timedelta(days=30 - days))
    assert (check.status, said in check.message) == (status, True)
