"""A few iterations of physics on what one pass of the network found: depth and support are known, detail comes back.

The network says where particles are, how deep, and roughly what they look like; it smooths. From there every particle's
field is improved against the measured hologram, all together, for their fringes overlap: carry all of them to the sensor,
put the measured amplitude there, carry the difference back to each, keep it on the particle's support and no brighter than
a lens makes it (Fienup, Appl. Opt. 21, 2758 (1982), doi:10.1364/AO.21.002758; momentum as in Beck and Teboulle, SIAM J. Imaging
Sci. 2, 183 (2009), doi:10.1137/080716542). The way to the sensor holds what lamp and pixels take from the fringes: without it
the field is as blurred as the hologram. More than ten iterations fit noise. Where the model brings the weights for it, all of
this starts from a second look (`second_look`), which is worth five iterations, and depths come from its fine rings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth, pooled
from device.analysis.depth_search import (
    FINE_ITERATIONS,
    FINE_STEP,
    FINE_STEPS,
    descend,
    found_depth,
    joined,
    move,
    seek_uncertain,
)
from device.analysis.patches import Patch, RefineSettings, box_overlap, make_patch, missing_wave, overlap, together
from device.analysis.second_look import RingGain, second_look
from device.analysis.segment import Segment
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.geometry import Geometry

NETWORK_ERROR = 0.3
"""Relative error of the network's fields, one standard deviation: the complex error in its model card."""

KNOWN_CYCLES_PER_PX = 0.2
"""Up to here a field of one pass resembles the truth: its ring correlation falls to one half at 0.22. Beyond, it holds a hundredth
of the power that refinement puts back, where the instrument resolves that: a missing detail, not a wrong field."""

_NOISE_GAIN = 4.0
"""Variance of a refined field over that of the measured amplitude, after some eight iterations: half of the wave, its phase, was
not measured. From 24 simulated particles (multi-slice) at 10 to 3,000 photons a pixel."""

_SIDES_BYTES = 2**20
"""Of what depends on a patch's side alone and is asked for once a particle."""

_CORE = 0.8
"""Of a stated deviation, what depths of one plane scatter by. With half of it recorded beads of one slide stay apart by 0.65 depths
of field at 7 mm; with all of it simulated particles that lie within 5 um, but not in one plane, are drawn together."""

