"""A few iterations of physics on what one pass of the network found: depth and support are known, detail comes back.

The network says where particles are, how deep, and roughly what they look like; it smooths. From there every particle's
field is improved against the measured hologram, all together, for their fringes overlap: carry all of them to the sensor,
put the measured amplitude there, carry the difference back to each, keep it on the particle's support and no brighter than
a lens makes it (Fienup, Appl. Opt. 21, 2758 (1982), doi:10.1364/AO.21.002758; momentum as in Beck and Teboulle, SIAM J. Imaging
Sci. 2, 183 (2009), doi:10.1137/080716542). The way to the sensor holds what lamp and pixels take from the fringes: without it
the field is as blurred as the hologram. More than ten iterations fit noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth, pooled
from device.analysis.segment import Segment
from device.optics import fft
from device.optics.coherence import pixel_visibility, visibility
from device.optics.geometry import Geometry
from device.optics.propagation import compute_transfer_function, fringe_reach_px

_EXTENT_SHARE = 0.2
"""A particle's depth is blurred by this share of its diameter: it is no thin sheet, and as a lens a little too weak it would
lie a little too near. From 128 simulated particles (multi-slice)."""

_SOUGHT = 10.0
"""Half the range of depths tried around a first estimate, as a defocus number."""

NETWORK_ERROR = 0.3
"""Relative error of the network's fields, one standard deviation: the complex error in its model card."""

_NOISE_GAIN = 4.0
"""Variance of a refined field over that of the measured amplitude, after some eight iterations: half of the wave, its phase, was
not measured. From 24 simulated particles (multi-slice) at 10 to 3,000 photons a pixel."""

