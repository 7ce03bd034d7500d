"""Depth by the least misfit at the sensor: where a particle, its neighbours as they are, explains the hologram best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.patches import Patch, RefineSettings, missing_wave, overlap, together, transfer_function
from device.analysis.second_look import RingGain, ring_weight
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.geometry import Geometry
from device.optics.propagation import multiply

__all__ = ["FINE_ITERATIONS", "FINE_STEP", "descend", "found_depth", "joined", "move", "scan", "seek_uncertain"]

_EXTENT_SHARE = 0.2
"""A particle's depth is blurred by this share of its diameter: it is no thin sheet, and as a lens a little too weak it would
lie a little too near. From 128 simulated particles (multi-slice)."""

_TAILS = 1.2
"""By which the deviation of a depth that both ways agree on is larger than the lesser of theirs: they err alike, and not
normally. Of 193 simulated particles (multi-slice) 95 in 100 lay within 2.4 of the lesser."""

FINE_RINGS = 0.1, 0.45
"""Cycles per pixel, of the residuals that tell a depth by a second look. Coarser ones hold more power and less of depth; finer
ones are noise."""

FINE_STEP = 1.7
"""Between two depths that a second look tries, as a defocus number: fine detail is in focus over little more."""

FINE_ITERATIONS = 4
"""Of one particle at each of them, the look included: fewer, and what the network got wrong of the lens stands for depth."""

_MARGIN_SHARE = 0.5
"""What each iteration of a fine search leaves of the field in the margin around the outline. Outlines are a pixel too tight or too
wide: believed, they mislead simulated particles; with their margin, light that is out of focus finds room, and recorded beads,
brighter lenses than simulated grains, scatter twice as far."""

FINE_STEPS = 20
"""To either side; it goes on only as long as it gets better."""

_FINE_SHARES = 2.0, 0.08, 0.25
"""Of a defocus number, of a diameter, and of the misfit's own deviation, in the deviation of a depth by fine rings. From 154
recorded beads in a known plane at eleven distances, whose misfit is mostly what neighbours and glass leave, and 62 simulated
particles (multi-slice), whose misfit is small and says little: 96 and 97 in 100 lie within 1.96 of it. Outlines are most of the
first: a bead of eight pixels whose outline is a pixel too wide lies two defocus numbers too far."""

_FINE_WEAK_LENS = 0.063
"""As the weak lens of `depth`: 0.083 um nearer for each um of diameter at 850 nm and 1.12 um (61 simulated grains, lenses of many
radians). Screens of one to three radians, at other pitches, have none of it: it is as uncertain as it is large."""

_SOUGHT = 10.0
"""Half the range of depths tried around a first estimate, as a defocus number."""

_KEPT_BYTES = 2 * 2**20
"""Of what comes again and again while the depth of one particle is sought."""

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
    amplitude: Real, wave: Complex, patch: Patch, grid: tuple[float, int, int], geometry: Geometry, settings: RefineSettings,
    gain: RingGain | None = None,
) -> None:  # fmt: skip
    """The same from a depth that is nearly right: to either side only as long as it gets better.

    With a `gain` every depth is looked at anew, from the field that the network gave, and judged by the fine rings alone: they
    tell depth, and a field that was bent to one depth doesn't tell another.
    """
    step_um, steps, _ = grid
    attempt = _Attempt(amplitude, wave, patch, grid, geometry, settings, gain)
    for k in (0, -1, 1):
        attempt.at(k)
    while (edge := attempt.best) in (min(attempt.misfits), max(attempt.misfits)) and abs(edge) < steps:
        attempt.at(edge + (1 if edge > 0 else -1))
    attempt.settle(step_um)


class _Attempt:
    """One particle at several depths, each with a few iterations of its own."""

    def __init__(
        self, amplitude: Real, wave: Complex, patch: Patch, grid: tuple[float, int, int], geometry: Geometry,
        settings: RefineSettings, gain: RingGain | None = None,
    ) -> None:  # fmt: skip
        there, self._here = overlap(amplitude.shape, patch)
        self._measured = amplitude[there]
        self._others = wave[there] - patch.carried()[self._here]
        self._patch, self._geometry, self._settings = patch, geometry, settings
        self._step_um, _, self._iterations = grid
        self._weight = ring_weight(gain, patch.side, geometry) if gain else None
        share = _MARGIN_SHARE if gain else 1.0
        self._kept = np.where(patch.outline, np.float32(1), np.float32(share) * patch.support)
        self._first = patch.given * self._kept if gain else patch.scattered
        self._spectrum = patch.spectrum(self._first)
        self.misfits: dict[int, float] = {}
        """By steps from where the particle was."""
        self._tried: dict[int, tuple[float, Complex]] = {}
        """Depth and scattered field of each."""
        self._ways: dict[int, Complex] = {}
        """To the sensor, from the outermost depths alone: a search goes on from there."""

    @property
    def best(self) -> int:
        """Steps to the least misfit so far."""
        return min(self.misfits, key=lambda k: self.misfits[k])

    def at(self, k: int) -> None:
        """Try the depth k steps away; from a depth that was tried it is one step."""
        patch, here = self._patch, self._here
        nearest = next((n for n in (k - 1, k + 1) if n in self._ways), 0)
        transfer = self._ways.get(nearest, patch.transfer)
        if k != nearest:
            transfer = transfer.copy()
            multiply(transfer, _stride(patch.side, (k - nearest) * self._step_um, self._geometry))
        trial = replace(patch, depth_um=patch.depth_um + k * self._step_um, stepped=transfer)
        trial.scattered = trial.ahead = self._first
        wave, whole = self._others + trial.at_sensor(self._spectrum.copy())[here], self._first
        for turn in range(self._iterations):
            seen = np.zeros((patch.side, patch.side), np.complex64)
            seen[here] = missing_wave(self._measured, wave)
            trial.improve(seen, self._settings, self._weight if turn == 0 else None)
            whole = trial.scattered
            trial.scattered, trial.ahead = whole * self._kept, trial.ahead * self._kept
            if turn == 0 and self._weight is not None:
                trial.ahead = trial.scattered
            wave = self._others + trial.carried()[here]
        residual = self._measured - np.abs(wave)
        self.misfits[k] = float((residual**2).sum()) if self._weight is None else _fine_energy(residual)
        self._tried[k] = trial.depth_um, whole
        self._ways[k] = transfer
        self._ways = {n: way for n, way in self._ways.items() if n in (min(self._ways), max(self._ways))}

    def settle(self, step_um: float) -> None:
        """Move the particle to the best depth, between steps by a parabola."""
        patch, best = self._patch, self.best
        depth_um, scattered = self._tried[best]
        patch.scattered = patch.ahead = scattered
        patch.depth_um, patch.misfit, patch.bend, patch.pixels = depth_um, self.misfits[best], 0.0, self._measured.size
        if self._weight is not None:
            shape = self._measured.shape
            patch.pixels = round(float(_fine_band(shape).sum()) / (shape[0] * shape[1]) * patch.pixels)
        if best - 1 in self.misfits and best + 1 in self.misfits:
            left, middle, right = (self.misfits[best + k] for k in (-1, 0, 1))
            bend = left - 2 * middle + right
            patch.depth_um += step_um * 0.5 * (left - right) / bend
            patch.bend = bend / step_um**2


def _fine_energy(residual: Real) -> float:
    """Sum of squares of what lies in the fine rings."""
    weight = _fine_band((residual.shape[0], residual.shape[1]))
    spectrum = fft.rfft2(residual)
    return float(np.vdot(weight, spectrum.real**2 + spectrum.imag**2)) / residual.size


@byte_bounded_cache(_KEPT_BYTES)
def _fine_band(shape: tuple[int, int]) -> Real:
    """Weight of every frequency of a real image's half spectrum in a sum over the fine rings."""
    radius = np.hypot(fft.fftfreq(shape[0])[:, None], np.arange(shape[1] // 2 + 1)[None, :] / shape[1])
    twice = np.full(radius.shape, 2, np.float32)
    twice[:, 0] = 1
    if shape[1] % 2 == 0:
        twice[:, -1] = 1
    return np.where((radius >= FINE_RINGS[0]) & (radius < FINE_RINGS[1]), twice, np.float32(0))


@byte_bounded_cache(_KEPT_BYTES)
def _stride(side: int, step_um: float, geometry: Geometry) -> Complex:
    """`transfer_function`, for steps that come again and again."""
    return transfer_function(side, step_um, geometry)


def move(patch: Patch, depth_um: float, geometry: Geometry) -> None:
    """To another depth, the field carried along: what explains the hologram from there."""
    spectrum = patch.spectrum(patch.scattered)
    multiply(spectrum, transfer_function(patch.side, patch.depth_um - depth_um, geometry))
    carried = fft.ifft2_box(spectrum, patch.box, overwrite_x=True)
    patch.scattered = patch.ahead = np.where(patch.support, carried, np.complex64(0))
    patch.depth_um = depth_um


def found_depth(patch: Patch, first: Depth, noise: float, geometry: Geometry, *, fine: bool = False) -> Depth:
    """What is known of a depth in the end; `fine`: of one that a second look found.

    A misfit that bends sharply isn't yet a depth: the field bends with it (a lens that is a little too weak lies a little
    too near). The extended particle's share is the larger part.
    """
    unit_um = geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    diameter_px = 2 * math.sqrt(float(patch.support.sum()) / math.pi)
    of_unit, of_extent, of_misfit = _FINE_SHARES if fine else (1.0, _EXTENT_SHARE, 1.0)
    lens_um = _FINE_WEAK_LENS * diameter_px * unit_um if fine else 0.0
    z_um = patch.depth_um + lens_um
    deviation_um = _deviation_um(patch, noise)
    if not math.isfinite(deviation_um):
        # Better still beyond what was tried: as uncertain as that is wide.
        return Depth(z_um, max(first.uncertainty_um, _SOUGHT * unit_um))
    extent_um = diameter_px * geometry.object_pitch_um
    uncertainty_um = math.hypot(of_unit * unit_um, of_extent * extent_um, of_misfit * deviation_um, lens_um)
    # What was uncertain for a reason (half its fringes outside the frame) stays uncertain.
    return Depth(z_um, max(uncertainty_um, 0.3 * first.uncertainty_um))


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
