"""Does the reconstruction explain the hologram? Per particle, and for what no particle accounts for.

Three things are asked of a particle, each measured in units of what may be off by shot noise, calibration and the network's
own error; the worst counts.

fringes   The field *as the network gave it* is carried to the sensor from the depth found, its neighbours taken off, and
          laid against the measured fringes. Refinement can bend a wrong field until it explains almost anything: what came
          out of it is judged by the next question.
moved     How far refinement had to move what one pass of the network knows of the field, its coarse half.
distance  Two ways to the depth, the phase of the back-propagated field and the least misfit at the sensor, must agree.

Noise has as many degrees of freedom as pixels and hardly varies; an error of calibration or of the network has few (depth,
how well the outline fits, how strong the phase): two are taken, so that an excess t of the tolerated energy is as rare as
exp(-t). Calibration of distance, wavelength and pitch acts as an error of depth (to first order all scale the defocus
wavelength * distance / pitch^2): it blurs a particle's fringes by the phase they gain over it, and widens the third question.

Agreement is necessary, not sufficient: `tests/benchmarks/guard.py` measures the blind spots, the model card lists them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.refine import NETWORK_ERROR, Misfit, Refined
from device.records import QARTOD_FAIL, QARTOD_PASS, QARTOD_SUSPECT, Consistency

__all__ = ["VerifySettings", "unexplained_map", "unexplained_regions", "verify"]

_QUESTIONS = 3
"""The worst of so many answers is so many times as likely by chance (Bonferroni)."""


@dataclass(frozen=True)
class VerifySettings:
    """What may be left over."""

    network_error: float = NETWORK_ERROR
    """Relative error of the network's fields, one standard deviation."""
    distance_uncertainty_um: float | None = None
    """Of a distance by calibration (distance, wavelength, pitch), one standard deviation; None: a fiftieth of the distance."""
    suspect_below: float = 1e-2
    """A probability under this is suspect."""
    ghost_above: float = 0.5
    """More than this share of the fringes' energy, given and measured, is left over: what was given isn't there. Fails."""
    refined_error: float = 0.1
    """Relative error of refined fields at the sensor, one standard deviation."""
    unexplained_above: float = 20.0
    """A region with so many times the energy that may be left over holds something that was missed; around right particles of
    eight pixels and more one in a hundred has as much."""


def verify(
    misfit: Misfit, noise: float, depths: tuple[Depth, Depth], distance_um: float, settings: VerifySettings | None = None
) -> Consistency:
    """Judge one particle.

    Parameters: `misfit` of refinement; `noise` relative standard deviation of a pixel's intensity where nothing is;
    `depths` first estimate and the one found, from the sensor; `distance_um` nominal.
    chi2 is the worst of the three answers: energy left over (distance squared) in units of the tolerated one, about 1 in a
    right reconstruction; p the probability of as much in one; flag QARTOD's 1 (pass), 3 (suspect) or 4 (fail).
    """
    chosen = settings or VerifySettings()
    # The amplitude of Poisson counts has the same variance everywhere: a quarter of the relative variance at 1.
    variance = noise**2 / 4
    floor, spread = variance * misfit.pixels, variance * math.sqrt(2 * misfit.pixels)
    first, found = depths
    calibration_um = distance_um / 50 if chosen.distance_uncertainty_um is None else chosen.distance_uncertainty_um
    # The surer of the two: a wrong shape makes its own depth uncertain, and must not be forgiven for it.
    unsure_um = min(first.uncertainty_um, found.uncertainty_um)
    blur = min((misfit.axial_per_um * unsure_um) ** 2, 1.0)
    # Of two fields with a relative error e between them: |a - b|^2 = e^2 (|a|^2 + |b|^2) / 2.
    tolerated = (chosen.network_error**2 + blur) / 2
    excess = max(misfit.first_residual - floor, 0.0)
    strength = misfit.first_fringes + max(misfit.measured_fringes - floor, 0.0)
    fringes = excess / max(tolerated * strength + spread, 1e-30)
    moved = misfit.moved / tolerated
    # A given field that is wrong by so much lies as far off: its fringes turn by axial_per_um.
    given_um = chosen.network_error / misfit.axial_per_um if misfit.axial_per_um > 0 else 0.0
    allowed_um2 = calibration_um**2 + first.uncertainty_um**2 + found.uncertainty_um**2 + given_um**2
    worst = max(fringes, moved, (found.z_um - first.z_um) ** 2 / max(allowed_um2, 1e-30))
    p = min(_QUESTIONS * math.exp(-worst), 1.0)
    flag = QARTOD_PASS if p >= chosen.suspect_below else QARTOD_SUSPECT
    if excess > chosen.ghost_above * strength + 3 * spread:
        flag = QARTOD_FAIL
    return Consistency(chi2=round(worst, 4), p=round(p, 6), flag=flag)


def unexplained_map(
    refined: Refined, noise: float, settings: VerifySettings | None = None, *, block_px: int = 32
) -> NDArray[np.float64]:
    """How much is left over in every block that no detection accounts for, in units of what may be.

    Returns float64 [rows, columns] of blocks of `block_px`, half overlapping: block (i, j) begins at pixel
    (i, j) * block_px / 2. What may be left over: one standard deviation of the noise's energy, and the tolerated share of
    the explained fringes.
    """
    chosen = settings or VerifySettings()
    variance, pixels = noise**2 / 4, block_px * block_px
    excess = _blocks(refined.residual**2, block_px) - variance * pixels
    fringes = _blocks((refined.explained - 1) ** 2, block_px)
    return excess / (variance * math.sqrt(2 * pixels) + chosen.refined_error**2 * fringes)


def unexplained_regions(refined: Refined, noise: float, settings: VerifySettings | None = None) -> int:
    """Regions of the frame with fringes that no detection accounts for: something was missed there.

    Blocks of `unexplained_map` over the limit, joined where they touch.
    """
    chosen = settings or VerifySettings()
    over = unexplained_map(refined, noise, chosen) > chosen.unexplained_above
    return int(cv2.connectedComponents(over.astype(np.uint8), connectivity=8)[0]) - 1 if over.size else 0


def _blocks(values: NDArray[np.floating], block_px: int) -> NDArray[np.float64]:
    """Sums over blocks that overlap by half."""
    half = block_px // 2
    height, width = (n // half * half for n in values.shape)
    cells = values[:height, :width].reshape(height // half, half, width // half, half).sum(axis=(1, 3), dtype=np.float64)
    return cells[:-1, :-1] + cells[1:, :-1] + cells[:-1, 1:] + cells[1:, 1:]