__all__ = ["NETWORK_ERROR", "Misfit", "RefineSettings", "Refined", "refine"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


@dataclass(frozen=True)
class RefineSettings:
    """How much physics."""

    iterations: int = 8
    """Of all particles together; 0: the field is only carried to the sensor and compared."""
    momentum: float = 0.7
    support_margin_px: int = 1
    """By which a particle's mask is grown: the network's outlines are a little tight. Depth is known by how well the light
    fits into the outline: a wide one doesn't tell."""
    brightest: float = 1.5
    """Largest amplitude: a grain is a lens, and focuses light into and beside itself up to half as much again."""
    most_reach_px: int = 192
    """Fringes farther from a particle than this are left out; they are the finest and the faintest."""
    depth_steps: int = 3
    """Depths tried to either side of each given one, half way through the iterations; 0: depths are believed."""
    depth_step: float = 3.4
    """Between two of them, as a defocus number; 3.4 is 5 um at 850 nm and 1.12 um."""
    depth_iterations: int = 2
    """Of one particle at each depth tried."""


@dataclass(frozen=True)
class Misfit:
    """What is left of one particle's fringes, and what they were."""

    residual: float
    """Sum over the pixels of the squared residual of the amplitude."""
    fringes: float
    """Sum of the squared change of amplitude that the particle makes, its neighbours being there."""
    pixels: int
    first_residual: float = 0.0
    """The residual with the particle's field as it was given, at the depth found."""
    first_fringes: float = 0.0
    """The change of amplitude that such a field would make."""
    measured_fringes: float = 0.0
    """The change of amplitude that was measured, its neighbours taken off."""
    moved: float = 0.0
    """How far refinement moved the field: squared distance over the squares of both, 0 to 2."""
    axial_per_um: float = 0.0
    """How fast the given field's fringes change with depth: root mean square phase a micrometre, rad."""


@dataclass(frozen=True)
class Refined:
    """All particles of a frame after refinement."""

    field: Complex
    """complex64 [height, width]: everything in focus at its own depth, 1 outside the supports."""
    supports: NDArray[np.bool_]
    """bool [height, width]: where particles were allowed to be."""
    depths: tuple[Depth, ...]
    """Of every particle, from the sensor, of the equivalent plane-wave recording."""
    sought: tuple[Depth, ...]
    """The same by the least misfit alone, what was given left aside."""
    explained: Real
    """float32 [height, width]: amplitude at the sensor that the field predicts."""
    residual: Real
    """float32 [height, width]: measured less explained amplitude."""
    misfits: tuple[Misfit, ...]
    """Of every particle, over the brightest of its fringes."""


@dataclass
class _Patch:
    """One particle on a square grid that holds its fringes."""

    top: int
    left: int
    support: NDArray[np.bool_]
    depth_um: float
    transfer: Complex
    scattered: Complex
    """U - 1."""
    ahead: Complex
    """The same with momentum."""
    given: Complex
    """U - 1 before the first iteration."""
    misfit: float = 0.0
    """Least sum of squared residuals over depth."""
    bend: float = 0.0
    """Its second derivative over depth, per square micrometre; 0 where no depth was best."""
    pixels: int = 0
    """That the misfit is summed over."""

    def carried(self) -> Complex:
        """Its scattered wave at the sensor."""
        return fft.ifft2(fft.fft2(self.ahead) * self.transfer, overwrite_x=True)

    def improve(self, seen: Complex, settings: RefineSettings) -> None:
        """One step towards the difference `seen` at the sensor, on the patch's own grid."""
        back = fft.ifft2(fft.fft2(seen, overwrite_x=True) * np.conj(self.transfer), overwrite_x=True)
        field = 1 + self.ahead + back
        field /= np.maximum(np.abs(field) / np.float32(settings.brightest), np.float32(1))
        now = np.where(self.support, field - 1, np.complex64(0))
        self.ahead = now + np.float32(settings.momentum) * (now - self.scattered)
        self.scattered = now


def refine(
    amplitude: Real, field: Complex, parts: Sequence[Segment], depths: Sequence[Depth], geometry: Geometry,
    settings: RefineSettings | None = None, *, noise: float = 0.0,
) -> Refined:  # fmt: skip
    """Improve the fields and depths of all particles of a frame.

    Parameters: `amplitude` float32 [height, width] measured at the sensor, 1 where nothing is; `field` complex64
    [height, width] object field, each particle in focus; `parts` its particles, `depths` of each from the sensor, of the
    equivalent plane-wave recording; an uncertain one is sought as far as its uncertainty reaches; `noise` relative
    standard deviation of a pixel's intensity where nothing is.
    """
    chosen = settings or RefineSettings()
    patches = [_patch(field, part, depth.z_um, geometry, chosen) for part, depth in zip(parts, depths, strict=True)]
    before = chosen.iterations // 2 if chosen.depth_steps else chosen.iterations
    sought = list(depths)
    seeking = chosen.depth_steps > 0 and chosen.iterations > 0
    if seeking:
        # Before the field has bent itself to a depth that is wrong.
        _seek_uncertain(amplitude, patches, [depth.uncertainty_um for depth in depths], geometry, chosen)
    _iterate(amplitude, patches, before, chosen)
    if seeking:
        wave = _together(amplitude.shape, patches)
        unit_um = geometry.object_pitch_um**2 / geometry.wavelength_medium_um
        grid = (chosen.depth_step * unit_um, chosen.depth_steps, chosen.depth_iterations)
        for patch in patches:
            _scan(amplitude, wave, patch, grid, geometry, chosen)
        sought = [_depth(patch, depth, noise, geometry) for patch, depth in zip(patches, depths, strict=True)]
        depths = pooled([_joined(depth, other, patch) for depth, other, patch in zip(depths, sought, patches, strict=True)])
        for patch, depth in zip(patches, depths, strict=True):
            _move(patch, depth.z_um, geometry)
        _iterate(amplitude, patches, chosen.iterations - before, chosen)
    for patch in patches:
        patch.ahead = patch.scattered
    wave = _together(amplitude.shape, patches)
    explained = np.abs(wave)
    misfits = tuple(_misfit(amplitude, wave, patch, part, geometry) for patch, part in zip(patches, parts, strict=True))
    refined = np.ones(amplitude.shape, np.complex64)
    supports = np.zeros(amplitude.shape, np.bool_)
    # What was measured and what the network knows, each as far as it is sure: in the dark the network knows better.
    share = np.float32(NETWORK_ERROR**2 / (NETWORK_ERROR**2 + _NOISE_GAIN * noise**2 / 4))
    for patch in patches:
        there, here = _overlap(amplitude.shape, patch)
        inside = patch.support[here]
        known = field[there][inside]
        refined[there][inside] = known + share * (1 + patch.scattered[here][inside] - known)
        supports[there] |= inside
    return Refined(refined, supports, tuple(depths), tuple(sought), explained, amplitude - explained, misfits)


def _depth(patch: _Patch, first: Depth, noise: float, geometry: Geometry) -> Depth:
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


def _joined(first: Depth, sought: Depth, patch: _Patch) -> Depth:
    """Both ways to a depth, each as far as it is sure; they share the particle, so that together they are no surer."""
    if patch.bend <= 0:
        return sought
    weights = first.uncertainty_um**-2, sought.uncertainty_um**-2
    z_um = (weights[0] * first.z_um + weights[1] * sought.z_um) / sum(weights)
    return Depth(z_um, min(first.uncertainty_um, sought.uncertainty_um))


def _misfit(amplitude: Real, wave: Complex, patch: _Patch, part: Segment, geometry: Geometry) -> Misfit:
    """Over the particle's box and one Fresnel length around it: sqrt(wavelength * distance)."""
    margin = math.ceil(math.sqrt(max(geometry.defocus_number, 1.0)))
    height, width = part.mask.shape
    box = (
        slice(max(part.y_px - margin, 0), part.y_px + height + margin),
        slice(max(part.x_px - margin, 0), part.x_px + width + margin),
    )
    own = _within(box, patch.carried(), patch, amplitude.shape)
    modulus = np.abs(wave[box])
    others = wave[box] - own
    alone = np.abs(others)
    residual, fringes, measured = amplitude[box] - modulus, modulus - alone, amplitude[box] - alone
    spectrum = fft.fft2(patch.given)
    power = spectrum.real**2 + spectrum.imag**2
    axial = _axial_squared(power.shape[0], geometry.object_pitch_um, geometry.wavelength_medium_um)
    turn = float(np.vdot(power, axial)) / max(float(power.sum()), 1e-30)
    given = fft.ifft2(spectrum * patch.transfer, overwrite_x=True)
    first = np.abs(others + _within(box, given, patch, amplitude.shape)) - alone
    change = patch.scattered - patch.given
    return Misfit(
        residual=_energy(residual),
        fringes=_energy(fringes),
        pixels=residual.size,
        first_residual=_energy(measured - first),
        first_fringes=_energy(first),
        measured_fringes=_energy(measured),
        moved=_energy(change) / max(_energy(patch.scattered) + _energy(patch.given), 1e-30),
        axial_per_um=math.sqrt(turn),
    )


def _energy(values: NDArray[np.inexact]) -> float:
    return float(np.vdot(values, values).real)


def _within(box: tuple[slice, slice], values: Complex, patch: _Patch, shape: tuple[int, ...]) -> Complex:
    """What a patch holds of a box of the frame (cut off at its far end like any slice), 0 where it doesn't reach."""
    out = np.zeros([min(b.stop, n) - b.start for b, n in zip(box, shape, strict=True)], np.complex64)
    there, here = _overlap(shape, patch)
    inside = [slice(max(b.start, t.start), min(b.stop, t.stop)) for b, t in zip(box, there, strict=True)]
    at_box = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inside, box, strict=True))
    at_patch = tuple(
        slice(i.start - t.start + h.start, i.stop - t.start + h.start) for i, t, h in zip(inside, there, here, strict=True)
    )
    out[at_box] = values[at_patch]
    return out


