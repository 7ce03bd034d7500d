"""What can be known of the simulated dyes: against drawing many of them."""

from __future__ import annotations

import numpy as np

from models.recipes.virtual_colour.chemistry import DENSITY_SPREAD, HIDDEN, Section, density, log_deviation


def section(rng: np.random.Generator, draws: int) -> Section:
    """One structure of each kind, its chemistry drawn anew in every pixel."""
    ones = np.ones((draws, 1), np.float32)
    hidden = [rng.standard_normal((draws, 1)).astype(np.float32) for _ in range(2)]
    return Section(1.3 * ones, 0.7 * ones, 0.2 * ones, *hidden)


def test_the_conditional_mean_is_that_of_many_sections() -> None:
    drawn = section(np.random.default_rng(1), 200_000)
    colours, (mean, deviation) = drawn.colours(), drawn.known()
    assert np.allclose(colours.mean(axis=(0, 1)), mean[0, 0], atol=2e-3)
    assert np.allclose(colours.std(axis=(0, 1)), deviation[0, 0], atol=2e-3)


def test_what_is_hidden_leaves_no_trace_in_what_is_measured() -> None:
    one, other = (section(np.random.default_rng(seed), 64) for seed in (1, 2))
    assert not np.allclose(one.colours(), other.colours(), atol=0.05)
    assert np.array_equal(
        one.measured(np.random.default_rng(5), 0.01, 0.5), other.measured(np.random.default_rng(5), 0.01, 0.5)
    )


def test_the_mutual_information_is_as_designed() -> None:
    """Of normal variables: -log2(1 - r^2) / 2, r their correlation."""
    rng = np.random.default_rng(6)
    log_density = np.log([density(rng) for _ in range(40_000)])
    log_uptake = log_density + HIDDEN * rng.standard_normal(40_000)
    bits = -0.5 * np.log2(1 - np.corrcoef(log_density, log_uptake)[0, 1] ** 2)
    assert abs(bits - 0.5 * np.log2(1 + (DENSITY_SPREAD / HIDDEN) ** 2)) < 0.02
    assert abs(bits - 0.68) < 0.02


def test_deviations_go_through_the_network_in_a_range_that_eight_bits_hold() -> None:
    assert np.allclose(log_deviation(np.array([0.0, 0.01, np.exp(-2)])), [-0.651, -0.651, 0.0], atol=1e-3)
