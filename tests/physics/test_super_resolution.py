"""Super-resolution of an analytic scene whose finest rings the frames alias."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.super_resolution import super_resolve
from tests.benchmarks.super_resolution import RESOLVED, score

SIDE_PX, SUB = 96, 12


def _scene(y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """A zone plate that reaches 0.6 cycles per pixel at the frame's edge, where 0.5 is the most a frame can show."""
    middle = SIDE_PX / 2
    return 1 + 0.4 * np.cos(np.pi * ((x - middle) ** 2 + (y - middle) ** 2) / (0.85 * SIDE_PX))


def _pixels(count: int, per_pixel: int, shift: tuple[float, float] = (0, 0)) -> NDArray[np.float64]:
    """The scene integrated over `count` pixels of 1 / `per_pixel` of a frame's pixel."""
    points = SUB // per_pixel
    at = (np.arange(count * points) + 0.5) / SUB - 0.5
    values = _scene(at[:, None] - shift[0], at[None, :] - shift[1])
    return values.reshape(count, points, count, points).mean((1, 3))


def _frames(count: int, seed: int) -> tuple[list[NDArray[np.float64]], list[tuple[float, float]]]:
    rng = np.random.default_rng(seed)
    shifts = [(0.0, 0.0)] + [tuple(rng.uniform(-1.5, 1.5, 2).tolist()) for _ in range(count - 1)]
    return [_pixels(SIDE_PX, 1, s) + rng.normal(0, 0.005, (SIDE_PX, SIDE_PX)) for s in shifts], shifts


def test_unknown_shifts_are_found_to_two_hundredths_of_a_pixel() -> None:
    frames, shifts = _frames(9, 1)
    found = super_resolve(frames)
    assert np.abs(np.array(found.shifts_px) - np.array(shifts)).max() < 0.02


def test_rings_beyond_a_frame_come_out() -> None:
    frames, _ = _frames(9, 2)
    truth = _pixels(2 * SIDE_PX, 2)
    inner = (slice(20, -20),) * 2
    enlarged = cv2.resize(frames[0], (2 * SIDE_PX, 2 * SIDE_PX), interpolation=cv2.INTER_CUBIC)
    before = np.corrcoef(enlarged[inner].ravel(), truth[inner].ravel())[0, 1]
    after = np.corrcoef(super_resolve(frames).frame[inner].ravel(), truth[inner].ravel())[0, 1]
    assert before < 0.95
    assert after > 0.995


def test_shifts_of_several_pixels_and_unequal_exposures_are_found() -> None:
    shifts = [(0.0, 0.0), (6.31, -4.82), (-7.44, 2.13), (3.27, 9.58), (-0.6, 0.45), (1.52, -8.71)]
    rng = np.random.default_rng(4)
    gains = [1.0, 1.04, 0.95, 1.02, 0.97, 1.06]
    frames = [g * _pixels(SIDE_PX, 1, s) + rng.normal(0, 0.005, (SIDE_PX, SIDE_PX)) for g, s in zip(gains, shifts, strict=True)]
    assert np.abs(np.array(super_resolve(frames).shifts_px) - np.array(shifts)).max() < 0.05


def test_bars_no_single_frame_shows_are_resolved() -> None:
    """Bars of 1.35 and 1.2 pixels a period, integrated in closed form: the benchmark's scene."""
    error_px, found, single = score(2, 5, 0)
    assert error_px < 0.05
    for period_px in (1.7, 1.5, 1.35, 1.2):
        assert found[period_px] > 0.7
    assert single[1.35] < RESOLVED


def test_frames_that_lie_too_far_apart_are_refused() -> None:
    far = [_pixels(SIDE_PX, 1, s) for s in ((0.0, 0.0), (33.0, 0.0))]
    with pytest.raises(InputError, match="too far apart"):
        super_resolve(far)


def test_one_frame_or_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="not frames of one scene"):
        super_resolve([np.ones((32, 32))])
    with pytest.raises(InputError, match="not frames of one scene"):
        super_resolve([np.ones((32, 32)), np.ones((32, 33))])
    with pytest.raises(InputError, match="factor"):
        super_resolve([np.ones((32, 32))] * 2, factor=5)
