"""Does the reconstruction explain the hologram? Per particle, from what refinement left over.

A particle's residual at the sensor is compared with what may be left: shot and read noise, and a share of the particle's
own fringes that calibration and the constraints of the reconstruction may be off by. Noise has as many degrees of freedom
as pixels and hardly varies; the share has few (distance, wavelength, how well the outline fits), and varies much.

Agreement is necessary, not sufficient: particles smaller than some eight pixels explain their faint fringes at many
depths and in many shapes (the model card lists the blind spots with their figures).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from device.analysis.refine import Misfit, Refined
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT, Consistency

__all__ = ["VerifySettings", "unexplained_regions", "verify"]


@dataclass(frozen=True)
class VerifySettings:
    """What may be left over."""

    systematic: float = 0.1
    """Relative error of a particle's fringes that is no reason for suspicion, one standard deviation."""
    modes: int = 3
    """Independent ways to be so wrong."""
    suspect_below: float = 1e-2
    """A probability under this is suspect."""
    ghost_above: float = 0.5
    """More than this share of the fringes' energy left over: the particle isn't there, or isn't this one. Fails."""


def verify(misfit: Misfit, noise: float, settings: VerifySettings | None = None) -> Consistency:
    """Judge one particle; `noise` is the relative standard deviation of a pixel's intensity where nothing is.

    chi2 is the residual's energy over the expected one, p the probability of as much in a right reconstruction, flag
    QARTOD's 1 (pass), 3 (suspect) or 4 (fail).
    """
    chosen = settings or VerifySettings()
    # The amplitude of Poisson counts has the same variance everywhere: a quarter of the relative variance at 1.
    variance = noise**2 / 4
    expected_noise = variance * misfit.pixels
    tolerated = chosen.systematic**2 * misfit.fringes
    spread = variance * np.sqrt(2 * misfit.pixels)
    excess = max(misfit.residual - expected_noise, 0.0)
    p = float(scipy.stats.chi2.sf(chosen.modes * excess / max(tolerated + spread, 1e-30), chosen.modes))
    flag = QARTOD_PASS if p >= chosen.suspect_below else QARTOD_SUSPECT
    if excess > chosen.ghost_above * misfit.fringes + 3 * spread:
        flag = QARTOD_FAIL
    return Consistency(chi2=round(misfit.residual / max(expected_noise + tolerated, 1e-30), 4), p=round(p, 6), flag=flag)


def unexplained_regions(refined: Refined, noise: float, settings: VerifySettings | None = None, *, block_px: int = 32) -> int:
    """Regions of the frame with fringes that no detection accounts for: something was missed there.

    Blocks whose residual exceeds five standard deviations of what noise and the tolerated share of the explained fringes
    leave, joined where they touch.
    """
    chosen = settings or VerifySettings()
    residual = _blocks(refined.residual**2, block_px)
    fringes = _blocks((refined.explained - 1) ** 2, block_px)
    variance = noise**2 / 4
    pixels = block_px * block_px
    limit = variance * (pixels + 5 * np.sqrt(2 * pixels)) + 5 * chosen.systematic * fringes
    return int(cv2.connectedComponents((residual > limit).astype(np.uint8), connectivity=8)[0]) - 1


def _blocks(values: NDArray[np.floating], block_px: int) -> NDArray[np.float64]:
    """Sums over whole blocks."""
    height, width = (n // block_px * block_px for n in values.shape)
    cut = values[:height, :width].reshape(height // block_px, block_px, width // block_px, block_px)
    return cut.sum(axis=(1, 3), dtype=np.float64)
