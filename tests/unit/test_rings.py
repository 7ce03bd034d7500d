"""Fields compared ring by ring."""

from __future__ import annotations

import numpy as np
import pytest

from device.optics import fft
from models.training.rings import RINGS, RingTally, ring_lines


def _grain(rng: np.random.Generator, side: int = 96) -> np.ndarray:
    """A field of white detail that fades into 1 at its box's border."""
    y, x = np.mgrid[:side, :side] - side / 2
    near = np.exp(-(((x**2 + y**2) / (0.3 * side) ** 2) ** 4))
    noise = rng.standard_normal((side, side)) + 1j * rng.standard_normal((side, side))
    return (1 + 0.5 * near * noise).astype(np.complex64)


def _low_passed(field: np.ndarray, cutoff: float) -> np.ndarray:
    radius = np.hypot(fft.fftfreq(field.shape[0])[:, None], fft.fftfreq(field.shape[1])[None, :])
    return 1 + fft.ifft2(fft.fft2(field - 1) * (radius < cutoff))


def test_a_field_agrees_with_itself_in_every_ring() -> None:
    tally = RingTally()
    truth = _grain(np.random.default_rng(0))
    tally.add(truth, truth)
    np.testing.assert_allclose(tally.correlation, 1, rtol=1e-6)
    np.testing.assert_allclose(tally.power_ratio, 1, rtol=1e-6)
    assert tally.cutoff_per_px() == 0.5


@pytest.mark.parametrize("cutoff", [0.15, 0.25, 0.35])
def test_the_cutoff_of_a_low_passed_field_is_found(cutoff: float) -> None:
    rng, tally = np.random.default_rng(1), RingTally()
    for _ in range(4):
        truth = _grain(rng)
        tally.add(_low_passed(truth, cutoff), truth)
    assert tally.cutoff_per_px() == pytest.approx(cutoff, abs=0.015)
    beyond = np.array(RINGS) > cutoff + 0.05
    assert tally.power_ratio[beyond].max() < 0.02
    assert tally.power_ratio[~beyond][0] == pytest.approx(1, abs=0.05)


def test_unrelated_detail_doesn_t_correlate_however_strong_it_is() -> None:
    rng, tally = np.random.default_rng(2), RingTally()
    for _ in range(8):
        tally.add(1 + 3 * (_grain(rng) - 1), _grain(rng))
    assert np.abs(tally.correlation).max() < 0.25
    assert tally.power_ratio.mean() == pytest.approx(9, rel=0.2)


def test_the_report_has_a_column_for_every_ring() -> None:
    tally = RingTally()
    truth = _grain(np.random.default_rng(0))
    tally.add(truth, truth)
    lines = ring_lines([("one pass", "1, 2, 3", tally)])
    assert {line.count("|") for line in lines} == {len(RINGS) + 4}
    assert "1.00 (1.00)" in lines[-1]
