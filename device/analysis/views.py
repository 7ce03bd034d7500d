"""Pictures that are computed for people to look at, and say so in themselves; nothing is counted or named by them.

The brightfield view is what a brightfield microscope would show of a refocused field, by physics alone (device.optics.microscope). What
the field has, the view has: a twin image that is left in it, and what lies off the plane. It stands beside the hologram and the
field, never in their place.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.microscope import Microscope, brightfield_image, condenser_directions

__all__ = ["brightfield_view", "grey_picture", "marked_computed"]

_OBJECTIVE_NA, _CONDENSER_NA = 0.25, 0.20
"""A 10x objective, its condenser closed to 0.8."""
_DIRECTIONS = 60
"""Of the condenser: of a disc that delays by half a turn, more change no pixel by more than 0.015 of the light."""

_BRIGHTEST = 1.6
"""Intensity that is shown white."""
_LEAST_PX = 144
"""Height under which a picture is enlarged, so that its mark can be read."""


def brightfield_view(field: NDArray[np.complexfloating], wavelength_um: float, pitch_um: float) -> NDArray[np.float32]:
    """Intensity of the view, float32 [height, width], 1 where nothing is.

    `field` complex [height, width], 1 where nothing is, refocused to the plane that is shown; `pitch_um` at the object;
    `wavelength_um` of the recording, in vacuum, which is the microscope's, too. What is finer than the field's pixels no view holds.
    """
    microscope = Microscope(wavelength_um, _OBJECTIVE_NA, _CONDENSER_NA)
    # A lens spreads a point over a few of its resolved lengths: opposite edges must not meet.
    margin = int(np.ceil(4 * wavelength_um / (_OBJECTIVE_NA * pitch_um)))
    height, width = field.shape
    more = [(margin, fft.next_fast_len(side + 2 * margin) - side - margin) for side in (height, width)]
    around = np.pad(field, more, mode="edge")
    picture = brightfield_image(around, pitch_um, microscope, condenser_directions(microscope, _DIRECTIONS))
    return picture[margin : margin + height, margin : margin + width]


def grey_picture(intensity: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Intensity as 8 bits, uint8 [height, width]: 0 black, _BRIGHTEST and more white."""
    return (np.clip(intensity / _BRIGHTEST, 0, 1) * 255).astype(np.uint8)


def marked_computed(picture: NDArray[np.uint8], what: str = "computed") -> NDArray[np.uint8]:
    """The picture, uint8 [height, width] or [height, width, 3], enlarged by a whole factor where it is small, with the word in it.

    The words stand white on black in its lower left corner, on the picture and not below it: whoever cuts them off loses a part of
    what is shown.
    """
    factor = max(1, -(-_LEAST_PX // picture.shape[0]))
    large = np.ascontiguousarray(picture.repeat(factor, axis=0).repeat(factor, axis=1))
    height, width = large.shape[:2]
    (at_one, _), _ = cv2.getTextSize(what, cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)
    scale = min(max(height / 600, 0.45), 0.9 * width / at_one)
    (wide, high), below = cv2.getTextSize(what, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    edge = max(2, round(4 * scale))
    bottom = height - 1 - edge
    cv2.rectangle(large, (edge, bottom - high - below - 2 * edge), (3 * edge + wide, bottom), (0, 0, 0), cv2.FILLED)
    cv2.putText(
        large, what, (2 * edge, bottom - edge - below), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA
    )
    return large
