"""Raw frames to holograms."""

from __future__ import annotations

import numpy as np
import pytest

from device.analysis.background import RunningMedian, appeared, median_background, noise_level, normalise
from device.errors import InputError

SHAPE = (128, 160)


def _uneven_light() -> np.ndarray:
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    return (400 + 1.5 * x - 0.8 * y).astype(np.float32)


def _fringes() -> np.ndarray:
    """A zone plate about (70, 60), relative to a background of 1."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    squared = (x - 70.0) ** 2 + (y - 60.0) ** 2
    return (1 + 0.3 * np.cos(squared / 60) * np.exp(-squared / 3000)).astype(np.float32)


def test_division_gives_back_the_fringes_whatever_the_light() -> None:
    light = _uneven_light()
    result = normalise(light * _fringes() + 64, light + 64, dark_counts=64)
    np.testing.assert_allclose(result.intensity, _fringes(), atol=0.02)


def test_a_brighter_lamp_than_in_the_background_is_taken_out() -> None:
    light = _uneven_light()
    result = normalise(1.3 * light, light)
    assert np.median(result.intensity) == pytest.approx(1, abs=1e-3)


def test_where_no_light_came_nothing_is_seen() -> None:
    light = _uneven_light()
    light[:9] = 0.5
    frame = light * _fringes()
    frame[:9] = np.random.default_rng(1).poisson(0.5, (9, SHAPE[1]))
    result = normalise(frame, light)
    assert (result.intensity[:9] == 1).all()
    np.testing.assert_allclose(result.intensity[9:], _fringes()[9:], atol=0.02)


def test_without_a_background_the_light_goes_and_the_fringes_stay() -> None:
    result = normalise(_uneven_light() * _fringes())
    assert np.corrcoef(result.intensity.ravel(), _fringes().ravel())[0, 1] > 0.98
    corners = [result.intensity[:16, :16], result.intensity[-16:, -16:]]
    assert all(abs(float(corner.mean()) - 1) < 0.05 for corner in corners)


def test_what_came_is_told_from_what_lay_there_even_in_its_shadow() -> None:
    """In phase with the light, fields add as amplitudes do: the difference is exact, a ratio is four times too strong."""
    light, shadow = np.full(SHAPE, 500, np.float32), np.ones(SHAPE, np.float32)
    shadow[50:70, 60:80] = 0.25
    came = 0.5 * (np.sqrt(_fringes()) - 1)
    before, after = light * shadow**2, light * np.maximum(shadow + came, 0) ** 2
    seen = (shadow + came) > 0
    result = appeared(1.2 * after + 64, before + 64, dark_counts=64)
    np.testing.assert_allclose(result.intensity[seen], (1 + came[seen]) ** 2, atol=0.01)
    ratio = normalise(after + 64, before + 64, dark_counts=64)
    assert np.abs(ratio.intensity - (1 + came) ** 2).max() > 0.3


def test_on_a_clean_window_the_difference_is_the_ratio() -> None:
    light = _uneven_light()
    pair = light * _fringes(), light
    np.testing.assert_allclose(appeared(*pair).intensity, normalise(*pair).intensity, atol=0.02)


@pytest.mark.parametrize("before", [np.ones((64, 64), np.float32), np.full(SHAPE, np.nan, np.float32)])
def test_a_difference_to_no_such_frame_is_refused(before: np.ndarray) -> None:
    with pytest.raises(InputError):
        appeared(_uneven_light(), before)


def test_the_intensity_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        normalise(_uneven_light()).intensity[0, 0] = 0


@pytest.mark.parametrize("relative", [0.003, 0.02, 0.1])
def test_noise_is_measured_beside_strong_fringes(relative: float) -> None:
    frame = np.ones((256, 320), np.float32)
    frame[: SHAPE[0], : SHAPE[1]] = _fringes()
    noisy = frame * (1 + relative * np.random.default_rng(1).standard_normal(frame.shape).astype(np.float32))
    assert noise_level(noisy) == pytest.approx(relative, rel=0.2, abs=0.002)


def test_saturated_pixels_are_counted() -> None:
    frame = _uneven_light()
    frame[:13, :] = 1023
    assert normalise(frame, white_counts=1023).saturated == pytest.approx(13 / 128)


def test_not_a_number_is_refused_with_their_count() -> None:
    frame = _uneven_light()
    frame[3, 4:6] = np.nan
    with pytest.raises(InputError, match=f"2 of {SHAPE[0] * SHAPE[1]} pixels"):
        normalise(frame)


@pytest.mark.parametrize("frame", [np.full(SHAPE, 500.0), np.full(SHAPE, 0.0), np.full(SHAPE, 60.0)])
def test_a_constant_or_dark_frame_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(InputError, match="dark or constant"):
        normalise(frame.astype(np.float32), dark_counts=64)


def test_a_background_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(128, 160\); got \(64, 64\)"):
        normalise(_uneven_light(), np.ones((64, 64), np.float32))


def test_a_median_background_forgets_what_passed_through() -> None:
    frames = []
    for k in range(5):
        frame = _uneven_light() * (1 + 0.1 * k)  # the lamp drifts
        frame[20 * k : 20 * k + 20, 40:60] *= 0.3
        frames.append(frame)
    background = median_background(frames)
    np.testing.assert_allclose(background / np.median(background), _uneven_light() / np.median(_uneven_light()), rtol=0.02)


def test_a_lamp_that_flickers_weighs_no_frame_of_a_median_more_than_another() -> None:
    light, rng = _uneven_light(), np.random.default_rng(6)
    levels = [1.0, 2.0, 3.0, 4.0, 5.0]
    frames = [(level * light * rng.normal(1, 0.05, light.shape)).astype(np.float32) for level in levels]
    scatter = np.std(median_background(frames) / light) / np.mean(median_background(frames) / light)
    # The median of five scatters by half of what one does; of one frame alone it would scatter as that does.
    assert scatter < 0.035


def test_a_running_median_waits_for_three_frames_and_forgets_the_oldest() -> None:
    running = RunningMedian(length=3)
    for level in (1.0, 2.0):
        running.add(np.full((4, 4), level, np.float32))
        assert running.background() is None
    for _ in range(3):
        running.add(np.full((4, 4), 9.0, np.float32))
    held = running.background()
    assert held is not None
    assert float(held[0, 0]) == pytest.approx(9)
