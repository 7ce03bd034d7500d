"""What counts as erased and as invented."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.hallucination import SHAPES, Insertion, feature_lines, strange_shape
from models.training.tables import Bar, bar_lines, score_lines


@pytest.mark.parametrize("kind", SHAPES)
def test_a_strange_shape_is_neither_empty_nor_full(kind: str) -> None:
    shape = strange_shape(np.random.default_rng(4), 24, kind)
    assert shape.shape == (24, 24)
    assert shape.dtype == np.float32
    assert shape.max() > 0.8
    assert 0.03 < shape.mean() < 0.6


def test_no_shape_of_another_name_is_drawn() -> None:
    with pytest.raises(ValueError, match="no such shape"):
        strange_shape(np.random.default_rng(4), 24, "pollen")


def _insertion(kept: float, invented: float, factor: complex = 1.0) -> Insertion:
    rng = np.random.default_rng(7)
    without = np.zeros((64, 64), complex)
    with_it = without.copy()
    with_it[4:28, 4:28] += factor * strange_shape(rng, 24)
    image = without.copy()
    image[36:60, 36:60] += invented * factor * strange_shape(rng, 24)
    boxes = [(slice(36, 60), slice(36, 60)), (slice(4, 28), slice(36, 60))]
    return Insertion(image + kept * (with_it - without), image, with_it, without, boxes)


@pytest.mark.parametrize("kept", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("factor", [1.0, 0.5j])
def test_what_is_left_of_a_structure_is_told(kept: float, factor: complex) -> None:
    assert _insertion(kept, 0.3, factor).left == pytest.approx(kept)


def test_what_an_image_adds_is_told_where_the_truth_is_empty() -> None:
    nothing, much = _insertion(1.0, 0.0), _insertion(1.0, 1.0)
    assert max(nothing.invented()) < 1e-9
    first, second = much.invented()
    assert 0.5 < first < 2
    assert second < 0.05


def test_rates_come_with_their_intervals() -> None:
    lines = feature_lines({"network": [_insertion(0.2, 1.0), _insertion(1.0, 0.0)]})
    assert lines[2].startswith("| network | 2 | 0.60 | 50.0 % (")
    assert "| 4 | 25.0 % (" in lines[2]


def test_bars_say_met_missed_and_not_proved() -> None:
    ours, theirs = [1.0, 1.1, 0.9] * 9, [1.5, 1.6, 1.4] * 9
    scores = {"ours": [{"error": v} for v in ours], "theirs": [{"error": v} for v in theirs]}
    bars = [
        Bar("ours", "error", most=-0.4, against="theirs"), Bar("ours", "error", most=0.5), Bar("ours", "error", least=0.95, most=1.05),
    ]  # fmt: skip
    paired, alone, between = bar_lines(bars, scores)[2:]
    assert "over theirs <= -0.4 | -0.5 (-0.5 to -0.5) | met |" in paired
    assert alone.endswith("| missed |")
    assert ">= 0.95 and <= 1.05" in between
    assert "| ours | 27 | 1 (" in score_lines(scores, ["error"])[2]
