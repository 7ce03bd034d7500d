"""How the optics look with nothing on the window: what commissioning writes down and `holonode doctor` compares with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import block_means
from device.instrument import SensorSpec

__all__ = ["Baseline", "baseline"]

_BLOCK_PX = 16
_ODD_SIGMAS = 8.0


@dataclass(frozen=True)
class Baseline:
    """Figures of an evenly lit, empty field."""

    level: float
    """Background over full scale, pedestal taken off both."""
    evenness: float
    """Darkest over brightest part of the field (1st and 99th percentile of blocks)."""
    contrast: float
    """Relative scatter of the pixels around the smooth light: dirt, fringes, fixed pattern, not noise."""
    saturated: float
    """Share of saturated pixels."""
    unsteadiness: float
    """Relative standard deviation of the level from frame to frame."""
    odd_pixels: float
    """Pixels that stand out from their neighbours in every frame: hot, dead, or under a speck."""


def baseline(frames: Sequence[NDArray[np.floating] | NDArray[np.integer]], sensor: SensorSpec) -> Baseline:
    """Figures from frames [height, width] in counts, lamp on."""
    stack = np.stack([np.asarray(f, np.float32) for f in frames])
    white = 2**sensor.bit_depth - 1
    light = np.asarray(stack.mean(axis=0) - sensor.dark_level_counts, np.float32)
    smooth = block_means(light, _BLOCK_PX)
    even = cv2.resize(smooth, (light.shape[1], light.shape[0]), interpolation=cv2.INTER_CUBIC)
    levels = stack.mean(axis=(1, 2)) - sensor.dark_level_counts
    return Baseline(
        level=float(light.mean()) / (white - sensor.dark_level_counts),
        evenness=float(np.percentile(smooth, 1) / max(float(np.percentile(smooth, 99)), 1e-6)),
        contrast=float(np.std(light / np.maximum(even, 1.0))),
        saturated=float((stack >= white).mean()),
        unsteadiness=float(np.std(levels) / max(float(np.mean(levels)), 1e-6)),
        odd_pixels=_odd_pixels(light),
    )


def _odd_pixels(light: NDArray[np.float32]) -> float:
    apart = light - cv2.medianBlur(light, 3)
    scatter = 1.4826 * float(np.median(np.abs(apart)))
    return float((np.abs(apart) > _ODD_SIGMAS * max(scatter, 0.25)).sum())