@lru_cache(maxsize=64)
def _axial_squared(side: int, pitch_um: float, wavelength_um: float) -> Real:
    """Squared phase that every frequency of a patch gains on a plane wave's over a micrometre, rad^2, in FFT order."""
    frequency = fft.fftfreq(side, pitch_um)
    squared = np.maximum(1 / wavelength_um**2 - frequency[:, None] ** 2 - frequency[None, :] ** 2, 0)
    return ((2 * np.pi * (np.sqrt(squared) - 1 / wavelength_um)) ** 2).astype(np.float32)


def _iterate(amplitude: Real, patches: Sequence[_Patch], iterations: int, settings: RefineSettings) -> None:
    """All particles together: their fringes overlap."""
    for _ in range(iterations):
        wave = _together(amplitude.shape, patches)
        difference = _difference(amplitude, wave)
        for patch in patches:
            there, here = _overlap(amplitude.shape, patch)
            seen = np.zeros_like(patch.scattered)
            seen[here] = difference[there]
            patch.improve(seen, settings)


def _difference(amplitude: Real, wave: Complex) -> Complex:
    """What the wave lacks to have the measured amplitude."""
    modulus = np.maximum(np.abs(wave), np.float32(1e-6))
    return wave * ((amplitude - modulus) / modulus)


def _seek_uncertain(
    amplitude: Real, patches: Sequence[_Patch], uncertainties_um: Sequence[float], geometry: Geometry, settings: RefineSettings
) -> None:
    """Coarse steps over twice its uncertainty for every particle whose depth may be outside of what is tried later."""
    step_um = 2 * settings.depth_step * geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    uncertain = [k for k, u in enumerate(uncertainties_um) if u > settings.depth_steps * step_um / 2]
    if not uncertain:
        return
    wave = _together(amplitude.shape, patches)
    for k in uncertain:
        _scan(amplitude, wave, patches[k], (step_um, math.ceil(2 * uncertainties_um[k] / step_um), 1), geometry, settings)


