"""Raw camera buffers to counts: packing, padding, alignment; and whether a frame is a fresh one."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.drivers.ports import RepeatedFrameError
from device.errors import HardwareError

__all__ = ["Freshness", "RawLayout"]

_LIBCAMERA_NAME = re.compile(r"^(?:S(?P<order>[RGB]{4})|R)(?P<bits>8|10|12|16)(?P<packed>_CSI2P)?$")


@dataclass(frozen=True)
class RawLayout:
    """How the pixels of a raw buffer lie in its rows."""

    container_bits: int
    """Bits of a pixel in the buffer: 8, 10 and 12 packed, 16 (10 and 12 bits unpacked lie in 16 as well)."""
    shift: int = 0
    """Places by which the counts lie too far left."""
    bayer: str = "none"
    """Order of the colour filters; none: a monochrome sensor."""

    @classmethod
    def of_libcamera(cls, name: str, bit_depth: int) -> RawLayout:
        """From libcamera's name of a pixel format; HardwareError where it can't be read.

        A Raspberry Pi 4 delivers `SBGGR10` with the counts in the low bits; a 5 delivers every depth as `SBGGR16` with the
        counts in the high bits.
        """
        match = _LIBCAMERA_NAME.match(name)
        if match is None:
            raise HardwareError(
                "the camera's raw format can't be read", expected="unpacked or CSI-2-packed Bayer or mono", got=name,
                remedy="Compressed formats lose counts; update picamera2 so that it takes the unpacked one asked for.",
            )  # fmt: skip
        bits = int(match["bits"])
        packed = match["packed"] is not None and bits > 8
        shift = 16 - bit_depth if bits == 16 else 0
        return cls(bits if packed or bits == 8 else 16, shift, match["order"] or "none")

    def row_bytes(self, width_px: int) -> int:
        """Bytes of a row without padding."""
        return -(-width_px * self.container_bits // 8)

    def counts(self, rows: NDArray[np.uint8], height_px: int, width_px: int) -> NDArray[np.uint16]:
        """Counts uint16 [height, width] from rows of bytes uint8 [height or more, stride]; HardwareError where they are too few.

        CSI-2 packs four 10-bit or two 12-bit pixels: their high bytes, then one byte of low bits, first pixel lowest
        (MIPI CSI-2, RAW10 and RAW12).
        """
        wanted = self.row_bytes(width_px)
        if rows.ndim != 2 or rows.shape[0] < height_px or rows.shape[1] < wanted:
            raise HardwareError(
                "the camera's frame has another shape", expected=f"{height_px} rows of {wanted} bytes or more", got=rows.shape
            )
        used = np.ascontiguousarray(rows[:height_px, :wanted])
        if self.container_bits == 8:
            return used.astype(np.uint16)
        if self.container_bits == 16:
            words: NDArray[np.uint16] = used.view("<u2")
            return np.right_shift(words, self.shift, dtype=np.uint16)
        low_bits = self.container_bits - 8
        group = 8 // low_bits
        if width_px % group:
            raise HardwareError("packed rows hold whole groups", expected=f"a width divisible by {group}", got=width_px)
        groups = used.reshape(height_px, width_px // group, group + 1).astype(np.uint16)
        places = np.arange(group, dtype=np.uint16) * low_bits
        low = (groups[..., group:] >> places) & (2**low_bits - 1)
        return ((groups[..., :group] << low_bits) | low).reshape(height_px, width_px)


class Freshness:
    """Tells a fresh frame from one seen before, by its time stamp and by its noise."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._last_checksum: int | None = None

    def check_stamp(self, stamp_ns: int) -> None:
        """RepeatedFrameError unless the stamp is later than the last."""
        if self._last_ns is not None and stamp_ns <= self._last_ns:
            raise RepeatedFrameError(
                "the camera repeats a frame", expected=f"a sensor time stamp after {self._last_ns} ns", got=f"{stamp_ns} ns",
                remedy="Restart the camera.",
            )  # fmt: skip
        self._last_ns = stamp_ns

    def check_pixels(self, pixels: NDArray[np.uint16]) -> None:
        """RepeatedFrameError where the counts are those of the last frame, bit for bit.

        Noise never repeats; only a constant frame (a saturated or a black one) can't be told from the last.
        """
        checksum = zlib.crc32(np.ascontiguousarray(pixels).data)
        if checksum == self._last_checksum and pixels.min() != pixels.max():
            raise RepeatedFrameError(
                "the camera repeats a frame", expected="noise that differs from the last frame's", got="the same counts, bit for bit",
                remedy="Restart the camera.",
            )  # fmt: skip
        self._last_checksum = checksum
