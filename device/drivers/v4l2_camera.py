"""Any Linux camera through OpenCV's Video4Linux back-end: raw grey or Bayer, exposure and gain fixed.

For boards without picamera2 (a Jetson, a PC with a machine-vision camera). What is known of it here: a frame carries no
metadata, so exposures are read back from the device and frames in the pipeline are passed over; OpenCV keeps some buffers of
frames that may be minutes old; V4L2's buffer times are on the monotonic clock, where a driver gives any, and without them a
repeated frame is known by its noise alone. OpenCV's wheels hold no GenICam back-end, and its V4L2 one opens only sensors that
offer one of the formats it knows: a sensor with nothing but 10 or 12-bit Bayer may be refused on opening.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from device.drivers.ports import NoFrameError
from device.drivers.raw_pixels import Freshness, RawLayout
from device.errors import HardwareError, InputError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.instrument import SensorSpec

__all__ = ["Capture", "V4l2Camera", "open_v4l2"]

# V4L2's codes of the raw formats, by filter order and bits; grey sensors of 10 and 12 bits often deliver 16.
_FORMATS: dict[tuple[str, int], tuple[str, ...]] = {
    ("none", 8): ("GREY",),
    ("none", 10): ("Y10 ", "Y16 "),
    ("none", 12): ("Y12 ", "Y16 "),
    ("none", 16): ("Y16 ",),
    ("BGGR", 8): ("BA81",),
    ("GBRG", 8): ("GBRG",),
    ("GRBG", 8): ("GRBG",),
    ("RGGB", 8): ("RGGB",),
    ("BGGR", 10): ("BG10", "BYR2"),
    ("GBRG", 10): ("GB10", "GB16"),
    ("GRBG", 10): ("BA10", "GR16"),
    ("RGGB", 10): ("RG10", "RG16"),
    ("BGGR", 12): ("BG12", "BYR2"),
    ("GBRG", 12): ("GB12", "GB16"),
    ("GRBG", 12): ("BA12", "GR16"),
    ("RGGB", 12): ("RG12", "RG16"),
    ("BGGR", 16): ("BYR2",),
    ("GBRG", 16): ("GB16",),
    ("GRBG", 16): ("GR16",),
    ("RGGB", 16): ("RG16",),
}

# V4L2_EXPOSURE_MANUAL, and the unit of V4L2_CID_EXPOSURE_ABSOLUTE.
_MANUAL = 1.0
_EXPOSURE_STEP_US = 100.0

# OpenCV's own number of buffers, where it doesn't tell.
_BUFFERS = 4

# Frames from setting a control to the first frame exposed with it: sensors take two or three.
_CONTROL_DELAY_FRAMES = 4

# A buffer time that lies this near to the monotonic clock is on it.
_SAME_CLOCK_S = 10.0

_SLOWEST_INTERVAL_S = 1 / 15


class Capture(Protocol):
    """What is used of cv2.VideoCapture."""

    def isOpened(self) -> bool: ...  # noqa: D102, N802
    def set(self, propId: int, value: float) -> bool: ...  # noqa: D102, N803
    def get(self, propId: int) -> float: ...  # noqa: D102, N803
    def grab(self) -> bool: ...  # noqa: D102
    def retrieve(self) -> tuple[bool, Any]: ...  # noqa: D102
    def release(self) -> None: ...  # noqa: D102


def open_v4l2(device: str, timeout_s: float) -> Capture:
    """OpenCV's capture of a device file; HardwareError where there is no such file."""
    if not Path(device).exists():
        raise HardwareError(
            "no such camera", where=device, remedy="Plug it in; ls /dev/v4l/by-id shows its name for camera.device.",
        )  # fmt: skip
    # OpenCV waits 10 s for a frame unless told otherwise before the first one.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(timeout_s)))
    import cv2

    return cv2.VideoCapture(device, cv2.CAP_V4L2)


