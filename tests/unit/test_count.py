"""Counts and concentrations."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.count import concentration, count_labels, poisson_interval
from device.errors import InputError


@pytest.mark.parametrize(
    ("n", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.67), (10, 4.795, 18.39), (100, 81.36, 121.6)]
)
def test_intervals_are_those_of_garwoods_table(n: int, low: float, high: float) -> None:
    interval = poisson_interval(n)
    assert (interval.low, interval.high) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


@pytest.mark.parametrize("mean", [0.5, 3.0, 12.0, 60.0])
def test_the_interval_covers_the_mean_at_least_19_times_in_20(mean: float) -> None:
    draws = np.random.default_rng(1).poisson(mean, 4000)
    covered = [c.low <= mean <= c.high for c in map(poisson_interval, draws.tolist())]
    assert np.mean(covered) >= 0.94


def test_known_classes_are_counted_even_when_none_was_seen() -> None:
    counts = count_labels(["birch", "unknown", "birch"], ["birch", "grass"])
    assert {label: count.n for label, count in counts.items()} == {"birch": 2, "grass": 0, "unknown": 1, "total": 3}


def test_no_particle_still_bounds_the_concentration() -> None:
    result = concentration(poisson_interval(0), 0.01, 0.0, "m^-3")
    assert (result.value, result.low) == (0, 0)
    assert result.high == pytest.approx(368.9, rel=1e-3)


def test_an_uncertain_volume_widens_the_interval_on_both_sides() -> None:
    sure, unsure = (concentration(poisson_interval(50), 2.0, u, "mL^-1") for u in (0.0, 0.1))
    assert unsure.low < sure.low < sure.value < sure.high < unsure.high
    assert unsure.value == sure.value == 25


@pytest.mark.parametrize("volume", [0.0, -1.0])
def test_a_concentration_without_a_volume_is_refused(volume: float) -> None:
    with pytest.raises(InputError, match="needs a volume"):
        concentration(poisson_interval(3), volume, 0.1, "m^-3")


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        poisson_interval(-1)
