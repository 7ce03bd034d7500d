"""What the pictures share: paper, ink, phase colours, scale bar."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["FONT", "GAP_PX", "INK", "PANE_PX", "PAPER", "Picture", "phase_colours", "scale_bar"]

Picture = NDArray[np.uint8]
"""uint8 [height, width, 3], BGR."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
INK = (40, 40, 40)
PAPER = 250
PANE_PX = 640
GAP_PX = 18


def phase_colours(phase_rad: NDArray[np.floating]) -> Picture:
    """Cyclic colours of a phase in radians, uint8 BGR: grey-blue is no delay."""
    wheel = np.clip((phase_rad + np.pi) / (2 * np.pi) * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(wheel, cv2.COLORMAP_TWILIGHT_SHIFTED), np.uint8)


def scale_bar(pane: Picture, um_per_px: float) -> None:
    """Draw a round length, about a fifth of the width, into the lower left corner."""
    wanted = pane.shape[1] * um_per_px / 5
    power = 10 ** np.floor(np.log10(wanted))
    length_um = float(max(f * power for f in (1, 2, 5) if f * power <= wanted))
    pixels = round(length_um / um_per_px)
    y = pane.shape[0] - 16
    cv2.rectangle(pane, (8, y - 22), (22 + max(pixels, 70), y + 10), (255, 255, 255), -1)
    cv2.line(pane, (14, y), (14 + pixels, y), INK, 4)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} um"
    cv2.putText(pane, text, (14, y - 7), FONT, 0.45, INK, 1, cv2.LINE_AA)