class V4l2Camera:
    """See `ports.Camera`."""

    def __init__(
        self,
        sensor: SensorSpec,
        device: str = "/dev/video0",
        *,
        timeout_s: float = 4.0,
        monotonic: Callable[[], float] = time.monotonic,
        open_capture: Callable[[str, float], Capture] = open_v4l2,
    ) -> None:
        self._sensor, self._device, self._timeout_s, self._monotonic = sensor, device, timeout_s, monotonic
        self._open = open_capture
        self._capture: Capture | None = None
        self._left_aligned = False
        self._asked: Exposure | None = None
        self._was = Exposure(0.0)
        self._settling = 0
        self._freshness = Freshness()
        self._taken = 0

    def start(self) -> None:
        """See `ports.Camera`."""
        if self._capture is not None:
            return
        capture = self._open(self._device, self._timeout_s)
        try:
            self._configure(capture)
        except BaseException:
            capture.release()
            raise
        self._capture, self._asked, self._freshness, self._left_aligned = capture, None, Freshness(), False

    def _configure(self, capture: Capture) -> None:
        import cv2

        if not capture.isOpened():
            raise HardwareError(
                "the camera doesn't open", where=self._device, expected="a V4L2 capture device with a raw format",
                remedy="v4l2-ctl --list-formats-ext lists its formats; nothing else may use it.",
            )  # fmt: skip
        sensor = self._sensor
        size = (sensor.width_px, sensor.height_px)
        codes = {int(cv2.VideoWriter.fourcc(*name)): name for name in _FORMATS[sensor.bayer, sensor.bit_depth]}
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        for code in codes:
            capture.set(cv2.CAP_PROP_FOURCC, code)
            if int(capture.get(cv2.CAP_PROP_FOURCC)) == code:
                break
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        found = int(capture.get(cv2.CAP_PROP_FOURCC))
        # 0 or -1: a source that has no such code (an image sequence); its arrays speak for themselves.
        if found > 0 and found not in codes:
            raise InputError(
                "the camera doesn't give the instrument's raw format", where=self._device,
                expected=" or ".join(codes.values()), got=found.to_bytes(4, "little").decode("ascii", "replace"),
                remedy="v4l2-ctl --list-formats-ext lists its formats; correct sensor.bit_depth or sensor.bayer.",
            )  # fmt: skip
        delivered = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        if delivered != size:
            raise InputError(
                "the camera is not the instrument's", where=self._device, expected=f"{size[0]} x {size[1]} px",
                got=f"{delivered[0]} x {delivered[1]} px", remedy="Correct sensor.width_px and height_px in the instrument file.",
            )  # fmt: skip

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`."""
        capture = self._capture
        if capture is None:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        self._ask(capture, exposure)
        until_s = self._monotonic() + self._timeout_s + 10 * exposure.exposure_us * 1e-6
        for passed in range(10_000):
            stamp_ns, stamped = self._grab(capture, until_s)
            if stamped:
                self._freshness.check_stamp(stamp_ns)
            belongs = self._belongs(capture, lamp, passed, stamp_ns if stamped else None)
            # Without times every frame is looked at, because only noise tells a repeated one.
            pixels = self._pixels(capture) if belongs or not stamped else None
            if self._settling > 0:
                self._settling -= 1
            elif belongs and pixels is not None:
                return self._frame(pixels, stamp_ns, lamp)
            if self._monotonic() >= until_s:
                break
        raise NoFrameError(
            "the camera gives no frame of this lamp state", where=self._device, expected=f"one within {self._timeout_s:g} s",
            remedy="Restart the camera; lower the exposure.",
        )  # fmt: skip

    def _ask(self, capture: Capture, exposure: Exposure) -> None:
        """Fix exposure and gain, and read back what the device made of them."""
        import cv2

        if exposure == self._asked:
            return
        capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
        capture.set(cv2.CAP_PROP_AUTO_WB, 0)
        steps = max(round(exposure.exposure_us / _EXPOSURE_STEP_US), 1)
        capture.set(cv2.CAP_PROP_EXPOSURE, steps)
        was_us = capture.get(cv2.CAP_PROP_EXPOSURE) * _EXPOSURE_STEP_US
        if was_us < 0:
            raise HardwareError(
                "the camera's exposure can't be set", where=self._device, expected="the control exposure_time_absolute",
                remedy="v4l2-ctl --list-ctrls lists its controls; a camera without this one can't be used.",
            )  # fmt: skip
        if abs(was_us - exposure.exposure_us) > max(0.02 * exposure.exposure_us, _EXPOSURE_STEP_US / 2):
            raise InputError(
                "the camera doesn't take the exposure", where="camera.exposure_us", expected=f"{exposure.exposure_us:g} us",
                got=f"{was_us:g} us", remedy=f"It steps by {_EXPOSURE_STEP_US:g} us, within the camera's limits.",
            )  # fmt: skip
        if not capture.set(cv2.CAP_PROP_GAIN, exposure.gain) and exposure.gain != 1.0:
            raise InputError("the camera's gain can't be set", where="camera.gain", expected="1", got=f"{exposure.gain:g}")
        self._was = Exposure(was_us, exposure.gain)
        self._asked, self._settling = exposure, _CONTROL_DELAY_FRAMES

    def _grab(self, capture: Capture, until_s: float) -> tuple[int, bool]:
        """(ns on the monotonic clock, whether the device stamped it itself) of the next buffer."""
        import cv2

        began_s = self._monotonic()
        if not capture.grab():
            now_s = self._monotonic()
            if now_s - began_s > 0.5 or now_s >= until_s:
                raise NoFrameError(
                    "the camera hangs", where=self._device, expected=f"a frame within {self._timeout_s:g} s", got="none",
                    remedy="It is restarted; if that doesn't help, check its cable and supply.",
                )  # fmt: skip
            raise HardwareError("the camera gives no frame", where=self._device, remedy="Check its cable; is it unplugged?")
        now_s = self._monotonic()
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) * 1e-3
        if 0 <= now_s - stamp_s < _SAME_CLOCK_S + self._timeout_s and stamp_s > 0:
            return round(stamp_s * 1e9), True
        return round(now_s * 1e9), False

    def _belongs(self, capture: Capture, lamp: LampState, passed: int, stamp_ns: int | None) -> bool:
        """Whether the frame's exposure began after the lamp's acknowledgement, seen pessimistically."""
        import cv2

        if stamp_ns is None:
            # All buffers may be old, and one frame may have been under way.
            buffers = int(capture.get(cv2.CAP_PROP_BUFFERSIZE))
            return passed > (buffers if buffers > 0 else _BUFFERS)
        rate = capture.get(cv2.CAP_PROP_FPS)
        # Some drivers stamp a frame's first row, some its last: at worst a whole read-out later.
        readout_s = 1 / rate if rate > 0 else _SLOWEST_INTERVAL_S
        return stamp_ns - round((readout_s + self._was.exposure_us * 1e-6) * 1e9) > lamp.acknowledged_ns

    def _pixels(self, capture: Capture) -> NDArray[np.uint16]:
        """Counts uint16 [height, width], read-only."""
        good, array = capture.retrieve()
        if not good or array is None:
            raise HardwareError("the camera's frame can't be read", where=self._device, remedy="Restart the camera.")
        pixels = self._counts(np.asarray(array))
        self._freshness.check_pixels(pixels)
        pixels.setflags(write=False)
        return pixels

    def _counts(self, array: NDArray[Any]) -> NDArray[np.uint16]:
        height, width, bits = self._sensor.height_px, self._sensor.width_px, self._sensor.bit_depth
        array = np.squeeze(array)
        if array.ndim == 1 and array.dtype == np.uint8 and array.size % height == 0:
            # Formats that OpenCV doesn't know come as bytes, padding included.
            array = RawLayout(8 if bits == 8 else 16).counts(array.reshape(height, -1), height, width)
        elif array.ndim == 3 and array.shape[2] == 2 and array.dtype == np.uint8:
            array = np.ascontiguousarray(array).view("<u2")[..., 0]
        if array.shape != (height, width) or array.dtype.name not in {"uint8", "uint16"}:
            raise HardwareError(
                "the camera's frame has another shape", where=self._device, expected=f"{(height, width)}, 8 or 16-bit",
                got=f"{array.shape}, {array.dtype}", remedy="Colour means that the camera has no raw format.",
            )  # fmt: skip
        return self._aligned(array.astype(np.uint16), bits)

    def _aligned(self, pixels: NDArray[np.uint16], bits: int) -> NDArray[np.uint16]:
        """Counts in the low bits: 16-bit formats of a 10 or 12-bit sensor hold them there, or in the high bits.

        Counts that need more bits than the sensor has, and leave the low ones empty, are in the high bits from then on.
        """
        used = int(np.bitwise_or.reduce(pixels, axis=None))
        shift = 16 - bits
        if used >= 2**bits:
            if used & (2**shift - 1):
                raise HardwareError(
                    "the camera's counts exceed the sensor's bits", where=self._device, expected=f"{bits} bits",
                    got=f"{used:#06x} in use", remedy="Correct sensor.bit_depth in the instrument file.",
                )  # fmt: skip
            self._left_aligned = True
        return np.right_shift(pixels, shift, dtype=np.uint16) if self._left_aligned else pixels

    def _frame(self, pixels: NDArray[np.uint16], stamp_ns: int, lamp: LampState) -> RawFrame:
        age_s = max(self._monotonic() - stamp_ns * 1e-9, 0.0)
        captured = datetime.fromtimestamp(time.time() - age_s, UTC)
        number, self._taken = self._taken, self._taken + 1
        was = Exposure(self._was.exposure_us, self._was.gain, lamp.channel, lamp.current_ma)
        return RawFrame(
            pixels, self._sensor.bit_depth, was, lamp, stamp_ns, captured, Clock(), number, f"frame-{number:06d}"
        )  # fmt: skip

    def close(self) -> None:
        """See `ports.Camera`."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.release()
