"""Close-ups of the largest particles of a frame: focus above, phase below, name and size under each."""

from __future__ import annotations

import cv2
import numpy as np

from device.analysis.drawing import FONT, GAP_PX, INK, PAPER, Picture
from device.analysis.pipeline import FrameAnalysis
from device.records import Particle

__all__ = ["close_ups"]

_SIDE_PX = 140
_AROUND = 1.7
"""Side of a close-up over that of the particle's box."""


def close_ups(
    analysis: FrameAnalysis, amplitude: Picture, phase: Picture, colours: dict[str, tuple[int, int, int]], width: int
) -> Picture:
    """uint8 BGR strip of the given width; no rows where nothing was found.

    `amplitude` and `phase` are pictures uint8 BGR [height, width, 3] of the whole frame, pixel by pixel.
    """
    step = _SIDE_PX + GAP_PX
    shown = sorted(zip(analysis.particles, analysis.classifications, strict=True), key=lambda pair: -pair[0].esd_um)[
        : (width - GAP_PX) // step
    ]
    if not shown:
        return np.zeros((0, width, 3), np.uint8)
    strip = np.full((2 * _SIDE_PX + 72, width, 3), PAPER, np.uint8)
    title = "the largest of them, close up" if len(shown) < len(analysis.particles) else "close up"
    cv2.putText(strip, title, (GAP_PX, 24), FONT, 0.55, INK, 1, cv2.LINE_AA)
    for k, (particle, name) in enumerate(shown):
        left = GAP_PX + k * step
        for row, picture in enumerate((amplitude, phase)):
            top = 34 + row * _SIDE_PX
            strip[top : top + _SIDE_PX, left : left + _SIDE_PX] = _crop(picture, particle)
        bottom = 34 + 2 * _SIDE_PX
        cv2.rectangle(strip, (left, 34), (left + _SIDE_PX - 1, bottom - 1), colours[name.label], 2)
        text = f"{name.label} {particle.esd_um:.0f} um" if name.label != "particle" else f"{particle.esd_um:.0f} um"
        cv2.putText(strip, text, (left, bottom + 20), FONT, 0.45, INK, 1, cv2.LINE_AA)
    return strip


def _crop(picture: Picture, particle: Particle) -> Picture:
    """A square about the particle's box, scaled; blank outside the frame."""
    x, y, width, height = particle.bbox_px
    side = max(_AROUND * max(width, height), 12.0)
    scale = _SIDE_PX / side
    centre_x, centre_y = x + (width - 1) / 2, y + (height - 1) / 2
    half = (_SIDE_PX - 1) / 2
    matrix = np.array([[scale, 0, half - scale * centre_x], [0, scale, half - scale * centre_y]], np.float64)
    size = (_SIDE_PX, _SIDE_PX)
    paper = (PAPER, PAPER, PAPER)
    crop = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT, borderValue=paper)
    return np.asarray(crop, np.uint8)
