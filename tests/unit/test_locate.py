"""Whether anything is there, and whether something is in the way."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from device.analysis.locate import busy_blocks, is_empty
from device.analysis.obstruction import MOST_OBSTRUCTED, opaque_share


def _noise(seed: int, relative: float, shape: tuple[int, int] = (512, 512)) -> np.ndarray:
    return (1 + relative * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("relative", [0.002, 0.02, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_an_empty_frame(seed: int, relative: float) -> None:
    assert is_empty(_noise(seed, relative), relative)


def test_slow_light_is_still_an_empty_frame() -> None:
    ramp = np.linspace(0.8, 1.2, 512, dtype=np.float32)[None, :]
    assert is_empty(_noise(1, 0.01) * ramp, 0.01)


@pytest.mark.parametrize("relative", [0.002, 0.02])
def test_one_small_particle_is_enough(relative: float) -> None:
    frame = _noise(2, relative)
    y, x = np.mgrid[0:512, 0:512]
    squared = (x - 300.0) ** 2 + (y - 200.0) ** 2
    frame *= (1 - 0.3 * np.cos(squared / 150) * np.exp(-squared / 2000)).astype(np.float32)
    assert not is_empty(frame, relative)


def test_only_the_block_that_holds_something_is_busy() -> None:
    field = np.ones((200, 330), np.complex64)
    field[70:80, 100:110] = 0.5j
    busy = busy_blocks(field, 0.1)
    assert busy.shape == (7, 11)
    assert busy[2, 3]
    assert int(busy.sum()) == 1


def _with_disc(diameter_px: int, light: float) -> np.ndarray:
    frame = _noise(3, 0.02, (800, 900))
    cv2.circle(frame, (500, 300), diameter_px // 2, light, -1)
    return frame


def test_a_large_opaque_body_obstructs_the_field() -> None:
    share = opaque_share(_with_disc(400, 0.05), largest_px=100)
    assert share == pytest.approx(np.pi / 4 * 400**2 / (800 * 900), rel=0.1)
    assert share > MOST_OBSTRUCTED


@pytest.mark.parametrize(("diameter_px", "light"), [(80, 0.05), (400, 0.8), (400, 1.6)])
def test_a_particle_or_a_transparent_body_does_not_obstruct(diameter_px: int, light: float) -> None:
    assert opaque_share(_with_disc(diameter_px, light), largest_px=100) == 0


def test_many_small_opaque_particles_do_not_obstruct() -> None:
    frame = _noise(4, 0.02, (800, 800))
    for row in range(20, 800, 50):
        for column in range(20, 800, 50):
            cv2.circle(frame, (column, row), 10, 0.05, -1)
    assert opaque_share(frame, largest_px=100) == 0


def test_nothing_can_be_too_large_for_a_frame_smaller_than_the_largest_particle() -> None:
    assert opaque_share(_with_disc(700, 0.05), largest_px=1e6) == 0
