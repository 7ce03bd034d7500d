"""The image library, with what it would write to the terminal caught: its warnings say that pixels are missing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.library_output import library_lines

__all__ = ["decoded"]

_HARMLESS = ("extraneous bytes before marker", "iCCP", "sRGB", "gAMA", "cHRM")
"""Warnings about what is beside the pixels."""
_OURS = (
    "libpng", "Corrupt JPEG", "Premature end of JPEG", "JPEG", "TIFF", "[ WARN:", "[ERROR:", "[ INFO:", "OpenCV", "imread", "imdecode",
)  # fmt: skip
"""How the library's lines begin; everything else that reached standard error meanwhile is passed on."""


def decoded(data: bytes) -> NDArray[Any]:
    """The image in the bytes of a file, as it is stored; ValueError with the decoder's words where it isn't sound."""
    import cv2

    said: list[str] = []
    try:
        with library_lines(_OURS, said):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(error.err or "the decoder gave up") from error
    complaints = [line for line in said if not any(word in line for word in _HARMLESS)]
    if image is None or complaints:
        raise ValueError(complaints[0] if complaints else "no image could be decoded")
    return np.asarray(image)
