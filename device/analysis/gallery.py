"""Close-ups: the largest particles of a frame, and sheets of crops."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.drawing import FONT, GAP_PX, INK, PAPER, Picture, phase_colours
from device.analysis.pipeline import FrameAnalysis
from device.records import Particle

__all__ = ["close_ups", "contact_sheet"]

_SIDE_PX = 140
_COLUMNS = 5
_CAPTION = 38
"""Letters that fit under a pair."""
_SURROUNDINGS = 3.0
"""Side of a picture of a crop over the particle's diameter."""
_LEAST_PX = 20
_BAR_UM = 10
_AROUND = 1.7
"""Side of a close-up over that of the particle's box."""


def close_ups(
    analysis: FrameAnalysis, amplitude: Picture, phase: Picture, colours: dict[str, tuple[int, int, int]], width: int
) -> Picture:
    """The largest particles, focus above, phase below, name and size under each: uint8 BGR strip of the given width; no rows where nothing was found.

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


def contact_sheet(
    crops: Sequence[NDArray[np.float32]],
    esd_um: Sequence[float],
    captions: Sequence[tuple[str, str]],
    pitch_um: Sequence[float],
) -> Picture:
    """A picture of crops, uint8 BGR: amplitude and phase side by side, the middle enlarged, two lines of caption under each.

    `crops` float32 [side, side, channels] as a classifier sees them, the first two channels real part minus 1 and imaginary part;
    `pitch_um` of the pixels of each.
    """
    columns = min(_COLUMNS, max(len(crops), 1))
    cell = (_SIDE_PX + 52, 2 * _SIDE_PX + GAP_PX)
    rows = -(-len(crops) // columns)
    sheet = np.full((44 + rows * cell[0], GAP_PX + columns * cell[1], 3), PAPER, np.uint8)
    cv2.putText(sheet, f"amplitude | phase; bars: {_BAR_UM} um", (GAP_PX, 29), FONT, 0.55, INK, 1, cv2.LINE_AA)
    for k, (crop, size_um, lines, step_um) in enumerate(zip(crops, esd_um, captions, pitch_um, strict=True)):
        top, left = 44 + k // columns * cell[0], GAP_PX + k % columns * cell[1]
        sheet[top : top + _SIDE_PX, left : left + 2 * _SIDE_PX] = _pair(crop, size_um, step_um)
        for row, text in enumerate(lines):
            baseline = (left, top + _SIDE_PX + 16 + 18 * row)
            cv2.putText(sheet, text[:_CAPTION], baseline, FONT, 0.42, INK, 1, cv2.LINE_AA)
    return sheet


def _pair(crop: NDArray[np.float32], size_um: float, pitch_um: float) -> Picture:
    """Amplitude beside phase of the middle of a crop; enlarged as a field, for between two phases there may be a jump."""
    side = int(np.clip(_SURROUNDINGS * size_um / pitch_um, _LEAST_PX, len(crop)))
    start = (len(crop) - side) // 2
    middle = np.ascontiguousarray(crop[start : start + side, start : start + side])
    large = cv2.resize(middle, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC)
    field = 1 + large[..., 0] + 1j * large[..., 1]
    grey = np.clip((np.abs(field) - 0.2) / 1.3 * 255, 0, 255).astype(np.uint8)
    pair = np.hstack([np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), np.uint8), phase_colours(np.angle(field))])
    bar = round(_BAR_UM / pitch_um * _SIDE_PX / side)
    cv2.line(pair, (6, _SIDE_PX - 7), (6 + bar, _SIDE_PX - 7), INK, 2)
    return pair
