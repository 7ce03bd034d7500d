"""Real polystyrene beads, one frame at a time, one setting for all."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import pytest

from tests.benchmarks.objects import bead_ratios
from tests.benchmarks.real_beads import DISTANCES_UM, score_all, true_peaks


def test_the_measured_phase_shows_49_beads_of_which_41_count(real_data: Path) -> None:
    peaks = true_peaks(real_data / "beads_multiheight_gt" / "fov1")
    assert len(peaks) == 49
    assert int(((peaks >= 8) & (peaks <= 247)).all(axis=1).sum()) == 41


@pytest.mark.parametrize("method", ["hidef", "backpropagate"])
def test_the_beads_are_found_in_every_frame(real_data: Path, method: str) -> None:
    scores = score_all(real_data, method)
    assert len(scores) == len(DISTANCES_UM) == 11
    assert min(score.f1 for score in scores.values()) >= 0.90, scores
    assert median(score.f1 for score in scores.values()) >= 0.95, scores


@pytest.mark.parametrize("nominal", [8, 14])
def test_beads_that_stand_alone_have_their_diameter_to_five_per_cent(real_data: Path, nominal: int) -> None:
    ratios = bead_ratios(real_data / "beads_multiheight_gt" / "fov1", nominal)
    assert len(ratios) >= 14
    assert np.median(ratios) == pytest.approx(1, abs=0.05)
