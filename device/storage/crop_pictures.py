"""Crops as pictures for people."""

from __future__ import annotations

from typing import Literal

import numpy as np

from device.storage.review import Crop

__all__ = ["Shown", "brightfield_crop_picture", "crop_picture"]

Shown = Literal["amplitude", "phase", "both"]


def crop_picture(crop: Crop, shown: Shown = "both") -> bytes:
    """PNG of 8 bits: amplitude (1 is mid-grey), phase (-pi to pi, black to white), or both side by side."""
    import cv2  # noqa: PLC0415  only who looks pays for it

    field = 1 + crop.image[..., 0] + 1j * crop.image[..., 1]
    amplitude = np.clip((np.abs(field) - 0.2) / 1.3, 0, 1)
    phase = (np.angle(field) + np.pi) / (2 * np.pi)
    levels = {"amplitude": amplitude, "phase": phase, "both": np.hstack([amplitude, phase])}[shown]
    return cv2.imencode(".png", (levels * 255).astype(np.uint8))[1].tobytes()


def brightfield_crop_picture(crop: Crop, wavelength_um: float) -> bytes:
    """PNG of 8 bits: the brightfield view of a crop, enlarged, with the word 'computed' in it; `wavelength_um` of the recording."""
    import cv2  # noqa: PLC0415  only who looks pays for it

    from device.analysis.views import brightfield_view, grey_picture, marked_computed  # noqa: PLC0415

    view = brightfield_view(1 + crop.image[..., 0] + 1j * crop.image[..., 1], wavelength_um, crop.about.pitch_um)
    return cv2.imencode(".png", marked_computed(grey_picture(view)))[1].tobytes()
