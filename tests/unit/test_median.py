"""The sorting network against NumPy's median."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.median import median_of


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 31, 64])
def test_the_network_gives_the_median(count: int) -> None:
    rng = np.random.default_rng(count)
    frames = [rng.integers(0, 50, (37, 301)).astype(np.float32) for _ in range(count)]
    np.testing.assert_array_equal(median_of(frames), np.median(np.stack(frames), axis=0))


def test_the_frames_are_left_as_they_were() -> None:
    frames = [np.full((4, 5), value, np.float32) for value in (3.0, 1.0, 2.0)]
    median_of(frames)
    assert [frame[0, 0] for frame in frames] == [3.0, 1.0, 2.0]
