"""Is the field blocked by something that is no particle: an insect, a flake, a fibre mat?

Whatever is much larger than the largest particle throws its shadow and fringes over the rest of the frame; pieces of its
outline would be taken for particles.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.background import block_means

__all__ = ["MOST_OBSTRUCTED", "opaque_share"]

MOST_OBSTRUCTED = 0.05
"""Share of the field: with more than this in shadow a frame isn't analysed."""

_OPAQUE = 0.5
_BLOCKS_ACROSS = 8


def opaque_share(intensity: NDArray[np.float32], largest_px: float) -> float:
    """Share of a frame that lies in the shadow of opaque bodies wider than the largest particle.

    Parameters: `intensity` float32 [height, width], background-divided, 1 where nothing is; `largest_px` diameter of the
    largest particle. A shadow counts where more than half of the light is missing over a disc of that diameter's area;
    fringes and dense small particles move light about but don't take it away over such an area.
    """
    factor = max(int(largest_px // _BLOCKS_ACROSS), 1)
    if min(intensity.shape) < largest_px:
        return 0.0
    light = cv2.blur(block_means(intensity, factor), (3, 3), borderType=cv2.BORDER_REFLECT)
    count, _, stats, _ = cv2.connectedComponentsWithStats((light < _OPAQUE).astype(np.uint8), connectivity=4)
    areas = stats[1:count, cv2.CC_STAT_AREA] * float(factor**2)
    return float(areas[areas > np.pi / 4 * largest_px**2].sum() / intensity.size)
