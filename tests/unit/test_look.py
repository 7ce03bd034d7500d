"""The last look: pictures of the newest frame, made only while somebody watches."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from device.analysis.pipeline import FrameAnalysis
from device.analysis.reconstruct import Reconstruction
from device.frames import Hologram
from device.service.look import FrameLook, LookBoard, look_of
from tests.analyses import analysis, hologram, particle

HEIGHT, WIDTH = 600, 2000


def frame(index: int = 7) -> tuple[Hologram, FrameAnalysis]:
    """A bright spot at row 100, column 1500, in focus dark."""
    intensity = np.ones((HEIGHT, WIDTH), np.float32)
    intensity[80:120, 1480:1520] = 2.0
    field = np.ones((HEIGHT, WIDTH), np.complex64)
    field[80:120, 1480:1520] = 0.5j
    found = replace(particle(1500, 100, esd_um=9.0), bbox_px=(1480, 80, 40, 40))
    held = analysis([particle(3, 3, esd_um=5.0), found], ["dust", "birch"])
    return replace(hologram(index), intensity=intensity), replace(held, reconstruction=Reconstruction(field, field, 1))


def grey(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_UNCHANGED)


def waited(board: LookBoard) -> FrameLook:
    until_s = time.monotonic() + 100
    while (look := board.newest()) is None:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return look


def test_a_look_shows_the_hologram_and_the_focus_upright_and_to_scale() -> None:
    look = look_of(*frame())
    assert (look.width_px, look.height_px, look.scale, look.frame) == (WIDTH, HEIGHT, pytest.approx(0.512), 7)
    assert look.focus_jpeg is not None
    raw, focus = grey(look.hologram_jpeg), grey(look.focus_jpeg)
    assert raw.shape == focus.shape == (307, 1024)
    at = round(100 * look.scale), round(1500 * look.scale)
    assert raw[at] > raw[200, 200] + 50
    assert focus[at] < focus[200, 200] - 50
    assert [(seen.label, seen.bbox_px) for seen in look.particles] == [("birch", (1480, 80, 40, 40)), ("dust", (0, 0, 1, 1))]
    told = look.told()
    assert told["focused"]
    assert not [name for name in told if name.endswith("_jpeg")]


def test_an_empty_frame_has_no_focus_and_a_blocked_one_says_so() -> None:
    look = look_of(hologram(), analysis([], obstructed=0.9))
    assert look.focus_jpeg is None
    assert "blocks the field" in look.reasons[0]


def test_nothing_is_made_unless_somebody_watches_and_what_comes_too_soon_is_let_go() -> None:
    now_s = [10.0]
    board = LookBoard(lambda: now_s[0])
    board.offer(*frame(1))
    assert board._thread is None
    with board.watch():
        board.offer(*frame(2))
        assert waited(board).frame == 2
        board.offer(*frame(3))
        assert board._offers.take() is None
        now_s[0] += 1.0
        board.offer(*frame(4))
        until_s = time.monotonic() + 100
        while waited(board).frame != 4:
            assert time.monotonic() < until_s
            time.sleep(0.01)
    now_s[0] += 1.0
    board.offer(*frame(5))
    assert board._offers.take() is None
    board.stop()
