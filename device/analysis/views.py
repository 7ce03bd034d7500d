"""Pictures that are computed for people to look at, and say so in themselves; nothing is counted or named by them.

The brightfield view is what a brightfield microscope would show of a refocused field (Wu et al., Light Sci. Appl. 8, 25 (2019),
doi:10.1038/s41377-019-0139-9): the twin image and what lies off the plane are gone, but what the network knows of particles
may be in it. It stands beside the hologram and the field, never in their place.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.image_tiles import ChannelNetwork, run_image

__all__ = ["BRIGHTFIELD", "VIEWS", "brightfield_view", "grey_picture", "marked_computed"]

BRIGHTFIELD = "brightfield"
"""Name of the bundle."""

VIEWS = (BRIGHTFIELD,)
"""What can be computed of a field for people, by the bundle that does it."""

_BRIGHTEST = 1.6
"""Intensity that is shown white."""
_LEAST_PX = 144
"""Height under which a picture is enlarged, so that its mark can be read."""


def brightfield_view(field: NDArray[np.complexfloating], network: ChannelNetwork) -> NDArray[np.float32]:
    """Intensity of the view, float32 [height, width], 1 where nothing is.

    `field` complex [height, width], 1 where nothing is, refocused to the plane that is shown.
    """
    channels = np.stack([field.real - 1, field.imag], axis=-1).astype(np.float32)
    return np.maximum(1 + run_image(channels, network)[..., 0], 0)


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
