"""Counts and concentrations: intervals that cover what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.stats import poisson

from device.analysis.count import concentration, count_labels, mean_interval, poisson_interval
from device.analysis.efficiency import DetectionEfficiency, Recovered
from device.analysis.overlap import Overlap, clumps, overlap_of
from device.errors import InputError


def coverage(mean: float, sigma: float, seed: int = 1, draws: int = 4000) -> float:
    """Probability that the interval of a count of this mean covers it, its scale known to sigma (log-normal)."""
    scale = np.exp(sigma * np.random.default_rng(seed).normal(size=draws if sigma else 1))
    total = 0.0
    # What lies beyond has a probability below 1e-6.
    for n in range(max(int(mean - 5.5 * mean**0.5), 0), int(mean + 5.5 * mean**0.5 + 10)):
        low, high = mean_interval(float(n), sigma)
        total += poisson.pmf(n, mean) * float(np.mean((low <= mean * scale) & (mean * scale <= high)))
    return total


@pytest.mark.parametrize("n", [1, 5, 10, 100])
def test_half_of_the_counts_own_probability_lies_beyond_either_end(n: int) -> None:
    interval = poisson_interval(n)
    for end, tail in ((interval.high, 0.025), (interval.low, 0.975)):
        assert poisson.cdf(n - 1, end) + 0.5 * poisson.pmf(n, end) == pytest.approx(tail, abs=1e-6)


def test_no_particle_bounds_the_mean_to_three_as_the_limit_of_one_side_does() -> None:
    assert poisson_interval(0).high == pytest.approx(-np.log(0.05), rel=1e-6)


def test_over_all_means_the_interval_covers_19_times_in_20() -> None:
    found = [coverage(mean, 0.0) for mean in np.geomspace(4, 100, 60)]
    assert 0.945 <= float(np.mean(found)) <= 0.96
    assert min(found) > 0.915


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("mean", [3.0, 8.0, 30.0, 300.0])
def test_with_an_uncertain_volume_it_covers_93_to_97_percent_whichever_dominates(mean: float, sigma: float) -> None:
    assert 0.93 <= coverage(mean, sigma) <= 0.97


def test_large_counts_go_over_into_the_log_normal_without_a_step() -> None:
    below, above = mean_interval(4999.0, 0.05), mean_interval(5001.0, 0.05)
    assert np.allclose(below, above, rtol=2e-3)


def test_known_classes_are_counted_even_when_none_was_seen() -> None:
    counts = count_labels(["birch", "unknown", "birch"], ["birch", "grass"])
    assert {label: count.n for label, count in counts.items()} == {"birch": 2, "grass": 0, "unknown": 1, "total": 3}


def test_bubbles_are_counted_by_name_and_are_no_part_of_the_total() -> None:
    counts = count_labels(["giardia", "bubble", "bubble"], ["giardia"])
    assert {label: count.n for label, count in counts.items()} == {"giardia": 1, "bubble": 2, "total": 1}


def test_no_particle_still_bounds_the_concentration() -> None:
    result = concentration(poisson_interval(0), 0.01, 0.0, "m^-3")
    assert (result.value, result.low) == (0, 0)
    assert result.high == pytest.approx(299.6, rel=1e-3)


def test_an_uncertain_volume_widens_the_interval_on_both_sides_and_less_than_its_whole() -> None:
    sure, unsure = (concentration(poisson_interval(50), 2.0, u, "mL^-1") for u in (0.0, 0.1))
    assert unsure.low < sure.low < sure.value < sure.high < unsure.high
    assert unsure.value == sure.value == 25
    assert unsure.high - unsure.low < (sure.high - sure.low) + 2 * 1.96 * 0.1 * 25


@pytest.mark.parametrize(
    "uncertain",
    [
        {"recovered": Recovered(100.0, 2.0, 0.2), "overlap": Overlap(1.5, 0.0)},
        {"recovered": Recovered(100.0, 2.0, 0.0), "overlap": Overlap(1.5, 0.2)},
    ],
)
def test_a_concentration_carries_both_corrections_and_the_uncertainty_of_each(uncertain: dict[str, Any]) -> None:
    surely = {"recovered": Recovered(100.0, 2.0, 0.0), "overlap": Overlap(1.5, 0.0)}
    sure, unsure = (concentration(poisson_interval(100), 0.5, 0.0, "mL^-1", **given) for given in (surely, uncertain))
    assert unsure.value == sure.value == pytest.approx(100 * 2.0 * 1.5 / 0.5)
    assert unsure.high - unsure.low > 1.8 * (sure.high - sure.low)


@pytest.mark.parametrize("volume", [0.0, -1.0])
def test_a_concentration_without_a_volume_is_refused(volume: float) -> None:
    with pytest.raises(InputError, match="needs a volume"):
        concentration(poisson_interval(3), volume, 0.1, "m^-3")


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        poisson_interval(-1)


BY_SIZE = {
    "detection_efficiency": (0.9, 0.05),
    "detection_efficiency_4_8_um": (0.5, 0.02),
    "detection_efficiency_8_16_um": (0.8, 0.02),
}


def efficiency_by_size() -> DetectionEfficiency:
    found = DetectionEfficiency.of(BY_SIZE)
    assert found is not None
    return found


def test_each_particle_stands_for_as_many_as_its_size_lets_through() -> None:
    recovered = efficiency_by_size().recovered([5.0, 10.0, 40.0])
    assert recovered.expected == pytest.approx(1 / 0.5 + 1 / 0.8 + 1 / 0.9)
    assert recovered.effective_n < 3


def test_a_class_begins_at_its_least_size_and_ends_before_its_largest() -> None:
    found = efficiency_by_size()
    assert [found.of_size(size).value for size in (3.9, 4.0, 7.9, 8.0, 16.0)] == [0.9, 0.5, 0.5, 0.8, 0.9]


def test_only_efficiencies_are_read_from_the_values_of_a_record() -> None:
    assert DetectionEfficiency.of({"distance_um": (500.0, 2.0)}) is None
    only = DetectionEfficiency.of({"detection_efficiency_4_8_um": (0.5, 0.02)})
    assert only is not None
    assert only.of_size(100.0).value == 0.5


def test_size_classes_that_overlap_are_refused() -> None:
    with pytest.raises(InputError, match="overlap"):
        DetectionEfficiency.of({"detection_efficiency_4_8_um": (0.5, 0.0), "detection_efficiency_7_9_um": (0.6, 0.0)})


def test_where_nothing_was_seen_the_poorest_efficiency_bounds_what_was_missed() -> None:
    nothing = efficiency_by_size().recovered([])
    result = concentration(poisson_interval(0), 1.0, 0.0, "mL^-1", recovered=nothing)
    assert result.high == pytest.approx(3.0 / 0.5, rel=0.02)


def test_counts_of_mixed_efficiency_cover_the_truth_93_to_97_times_in_100() -> None:
    rng, found = np.random.default_rng(5), efficiency_by_size()
    small, middle, covered = 30.0, 20.0, 0
    for _ in range(3000):
        # Every instrument was calibrated once: its efficiencies are off by what their uncertainty says.
        true_small, true_middle = 0.5 + 0.02 * rng.normal(), 0.8 + 0.02 * rng.normal()
        sizes = [5.0] * int(rng.poisson(small * true_small)) + [10.0] * int(rng.poisson(middle * true_middle))
        recovered = found.recovered(sizes)
        result = concentration(poisson_interval(len(sizes)), 1.0, 0.0, "mL^-1", recovered=recovered)
        covered += result.low <= small + middle <= result.high
    assert 0.93 <= covered / 3000 <= 0.97


def test_discs_at_random_places_make_as_many_clumps_as_the_formula_says() -> None:
    rng, diameter, n = np.random.default_rng(3), 0.02, 320
    places = rng.random((200, n, 2))
    found = [
        n - _joined(cKDTree(field, boxsize=1.0).query_pairs(diameter), n) for field in places
    ]  # fmt: skip
    assert np.mean(found) == pytest.approx(clumps(n, np.pi * (diameter / 2) ** 2), rel=0.01)


def _joined(pairs: set[tuple[int, int]], n: int) -> int:
    """By how much the number of groups is less than n, each pair in one group."""
    parent = list(range(n))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    joined = 0
    for one, other in pairs:
        a, b = root(one), root(other)
        joined += a != b
        parent[a] = b
    return joined


@pytest.mark.parametrize("particles", [1.0, 100.0, 350.0])
def test_the_overlap_correction_gives_back_what_was_there(particles: float) -> None:
    share = np.pi * 10.0**2 / 1e6
    overlap = overlap_of(clumps(particles, share), 20.0, 1e6)
    assert overlap.factor * clumps(particles, share) == pytest.approx(particles, rel=1e-6)
    assert not overlap.crowded


def test_a_field_too_crowded_to_be_counted_says_so() -> None:
    assert overlap_of(5000.0, 20.0, 1e6).crowded
    assert overlap_of(0.0, 20.0, 1e6).factor == 1


def test_frames_that_take_longer_the_more_they_hold_don_t_bias_the_count() -> None:
    """The dead time follows the particles, the volume does not: no correction of rates applies."""
    rng, per_frame, frames = np.random.default_rng(7), 3.0, 40_000
    counted = rng.poisson(per_frame, frames)
    arrivals_s = np.cumsum(0.1 + 0.5 * counted)
    assert counted[arrivals_s < arrivals_s[-1] / 2].mean() == pytest.approx(per_frame, rel=0.02)
