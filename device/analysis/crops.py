"""The crop a classifier sees: one recipe for the box and for training.

Physical scale is kept: every crop is sampled at CROP_PITCH_UM, so that a small spore stays small.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["CROP_PITCH_UM", "CROP_PX", "classifier_crop"]

CROP_PX = 64
"""Side of a crop: 72 um, above the largest pollen of the classes."""

CROP_PITCH_UM = 1.12
"""Pitch of a crop at the object plane."""


def classifier_crop(field: NDArray[np.complex64], x_px: float, y_px: float, pitch_um: float) -> NDArray[np.float32]:
    """The surroundings of one particle.

    Parameters: `field` complex64 [height, width], 1 where nothing is; `x_px`, `y_px` the particle's centre; `pitch_um`
    the field's pitch at the object plane. Returns float32 [CROP_PX, CROP_PX, 2]: real part minus 1, imaginary part;
    0 outside the field. Sampled bilinearly about the very centre, so that sub-pixel position doesn't matter.
    """
    step = CROP_PITCH_UM / pitch_um
    half = (CROP_PX - 1) / 2
    # Maps crop pixels to field pixels: column x_px + (k - half) * step.
    matrix = np.array([[step, 0, x_px - half * step], [0, step, y_px - half * step]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    parts = [np.ascontiguousarray(part) for part in (field.real - 1, field.imag)]
    crops = [cv2.warpAffine(part, matrix, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_CONSTANT) for part in parts]
    return np.stack(crops, axis=-1).astype(np.float32)
