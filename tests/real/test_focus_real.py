"""Autofocus and single-shot retrieval on recorded holograms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.real_focus import (
    bead_distances,
    colloid,
    correlations_with_the_measured_field,
    single_height_errors,
    tissue,
)


@pytest.fixture(scope="module")
def beads(real_data: Path) -> list[tuple[str, float, float, float]]:
    return bead_distances(real_data)


def test_bead_distances_are_found_within_300_um(beads: list[tuple[str, float, float, float]]) -> None:
    errors = [abs(found - true) for _, true, found, _ in beads]
    assert len(errors) == 11
    assert sum(e < 300 for e in errors) >= 10, errors


def test_the_uncertainty_of_bead_distances_is_honest(beads: list[tuple[str, float, float, float]]) -> None:
    pulls = np.array([(found - true) / uncertainty for _, true, found, uncertainty in beads])
    assert 0.3 < np.sqrt(np.mean(pulls**2)) < 2, pulls


def test_single_height_beads_lie_near_their_nominal_distance(real_data: Path) -> None:
    errors = [error for _, error in single_height_errors(real_data)]
    assert len(errors) == 30
    assert np.median(np.abs(errors)) < 300


def test_dense_tissue_is_found_right_or_not_at_all(real_data: Path) -> None:
    true, found, uncertainty = tissue(real_data)
    assert np.isnan(found) or abs(found - true) < min(1000, 4 * uncertainty)


def test_a_colloidal_sphere_in_water_is_found_from_a_background_divided_frame(real_data: Path) -> None:
    found, uncertainty = colloid(real_data)
    assert 15 - uncertainty < found < 17.5 + 2 * uncertainty


def test_single_shot_retrieval_comes_near_the_measured_field(real_data: Path) -> None:
    rows = correlations_with_the_measured_field(real_data)
    assert min(retrieved for _, _, retrieved in rows) > 0.70, rows
    assert all(retrieved > plain + 0.2 for _, plain, retrieved in rows), rows
