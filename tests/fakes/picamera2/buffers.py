"""Counts to the bytes that libcamera's raw formats are: packing, alignment, rows padded with rubbish."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

PLATFORM_ROW_ALIGNMENT = {"vc4": 32, "pisp": 64}


def delivered_format(asked: str, order: str, bit_depth: int, platform: str) -> str:
    """What a Raspberry Pi makes of a raw format that was asked for: the sensor's own order; on a Pi 5, 16 bits or compressed."""
    packed = asked.endswith("_CSI2P") or "_PISP" in asked
    mono = order == "none"
    if platform == "pisp":
        if packed:
            return f"{'MONO' if mono else order}_PISP_COMP1"
        return "R16" if mono else f"S{order}16"
    return f"{'R' if mono else 'S' + order}{bit_depth}{'_CSI2P' if packed else ''}"


def stride_bytes(name: str, width_px: int, platform: str) -> int:
    """Bytes from row to row."""
    digits = int(name.split("_", maxsplit=1)[0].lstrip("SRGB") or 8)
    bits = digits if name.endswith("_CSI2P") else 8 if digits == 8 else 16
    align = PLATFORM_ROW_ALIGNMENT[platform]
    return math.ceil(math.ceil(width_px * bits / 8) / align) * align


def encoded(pixels: NDArray[np.uint16], name: str, bit_depth: int, stride: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The buffer, uint8 [height, stride], of counts uint16 [height, width]."""
    height, width = pixels.shape
    if name.endswith("_CSI2P"):
        low = bit_depth - 8
        group = 8 // low
        rows = np.empty((height, width // group, group + 1), np.uint8)
        grouped = pixels.reshape(height, width // group, group)
        rows[..., :group] = grouped >> low
        last = np.zeros(grouped.shape[:2], np.uint16)
        for k in range(group):
            last |= (grouped[..., k] & (2**low - 1)) << (k * low)
        rows[..., group] = last
        data = rows.reshape(height, -1)
    elif bit_depth == 8 and not name.endswith("16"):
        data = pixels.astype(np.uint8)
    else:
        shift = 16 - bit_depth if name.endswith("16") else 0
        data = (pixels << shift).astype("<u2").view(np.uint8).reshape(height, -1)
    buffer = rng.integers(0, 256, (height, stride), dtype=np.uint8)
    buffer[:, : data.shape[1]] = data
    return buffer
