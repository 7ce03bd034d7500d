"""The impactor's window: what it is covered with, when it is full, and that power loss doesn't make it forget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from device.analysis.overlap import Overlap
from device.sampling.impactor.window import Window, window_from_state

FIELD_UM2 = 500.0**2


def test_a_clean_window_is_free() -> None:
    assert Window().covered_share(FIELD_UM2) == 0
    assert Window().samples_left(FIELD_UM2, 0.2) == np.inf


def test_what_lies_there_covers_as_much_as_random_places_say() -> None:
    rng, margin_um = np.random.default_rng(1), 2.0
    sizes = rng.uniform(10, 30, 60)
    covered = []
    for _ in range(40):
        lying = rng.uniform(0, 500, (len(sizes), 2))
        landing = rng.uniform(0, 500, (400, 2))
        distances = cKDTree(lying, boxsize=500).sparse_distance_matrix(cKDTree(landing, boxsize=500), 60.0).toarray()
        # The sparse matrix holds 0 for what is farther than it was asked for.
        met = (distances > 0) & (distances < (sizes[:, None] + 20 + margin_um) / 2)
        covered.append(met.any(axis=0).mean())
    window = Window().with_sample(sizes.tolist())
    assert window.covered_share(FIELD_UM2, 20.0) == pytest.approx(np.mean(covered), rel=0.03)


def test_samples_alike_fill_the_window_when_it_was_forecast() -> None:
    window, sizes = Window(), [20.0] * 10
    for _ in range(3):
        window = window.with_sample(sizes)
    left = window.samples_left(FIELD_UM2, 0.4)
    while window.covered_share(FIELD_UM2) <= 0.4:
        window = window.with_sample(sizes)
    assert window.samples == int(np.ceil(3 + left))


def test_the_window_comes_back_from_the_store_as_it_was() -> None:
    window = Window().with_sample([10.0, 20.0])
    assert window_from_state(window.to_state()) == window
    assert window_from_state(None) == Window()
    assert window_from_state("{not json") == Window()


def test_a_sample_that_power_loss_cut_short_is_taken_to_have_landed() -> None:
    window = Window().with_sample([10.0, 20.0]).with_sample([30.0, 20.0])
    cut = window_from_state(window.to_state().replace('"under_way":false', '"under_way":true'))
    assert (cut.samples, cut.particles, cut.diameters_um) == (3, 6, 120)
    assert not cut.under_way


def test_what_lies_there_makes_the_result_less_certain() -> None:
    overlap = Overlap(1.1, 0.01).among(0.2)
    assert overlap.factor == 1.1
    assert overlap.relative_uncertainty > 0.04


def test_a_marker_is_left_for_the_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from device.cli import main
    from device.sampling.impactor.mode import MARKER

    config = tmp_path / "box.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path / "store"}"\n')
    assert main(["window", "changed", "--config", str(config)]) == 2
    assert "there is no store yet" in capsys.readouterr().err
    (tmp_path / "store").mkdir()
    assert main(["window", "changed", "--config", str(config)]) == 0
    assert (tmp_path / "store" / MARKER).exists()
