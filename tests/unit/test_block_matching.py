"""The baseline of denoisers does what is said of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.training.block_matching import block_matched
from tests.unit.test_speckle import noise


def disc() -> NDArray[np.complex64]:
    y, x = np.mgrid[:96, :80]
    return np.exp(1.2j * (np.hypot(y - 50, x - 38) < 20)).astype(np.complex64)


def error_db(found: NDArray[np.complex64], truth: NDArray[np.complex64]) -> float:
    return float(-10 * np.log10(np.mean(np.abs(found - truth) ** 2)))


def test_correlated_noise_is_taken_off_and_edges_are_kept() -> None:
    truth = disc()
    noisy = (truth + 0.2 * noise(1, truth.shape, 0.25)).astype(np.complex64)
    found = block_matched(noisy, 0.2 * noise(2, truth.shape, 0.25))
    assert error_db(found, truth) > error_db(noisy, truth) + 8
    # A little of a step is left in its neighbours, no more.
    assert abs(np.angle(found[50, 38]) - 1.2) < 0.05
    assert abs(np.angle(found[50, 62])) < 0.1


def test_without_noise_nothing_is_lost() -> None:
    truth = disc()
    found = block_matched(truth, 1e-4 * noise(3, truth.shape, 0.4))
    assert error_db(found, truth) > 55