__all__ = ["KNOWN_CYCLES_PER_PX", "NETWORK_ERROR", "Misfit", "RefineSettings", "Refined", "predicted", "refine"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


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
    """How far refinement moved what one pass knows of the field, below KNOWN_CYCLES_PER_PX: squared distance over the squares of
    both, 0 to 2."""
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


def refine(
    amplitude: Real, field: Complex, parts: Sequence[Segment], depths: Sequence[Depth], geometry: Geometry,
    settings: RefineSettings | None = None, *, noise: float = 0.0, gain: RingGain | None = None,
) -> Refined:  # fmt: skip
    """Improve the fields and depths of all particles of a frame.

    Parameters: `amplitude` float32 [height, width] measured at the sensor, 1 where nothing is; `field` complex64
    [height, width] object field, each particle in focus; `parts` its particles, `depths` of each from the sensor, of the
    equivalent plane-wave recording; an uncertain one is sought as far as its uncertainty reaches; `noise` relative
    standard deviation of a pixel's intensity where nothing is; `gain` of the second look that iterations start from, None:
    they start from the network's field.
    """
    chosen = settings or RefineSettings()
    patches = [make_patch(field, part, depth.z_um, geometry, chosen) for part, depth in zip(parts, depths, strict=True)]
    sought = list(depths)
    if chosen.depth_steps and chosen.iterations:
        sought, depths = _improve_with_depths(amplitude, patches, depths, geometry, chosen, noise, gain)
    else:
        if gain:
            second_look(amplitude, patches, gain, geometry, chosen)
        _iterate(amplitude, patches, chosen.iterations, chosen)
    for patch in patches:
        patch.ahead = patch.scattered
    wave = together(amplitude.shape, patches)
    explained = np.abs(wave)
    misfits = tuple(_misfit(amplitude, wave, patch, part, geometry) for patch, part in zip(patches, parts, strict=True))
    refined = np.ones(amplitude.shape, np.complex64)
    supports = np.zeros(amplitude.shape, np.bool_)
    # What was measured and what the network knows, each as far as it is sure: in the dark the network knows better, and where
    # neighbours, glass and dirt leave more than noise.
    for patch, misfit in zip(patches, misfits, strict=True):
        variance = max(noise**2 / 4, misfit.residual / max(misfit.pixels, 1))
        share = np.float32(NETWORK_ERROR**2 / (NETWORK_ERROR**2 + _NOISE_GAIN * variance))
        there, here = box_overlap(amplitude.shape, patch)
        inside = patch.support[here]
        known = field[there][inside]
        refined[there][inside] = known + share * (1 + patch.scattered[here][inside] - known)
        supports[there] |= inside
    return Refined(refined, supports, tuple(depths), tuple(sought), explained, amplitude - explained, misfits)


def predicted(
    shape: tuple[int, ...], field: Complex, parts: Sequence[Segment], depths: Sequence[Depth], geometry: Geometry
) -> Real:
    """Amplitude at the sensor, float32 [height, width], that particles make with the fields and depths they were given.

    Parameters as for `refine`.
    """
    settings = RefineSettings()
    patches = (make_patch(field, part, depth.z_um, geometry, settings) for part, depth in zip(parts, depths, strict=True))
    return np.abs(together(shape, patches))


def _improve_with_depths(
    amplitude: Real, patches: Sequence[Patch], depths: Sequence[Depth], geometry: Geometry, settings: RefineSettings,
    noise: float, gain: RingGain | None,
) -> tuple[list[Depth], list[Depth]]:  # fmt: skip
    """Depths by the least misfit alone, and with what was given; the fields are improved at these."""
    # Before the field has bent itself to a depth that is wrong.
    seek_uncertain(amplitude, patches, [depth.uncertainty_um for depth in depths], geometry, settings)
    unit_um = geometry.object_pitch_um**2 / geometry.wavelength_medium_um
    fine = gain is not None
    if gain:
        second_look(amplitude, patches, gain, geometry, settings)
        grid = (FINE_STEP * unit_um, FINE_STEPS, FINE_ITERATIONS)
        # What a particle got at its depth counts.
        left = settings.iterations // 4
    else:
        before = settings.iterations // 2
        _iterate(amplitude, patches, before, settings)
        grid = (settings.depth_step * unit_um, settings.depth_steps, settings.depth_iterations)
        left = settings.iterations - before
    wave = together(amplitude.shape, patches)
    for patch in patches:
        descend(amplitude, wave, patch, grid, geometry, settings, gain)
    sought = [found_depth(p, depth, noise, geometry, fine=fine) for p, depth in zip(patches, depths, strict=True)]
    best = _of_a_look(sought) if fine else pooled([joined(*d) for d in zip(depths, sought, patches, strict=True)])
    for patch, depth in zip(patches, best, strict=True):
        move(patch, depth.z_um, geometry)
    _iterate(amplitude, patches, left, settings)
    return sought, best


def _of_a_look(sought: Sequence[Depth]) -> list[Depth]:
    """Depths by fine rings, pooled. They aren't joined to what was given, which on recordings is biased."""
    # Their errors have tails: the scatter of most is less than what is stated for nineteen in twenty.
    core = pooled([Depth(depth.z_um, _CORE * depth.uncertainty_um) for depth in sought])
    return [Depth(depth.z_um, depth.uncertainty_um / _CORE) for depth in core]


def _iterate(amplitude: Real, patches: Sequence[Patch], iterations: int, settings: RefineSettings) -> None:
    """All particles together: their fringes overlap."""
    sparse = sum(patch.side**2 for patch in patches) < amplitude.size
    for _ in range(iterations):
        wave = together(amplitude.shape, patches)
        difference = None if sparse else missing_wave(amplitude, wave)
        for patch in patches:
            there, here = overlap(amplitude.shape, patch)
            seen = np.zeros((patch.side, patch.side), np.complex64)
            seen[here] = missing_wave(amplitude[there], wave[there]) if difference is None else difference[there]
            patch.improve(seen, settings)


def _misfit(amplitude: Real, wave: Complex, patch: Patch, part: Segment, geometry: Geometry) -> Misfit:
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
    spectrum = patch.spectrum(patch.given)
    power = spectrum.real**2 + spectrum.imag**2
    axial = _axial_squared(power.shape[0], geometry.object_pitch_um, geometry.wavelength_medium_um)
    turn = float(np.vdot(power, axial)) / max(float(power.sum()), 1e-30)
    given = patch.at_sensor(spectrum.copy())
    first = np.abs(others + _within(box, given, patch, amplitude.shape)) - alone
    known = _known(power.shape[0])
    given_low, refined_low = spectrum[known], patch.spectrum(patch.scattered)[known]
    return Misfit(
        residual=_energy(residual),
        fringes=_energy(fringes),
        pixels=residual.size,
        first_residual=_energy(measured - first),
        first_fringes=_energy(first),
        measured_fringes=_energy(measured),
        moved=_energy(refined_low - given_low) / max(_energy(refined_low) + _energy(given_low), 1e-30),
        axial_per_um=math.sqrt(turn),
    )


def _energy(values: NDArray[np.inexact]) -> float:
    return float(np.vdot(values, values).real)


def _within(box: tuple[slice, slice], values: Complex, patch: Patch, shape: tuple[int, ...]) -> Complex:
    """What a patch holds of a box of the frame (cut off at its far end like any slice), 0 where it doesn't reach."""
    out = np.zeros([min(b.stop, n) - b.start for b, n in zip(box, shape, strict=True)], np.complex64)
    there, here = overlap(shape, patch)
    inside = [slice(max(b.start, t.start), min(b.stop, t.stop)) for b, t in zip(box, there, strict=True)]
    at_box = tuple(slice(i.start - b.start, i.stop - b.start) for i, b in zip(inside, box, strict=True))
    at_patch = tuple(
        slice(i.start - t.start + h.start, i.stop - t.start + h.start) for i, t, h in zip(inside, there, here, strict=True)
    )
    out[at_box] = values[at_patch]
    return out


@byte_bounded_cache(_SIDES_BYTES)
def _known(side: int) -> NDArray[np.bool_]:
    """Frequencies of a patch that one pass knows, in FFT order."""
    return np.hypot(fft.fftfreq(side)[:, None], fft.fftfreq(side)[None, :]) < KNOWN_CYCLES_PER_PX


@byte_bounded_cache(_SIDES_BYTES)
def _axial_squared(side: int, pitch_um: float, wavelength_um: float) -> Real:
    """Squared phase that every frequency of a patch gains on a plane wave's over a micrometre, rad^2, in FFT order."""
    frequency = fft.fftfreq(side, pitch_um)
    squared = np.maximum(1 / wavelength_um**2 - frequency[:, None] ** 2 - frequency[None, :] ** 2, 0)
    return ((2 * np.pi * (np.sqrt(squared) - 1 / wavelength_um)) ** 2).astype(np.float32)
