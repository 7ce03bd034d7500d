"""Depth by the least misfit at the sensor: where a particle, its neighbours as they are, explains the hologram best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.patches import Patch, RefineSettings, missing_wave, overlap, to_sensor, together, transfer_function
from device.optics import fft
from device.optics.geometry import Geometry

__all__ = ["descend", "found_depth", "joined", "move", "scan", "seek_uncertain"]

_EXTENT_SHARE = 0.2
"""A particle's depth is blurred by this share of its diameter: it is no thin sheet, and as a lens a little too weak it would
lie a little too near. From 128 simulated particles (multi-slice)."""

_TAILS = 1.2
"""By which the deviation of a depth that both ways agree on is larger than the lesser of theirs: they err alike, and not
normally. Of 193 simulated particles (multi-slice) 95 in 100 lay within 2.4 of the lesser."""

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

    `grid`: step in um, steps to either side, iterations at each depth. Every depth is tried.
    """
    step_um, steps, _ = grid
    attempt = _Attempt(amplitude, wave, patch, grid, geometry, settings)
    for k in range(-steps, steps + 1):
        attempt.at(k)
    attempt.settle(step_um)


def descend(
    amplitude: Real, wave: Complex, patch: Patch, grid: tuple[float, int, int], geometry: Geometry, settings: RefineSettings
) -> None:
    """The same from a depth that is nearly right: to either side only as long as it gets better."""
    step_um, steps, _ = grid
    attempt = _Attempt(amplitude, wave, patch, grid, geometry, settings)
    for k in (0, -1, 1):
        attempt.at(k)
    while (edge := attempt.best) in (min(attempt.misfits), max(attempt.misfits)) and abs(edge) < steps:
        attempt.at(edge + (1 if edge > 0 else -1))
    attempt.settle(step_um)


class _Attempt:
    """One particle at several depths, each with a few iterations of its own."""

    def __init__(
        self, amplitude: Real, wave: Complex, patch: Patch, grid: tuple[float, int, int], geometry: Geometry,
        settings: RefineSettings,
    ) -> None:  # fmt: skip
        there, self._here = overlap(amplitude.shape, patch)
        self._measured = amplitude[there]
        self._others = wave[there] - patch.carried()[self._here]
        self._patch, self._geometry, self._settings = patch, geometry, settings
        self._step_um, _, self._iterations = grid
        self._spectrum = patch.spectrum(patch.scattered)
        self.misfits: dict[int, float] = {}
        """By steps from where the particle was."""
        self._tried: dict[int, Patch] = {}

    @property
    def best(self) -> int:
        """Steps to the least misfit so far."""
        return min(self.misfits, key=lambda k: self.misfits[k])

    def at(self, k: int) -> None:
        """Try the depth k steps away; from a depth that was tried it is one step."""
        patch, here = self._patch, self._here
        nearest = next((n for n in (k - 1, k + 1) if n in self._tried), 0)
        transfer = self._tried[nearest].transfer if nearest in self._tried else patch.transfer
        if k != nearest:
            transfer = transfer * _stride(patch.side, (k - nearest) * self._step_um, self._geometry)
        trial = replace(patch, depth_um=patch.depth_um + k * self._step_um, transfer=transfer, ahead=patch.scattered)
        wave = self._others + fft.ifft2(self._spectrum * transfer, overwrite_x=True)[here]
        for _ in range(self._iterations):
            seen = np.zeros((patch.side, patch.side), np.complex64)
            seen[here] = missing_wave(self._measured, wave)
            trial.improve(seen, self._settings)
            wave = self._others + trial.carried()[here]
        self.misfits[k] = float(((self._measured - np.abs(wave)) ** 2).sum())
        self._tried[k] = trial

    def settle(self, step_um: float) -> None:
        """Move the particle to the best depth, between steps by a parabola."""
        patch, best = self._patch, self.best
        won = self._tried[best]
        patch.scattered = patch.ahead = won.scattered
        patch.depth_um, patch.misfit, patch.bend, patch.pixels = won.depth_um, self.misfits[best], 0.0, self._measured.size
        if best - 1 in self.misfits and best + 1 in self.misfits:
            left, middle, right = (self.misfits[best + k] for k in (-1, 0, 1))
            bend = left - 2 * middle + right
            patch.depth_um += step_um * 0.5 * (left - right) / bend
            patch.bend = bend / step_um**2
        patch.transfer = to_sensor(patch.side, patch.depth_um, self._geometry)


@lru_cache(maxsize=16)
def _stride(side: int, step_um: float, geometry: Geometry) -> Complex:
    """`transfer_function`, for steps that come again and again."""
    return transfer_function(side, step_um, geometry)


def move(patch: Patch, depth_um: float, geometry: Geometry) -> None:
    """To another depth, the field carried along: what explains the hologram from there."""
    step = transfer_function(patch.side, patch.depth_um - depth_um, geometry)
    carried = fft.ifft2_box(patch.spectrum(patch.scattered) * step, patch.box, overwrite_x=True)
    patch.scattered = patch.ahead = np.where(patch.support, carried, np.complex64(0))
    patch.depth_um, patch.transfer = depth_um, to_sensor(patch.side, depth_um, geometry)


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
    return Depth(z_um, _TAILS * min(first.uncertainty_um, sought.uncertainty_um))


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
