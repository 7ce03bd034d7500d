"""The slope that outliers don't turn, against scipy's and against what it promises."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from device.analysis.theil_sen import theil_sen

figures = st.floats(-1e3, 1e3, allow_nan=False)


@given(st.lists(figures, min_size=4, max_size=20), st.integers(0, 2**16))
def test_slope_and_interval_are_those_of_scipy(y: list[float], seed: int) -> None:
    x = np.cumsum(np.random.default_rng(seed).integers(1, 4, len(y))).astype(float)
    ours, theirs = theil_sen(x.tolist(), y), scipy.stats.theilslopes(y, x, alpha=0.99)
    assert ours is not None
    assert ours.value == pytest.approx(theirs.slope)
    if len(y) >= 8 and len(set(y)) == len(y):
        assert ours.low == pytest.approx(theirs.low_slope)
        assert ours.high == pytest.approx(theirs.high_slope)


def test_a_wild_day_in_six_does_not_turn_it() -> None:
    days = list(range(12))
    level = [-0.01 * day for day in days]
    level[3], level[8] = 0.5, -0.9
    slope = theil_sen(days, level)
    assert slope is not None
    assert slope.value == pytest.approx(-0.01, abs=0.001)


def test_nothing_is_called_certain_more_often_than_once_in_a_hundred() -> None:
    rng = np.random.default_rng(1)
    slopes = [theil_sen(range(14), rng.normal(size=14).tolist()) for _ in range(2000)]
    assert sum(slope.certain for slope in slopes if slope) / 2000 < 0.02


def test_two_days_make_no_slope() -> None:
    assert theil_sen([1, 1, 2], [1, 2, 3]) is None
