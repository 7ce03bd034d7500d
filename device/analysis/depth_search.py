"""Depth by the least misfit at the sensor: where a particle, its neighbours as they are, explains the hologram best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.patches import Patch, RefineSettings, missing_wave, overlap, to_sensor, together, transfer_function
from device.optics import fft
from device.optics.geometry import Geometry

__all__ = ["found_depth", "joined", "move", "scan", "seek_uncertain"]

_EXTENT_SHARE = 0.2
"""A particle's depth is blurred by this share of its diameter: it is no thin sheet, and as a lens a little too weak it would
lie a little too near. From 128 simulated particles (multi-slice)."""

_SOUGHT = 10.0
"""Half the range of depths tried around a first estimate, as a defocus number."""

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


def seek_uncertain(
    amplitude: Real, patches: Sequence[Patch], uncertainties_um: Sequence[float], geometry: Geometry, settings: RefineSettings
) -> None:
    """Coarse steps over twice its uncertainty for every particle whose depth may be outside of what is tried later."""
    step_um = 2 * settings.depth_step * geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    uncertain = [k for k, u in enumerate(uncertainties_um) if u > settings.depth_steps * step_um / 2]
    if not uncertain:
        return
    wave = together(amplitude.shape, patches)
    for k in uncertain:
        scan(amplitude, wave, patches[k], (step_um, math.ceil(2 * uncertainties_um[k] / step_um), 1), geometry, settings)


def scan(
    amplitude: Real, wave: Complex, patch: Patch, grid: tuple[float, int, int], geometry: Geometry, settings: RefineSettings
) -> None:
    """Move one particle to the depth where it explains the hologram best, its neighbours as they are.

    `grid`: step in um, steps to either side, iterations at each depth.
    """
    there, here = overlap(amplitude.shape, patch)
    measured = amplitude[there]
    others = wave[there] - patch.carried()[here]
    step_um, steps, iterations = grid
    side = patch.support.shape[0]
    step = transfer_function(side, step_um, geometry)
    transfer = patch.transfer * np.conj(transfer_function(side, steps * step_um, geometry))
    misfits: list[float] = []
    tried: list[Patch] = []
    for k in range(-steps, steps + 1):
        trial = replace(patch, depth_um=patch.depth_um + k * step_um, transfer=transfer, ahead=patch.scattered)
        tried.append(trial)
        transfer = transfer * step
        for _ in range(iterations):
            seen = np.zeros_like(patch.scattered)
            seen[here] = missing_wave(measured, others + trial.carried()[here])
            trial.improve(seen, settings)
        misfits.append(float(((measured - np.abs(others + trial.carried()[here])) ** 2).sum()))
    best = int(np.argmin(misfits))
    patch.scattered = patch.ahead = tried[best].scattered
    patch.depth_um, patch.misfit, patch.bend, patch.pixels = tried[best].depth_um, misfits[best], 0.0, measured.size
    if 0 < best < len(misfits) - 1:
        left, middle, right = misfits[best - 1 : best + 2]
        bend = left - 2 * middle + right
        patch.depth_um += step_um * 0.5 * (left - right) / bend
        patch.bend = bend / step_um**2
    patch.transfer = to_sensor(side, patch.depth_um, geometry)


def move(patch: Patch, depth_um: float, geometry: Geometry) -> None:
    """To another depth, the field carried along: what explains the hologram from there."""
    side = patch.support.shape[0]
    carried = fft.ifft2(
        fft.fft2(patch.scattered) * transfer_function(side, patch.depth_um - depth_um, geometry), overwrite_x=True
    )
    patch.scattered = patch.ahead = np.where(patch.support, carried, np.complex64(0))
    patch.depth_um, patch.transfer = depth_um, to_sensor(side, depth_um, geometry)


def found_depth(patch: Patch, first: Depth, noise: float, geometry: Geometry) -> Depth:
    """What is known of a depth in the end.

    A misfit that bends sharply isn't yet a depth: the field bends with it (a lens that is a little too weak lies a little
    too near). The extended particle's share is the larger part.
    """
    unit_um = geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    extent_um = _EXTENT_SHARE * 2 * math.sqrt(float(patch.support.sum()) / math.pi) * geometry.object_pitch_um
    deviation_um = _deviation_um(patch, noise)
    if not math.isfinite(deviation_um):
        # Better still beyond what was tried: as uncertain as that is wide.
        return Depth(patch.depth_um, max(first.uncertainty_um, _SOUGHT * unit_um))
    uncertainty_um = math.hypot(unit_um, extent_um, deviation_um)
    # What was uncertain for a reason (half its fringes outside the frame) stays uncertain.
    return Depth(patch.depth_um, max(uncertainty_um, 0.3 * first.uncertainty_um))


def joined(first: Depth, sought: Depth, patch: Patch) -> Depth:
    """Both ways to a depth, each as far as it is sure; they share the particle, so that together they are no surer."""
    if patch.bend <= 0:
        return sought
    weights = first.uncertainty_um**-2, sought.uncertainty_um**-2
    z_um = (weights[0] * first.z_um + weights[1] * sought.z_um) / sum(weights)
    return Depth(z_um, min(first.uncertainty_um, sought.uncertainty_um))


def _deviation_um(patch: Patch, noise: float) -> float:
    """One standard deviation of a depth by the bend of its misfit.

    Noise differs from pixel to pixel; what the field gets wrong doesn't: it has no more independent ways than the support
    has pixels.
    """
    if patch.bend <= 0:
        return math.inf
    variance = noise**2 / 4
    wrong = max(patch.misfit - variance * patch.pixels, 0.0) / float(patch.support.sum())
    return math.sqrt(2 * (variance + wrong) / patch.bend)
