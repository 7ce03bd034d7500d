"""Doses from responses: the curve, its inverse, intervals that cover, limits, and the record it is kept in."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.procedures.dose import measure_dose_response, read_table
from device.analysis.dose_response import CURVE_VALUES, DoseResponse, fit_dose_response, from_values, logistic
from device.errors import InputError

TRUE = np.array([0.01, 0.8, math.log(80.0), math.log(1.1)])
DOSES = np.array([0.0] * 12 + [5.0] * 6 + [10.0] * 6 + [20.0] * 6 + [40.0] * 6 + [80.0] * 6 + [160.0] * 6)


def seen(doses: np.ndarray, rng: np.random.Generator, beads: int = 120) -> np.ndarray:
    return rng.poisson(logistic(TRUE, doses) * beads) / beads


def known(rise: float = 0.8, variance: float = 1e-4) -> DoseResponse:
    return DoseResponse((0.01, rise, math.log(80.0), math.log(1.1)), 1e-8 * np.eye(4), variance, 1e-3, 160.0, 1000)


@given(st.floats(0.5, 150.0))
def test_the_inverse_gives_back_the_dose(dose: float) -> None:
    assert known().inverse(float(known().response(dose))) == pytest.approx(dose, rel=1e-9)


@pytest.mark.parametrize(("response", "expected"), [(0.009, None), (0.81, None), (0.01 + 0.4, 80.0)])
def test_a_response_off_the_curve_has_no_dose(response: float, expected: float | None) -> None:
    assert known().inverse(response) == (None if expected is None else pytest.approx(expected))


def test_no_dose_responds_with_the_bottom_and_endless_dose_with_the_plateau() -> None:
    assert float(logistic(TRUE, 0.0)) == pytest.approx(0.01)
    assert float(logistic(TRUE, 1e300)) == pytest.approx(0.81)


def test_a_fit_finds_the_curve_it_was_drawn_from() -> None:
    fitted = fit_dose_response(DOSES.tolist(), logistic(TRUE, DOSES).tolist())
    assert fitted.response(np.array([0.0, 7.0, 33.0, 120.0])) == pytest.approx(
        logistic(TRUE, np.array([0.0, 7.0, 33.0, 120.0])), rel=1e-3
    )


def test_intervals_of_fresh_assays_cover_their_dose_as_often_as_they_say() -> None:
    rng, covered, told = np.random.default_rng(1), 0, 0
    for _ in range(12):
        curve = fit_dose_response(DOSES.tolist(), seen(DOSES, rng).tolist())
        for dose in (0.0, 5.0, 15.0, 30.0, 60.0, 100.0):
            for response in seen(np.full(4, dose), rng):
                found = curve.dose(float(response))
                covered += found.low <= dose <= (math.inf if found.high is None else found.high)
                told += 1
    assert 0.90 <= covered / told <= 0.99


def test_no_figure_is_made_up_outside_of_what_was_calibrated() -> None:
    below, above, between = known().dose(0.0), known().dose(2.0), known().dose(0.3)
    assert (below.value, below.low, below.kind) == (None, 0.0, "below the limit of detection")
    assert below.high is not None
    assert (above.value, above.high, above.kind) == (None, None, "above the range")
    assert above.low > 100
    assert between.value is not None
    assert between.low < between.value < (between.high or 0.0)
    assert between.kind == "measured"


def test_a_response_that_blanks_have_gives_a_limit_and_no_dose() -> None:
    found = known().dose(0.02)
    assert (found.value, found.low, found.kind) == (None, 0.0, "below the limit of detection")
    assert found.high is not None
    assert 0 < found.high < 20


def test_a_response_just_above_that_of_the_largest_dose_gives_a_limit_and_no_dose() -> None:
    found = known().dose(float(known().response(160.0)) + 0.01)
    assert (found.value, found.high, found.kind) == (None, None, "above the range")
    assert 100 < found.low < 160


def test_near_the_plateau_the_interval_has_no_upper_end() -> None:
    found = known(variance=2e-3).dose(float(known().response(140.0)))
    assert found.high is None
    assert found.low > 30


def test_an_assay_less_sure_than_those_of_the_calibration_widens_the_interval() -> None:
    sure, unsure = known().dose(0.3), known().dose(0.3, uncertainty=0.1)
    assert unsure.low < sure.low
    assert (unsure.high or math.inf) > (sure.high or math.inf)


def test_at_the_limit_of_detection_one_assay_in_twenty_is_taken_for_a_blank() -> None:
    curve, rng = known(), np.random.default_rng(2)
    limits = curve.limits()
    assert limits.detection_per_ul is not None
    blanks = rng.normal(float(curve.response(0.0)), float(curve.scatter(0.0)), 20_000)
    lowest = rng.normal(float(curve.response(limits.detection_per_ul)), float(curve.scatter(limits.detection_per_ul)), 20_000)
    assert np.mean(blanks > limits.blank_response) == pytest.approx(0.05, abs=0.006)
    assert np.mean(lowest < limits.blank_response) == pytest.approx(0.05, abs=0.006)


def test_a_range_that_never_rises_above_blanks_has_no_limit_of_detection() -> None:
    assert known(rise=0.02, variance=1e-2).limits().detection_per_ul is None


@pytest.mark.parametrize(
    ("doses", "responses"),
    [
        ([0.0, 0.0, 10.0], [0.0, 0.0, 0.1]),
        ([5.0, 10.0, 20.0] * 4, [0.1, 0.2, 0.3] * 4),
        ([0.0] * 6 + [10.0] * 6, [0.0] * 6 + [0.1] * 6),
        ([0.0, 0.0, 5.0, 10.0, 20.0] * 2, [0.0, math.nan, 0.1, 0.2, 0.3] * 2),
        ([-1.0, 0.0, 0.0, 5.0, 10.0, 20.0, 5.0, 10.0], [0.0] * 8),
    ],
)
def test_too_few_or_odd_assays_are_refused(doses: list[float], responses: list[float]) -> None:
    with pytest.raises(InputError):
        fit_dose_response(doses, responses)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_curve_survives_its_calibration_record(seed: int) -> None:
    curve = fit_dose_response(DOSES.tolist(), seen(DOSES, np.random.default_rng(seed)).tolist())
    back = from_values(curve.values())
    assert back is not None
    assert back.parameters == curve.parameters
    assert np.allclose(back.covariance, curve.covariance, rtol=1e-9, atol=1e-12)
    assert back.dose(0.2) == curve.dose(0.2)


def test_a_record_that_lacks_a_figure_is_no_curve() -> None:
    values = known().values()
    del values[CURVE_VALUES[0]]
    assert from_values(values) is None


def test_the_procedure_passes_good_assays_and_its_record_gives_the_curve_back() -> None:
    outcome = measure_dose_response(DOSES.tolist(), seen(DOSES, np.random.default_rng(3)).tolist(), duration_s=1200.0)
    assert outcome.passed, outcome.reasons
    assert outcome.values["limit_of_detection_per_ul"].value < 40
    assert outcome.values["duration_s"].value == 1200.0
    figures = {name: (q.value, q.uncertainty) for name, q in outcome.values.items()}
    assert from_values(figures) is not None


def test_beads_that_dont_respond_fail_the_procedure() -> None:
    rng = np.random.default_rng(4)
    outcome = measure_dose_response(DOSES.tolist(), rng.normal(0.01, 0.01, len(DOSES)).tolist(), duration_s=1200.0)
    assert not outcome.passed


@pytest.mark.parametrize(
    "text", ["", "dose,answer\n1,2\n", "dose_per_ul,bonds_per_bead\n0,much\n", "dose_per_ul,bonds_per_bead\n0\n"]
)
def test_a_table_without_known_doses_is_refused_or_empty(tmp_path: Path, text: str) -> None:
    table = tmp_path / "known.csv"
    table.write_text(text)
    if text:
        with pytest.raises(InputError, match="known doses"):
            read_table(table)
    else:
        assert read_table(table) == ([], [])


def test_a_table_is_read() -> None:
    folder = Path(__file__).parent
    with pytest.raises(InputError, match="can't be read"):
        read_table(folder / "no-such.csv")
