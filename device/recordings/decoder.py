"""The image library, with what it would write to the terminal caught: its warnings say that pixels are missing."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decoded"]

_LOCK = threading.Lock()
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
        with _caught(said):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(error.err or "the decoder gave up") from error
    complaints = [line for line in said if not any(word in line for word in _HARMLESS)]
    if image is None or complaints:
        raise ValueError(complaints[0] if complaints else "no image could be decoded")
    return np.asarray(image)


@contextmanager
def _caught(said: list[str]) -> Generator[None]:
    """Lines that the library's C code writes to standard error, gathered."""
    with _LOCK, tempfile.TemporaryFile() as caught:
        try:
            own = os.dup(2)
        except OSError:  # nobody listens there
            yield
            return
        try:
            os.dup2(caught.fileno(), 2)
            yield
        finally:
            os.dup2(own, 2)
            os.close(own)
            caught.seek(0)
            others = _sorted(caught.read().decode("utf-8", "replace").splitlines(), said)
            # Without another thread nobody else writes there: these are warnings of the library about what is no pixel.
            if others and threading.active_count() > 1:
                print("\n".join(others), file=sys.stderr)


def _sorted(lines: list[str], said: list[str]) -> list[str]:
    """The library's lines, and those that carry on from one, go to `said`; the others come back."""
    others: list[str] = []
    carries_on = False
    for line in lines:
        carries_on = line.startswith(_OURS) or (carries_on and line[:1] in ("", ">", " ", "'"))
        (said if carries_on else others).append(line)
    return others
