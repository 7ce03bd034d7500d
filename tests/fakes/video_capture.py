"""A cv2.VideoCapture of a V4L2 device whose sensor looks at the twin's scene."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from tests.fakes.picamera2.rig import Rig
from tests.fakes.picamera2.stream import Frame, Stream

# OpenCV's, and the kernel's, where nothing else is set.
BUFFERS = 4
SELECT_TIMEOUT_S = 4.0


class VideoCapture:
    """Buffers are filled while nobody looks and then wait, however old; a grab gives the held one back first."""

    def __init__(
        self,
        rig: Rig,
        fourcc: str,
        *,
        stamped: bool = True,
        left_aligned: bool = False,
        as_bytes: bool = False,
        padding: int = 0,
    ) -> None:
        self._rig, self._fourcc, self._stamped = rig, fourcc, stamped
        self._left_aligned, self._as_bytes, self._padding = left_aligned, as_bytes, padding
        self.has_exposure = True
        self._opened = not rig.held and not rig.failing("no camera")
        self._size = (640, 480)
        self._exposure, self._gain, self._manual = 157.0, 1.0, False
        self._stream: Stream | None = None
        self._free, self._done = BUFFERS, list[Frame]()
        self._held: Frame | None = None
        if self._opened:
            rig.held = True
            rig.opened += 1

    def isOpened(self) -> bool:  # noqa: N802
        return self._opened

    def set(self, propId: int, value: float) -> bool:  # noqa: N803
        mode = self._rig.modes[0]
        if propId == cv2.CAP_PROP_FRAME_WIDTH:
            self._size = (mode[0], self._size[1])
        elif propId == cv2.CAP_PROP_FRAME_HEIGHT:
            self._size = (self._size[0], mode[1])
        elif propId == cv2.CAP_PROP_AUTO_EXPOSURE:
            self._manual = value == 1.0
        elif propId == cv2.CAP_PROP_EXPOSURE:
            if not self._manual or not 1 <= value <= 5000 or not self.has_exposure:
                return False
            self._catch_up()
            self._exposure = value
            if self._stream is not None:
                self._stream.send({"ExposureTime": value * 100})
        elif propId == cv2.CAP_PROP_GAIN:
            return False
        return True

    def get(self, propId: int) -> float:  # noqa: N803
        held_s = 0.0 if self._held is None else self._held.stamp_ns * 1e-9
        known = {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*self._fourcc)),
            cv2.CAP_PROP_FRAME_WIDTH: float(self._size[0]),
            cv2.CAP_PROP_FRAME_HEIGHT: float(self._size[1]),
            cv2.CAP_PROP_EXPOSURE: self._exposure if self.has_exposure else -1.0,
            cv2.CAP_PROP_FPS: 1e6 / self._rig.frame_duration_us,
            cv2.CAP_PROP_BUFFERSIZE: float(BUFFERS),
            cv2.CAP_PROP_POS_MSEC: held_s * 1e3 if self._stamped else 0.0,
        }
        return known.get(propId, -1.0)

    def grab(self) -> bool:
        if self._stream is None:
            self._rig.started()
            self._stream = Stream(self._rig, readout_s=self._size[1] * self._rig.row_us * 1e-6)
            self._stream.send({"ExposureTime": self._exposure * 100, "AnalogueGain": 1.0})
        if self._rig.failing("exception"):
            return False
        self._catch_up()
        if self._held is not None:
            self._free, self._held = self._free + 1, None
        until_s = self._rig.monotonic() + SELECT_TIMEOUT_S
        while not self._done:
            now_s = self._rig.monotonic()
            if now_s >= until_s:
                return False
            self._rig.sleep(max(min(self._stream.next_ready_s, until_s) - now_s, 0.0) + 1e-6)
            self._catch_up()
        self._held = self._done.pop(0)
        return True

    def retrieve(self) -> tuple[bool, Any]:
        if self._held is None or self._stream is None:
            return False, None
        pixels = self._stream.pixels(self._held)
        bits = self._rig.modes[0][2]
        if bits == 8:
            return True, pixels.astype(np.uint8)
        words = pixels << (16 - bits) if self._left_aligned else pixels
        if not self._as_bytes:
            return True, words
        rows = np.full((words.shape[0], words.shape[1] * 2 + self._padding), 0xA5, np.uint8)
        rows[:, : words.shape[1] * 2] = words.astype("<u2").view(np.uint8)
        return True, rows.reshape(1, -1)

    def release(self) -> None:
        if self._opened:
            self._rig.close_slowly()
            self._opened, self._rig.held, self._stream = False, False, None

    def _catch_up(self) -> None:
        while self._stream is not None and self._stream.next_ready_s <= self._rig.monotonic():
            frame = self._stream.take()
            if self._free and not self._rig.failing("silence"):
                self._free -= 1
                self._done.append(frame)