def _scan(
    amplitude: Real, wave: Complex, patch: _Patch, grid: tuple[float, int, int], geometry: Geometry, settings: RefineSettings
) -> None:
    """Move one particle to the depth where it explains the hologram best, its neighbours as they are.

    `grid`: step in um, steps to either side, iterations at each depth.
    """
    there, here = _overlap(amplitude.shape, patch)
    measured = amplitude[there]
    others = wave[there] - patch.carried()[here]
    step_um, steps, iterations = grid
    side = patch.support.shape[0]
    step = _transfer(side, step_um, geometry)
    transfer = patch.transfer * np.conj(_transfer(side, steps * step_um, geometry))
    misfits: list[float] = []
    tried: list[_Patch] = []
    for k in range(-steps, steps + 1):
        trial = replace(patch, depth_um=patch.depth_um + k * step_um, transfer=transfer, ahead=patch.scattered)
        tried.append(trial)
        transfer = transfer * step
        for _ in range(iterations):
            seen = np.zeros_like(patch.scattered)
            seen[here] = _difference(measured, others + trial.carried()[here])
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
    patch.transfer = _to_sensor(side, patch.depth_um, geometry)


def _move(patch: _Patch, depth_um: float, geometry: Geometry) -> None:
    """To another depth, the field carried along: what explains the hologram from there."""
    side = patch.support.shape[0]
    carried = fft.ifft2(fft.fft2(patch.scattered) * _transfer(side, patch.depth_um - depth_um, geometry), overwrite_x=True)
    patch.scattered = patch.ahead = np.where(patch.support, carried, np.complex64(0))
    patch.depth_um, patch.transfer = depth_um, _to_sensor(side, depth_um, geometry)


def _deviation_um(patch: _Patch, noise: float) -> float:
    """One standard deviation of a depth by the bend of its misfit.

    Noise differs from pixel to pixel; what the field gets wrong doesn't: it has no more independent ways than the support
    has pixels.
    """
    if patch.bend <= 0:
        return math.inf
    variance = noise**2 / 4
    wrong = max(patch.misfit - variance * patch.pixels, 0.0) / float(patch.support.sum())
    return math.sqrt(2 * (variance + wrong) / patch.bend)


def _transfer(side: int, depth_um: float, geometry: Geometry) -> Complex:
    return compute_transfer_function((side, side), geometry.object_pitch_um, geometry.wavelength_medium_um, depth_um)


def _to_sensor(side: int, depth_um: float, geometry: Geometry) -> Complex:
    """The way to the sensor, with what the instrument does to the fringes."""
    return _transfer(side, depth_um, geometry) * _response(side, geometry)


@lru_cache(maxsize=64)
def _response(side: int, geometry: Geometry) -> Complex | Real:
    """Of lamp, pixels and aberrations, [side, side] in FFT order; as at the geometry's distance, near enough for all depths."""
    shape = (side, side)
    bandwidth_um = geometry.coherence.bandwidth_um / geometry.medium_index if geometry.coherence else 0.0
    seen = visibility(
        shape, geometry.object_pitch_um, geometry.wavelength_medium_um, geometry.propagation_um,
        bandwidth_um=bandwidth_um, blur_um=geometry.source_blur_um,
    )  # fmt: skip
    seen *= pixel_visibility(shape)
    return seen if geometry.pupil is None else seen * geometry.pupil.transfer(shape, geometry.object_pitch_um)


def _patch(field: Complex, part: Segment, depth_um: float, geometry: Geometry, settings: RefineSettings) -> _Patch:
    pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
    reach = min(fringe_reach_px(pitch_um, wavelength_um, depth_um), settings.most_reach_px)
    height, width = part.mask.shape
    side = fft.next_fast_len(max(height, width) + 2 * (reach + settings.support_margin_px))
    top, left = part.y_px + height // 2 - side // 2, part.x_px + width // 2 - side // 2
    support = np.zeros((side, side), np.uint8)
    y, x = part.y_px - top, part.x_px - left
    support[y : y + height, x : x + width] = part.mask
    size = 2 * settings.support_margin_px + 1
    grown = cv2.dilate(support, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(bool)
    empty = np.zeros((side, side), np.complex64)
    patch = _Patch(top, left, grown, depth_um, _to_sensor(side, depth_um, geometry), empty, empty, empty)
    there, here = _overlap(field.shape, patch)
    patch.scattered[here] = np.where(grown[here], field[there] - 1, 0)
    patch.ahead = patch.given = patch.scattered
    return patch


def _overlap(shape: tuple[int, ...], patch: _Patch) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch meets the frame: slices of the frame and of the patch."""
    side = patch.support.shape[0]
    y0, x0 = max(patch.top, 0), max(patch.left, 0)
    y1, x1 = min(patch.top + side, shape[0]), min(patch.left + side, shape[1])
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - patch.top, y1 - patch.top), slice(x0 - patch.left, x1 - patch.left))


def _together(shape: tuple[int, ...], patches: Sequence[_Patch]) -> Complex:
    """The wave at the sensor, complex64 [height, width]."""
    wave = np.ones(shape, np.complex64)
    for patch in patches:
        there, here = _overlap(shape, patch)
        wave[there] += patch.carried()[here]
    return wave
