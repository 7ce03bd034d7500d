"""The off-line referee of the guard: is there another field that explains this hologram?

The guard (`device.analysis.verify`) asks whether a particle explains its fringes. A wrong one may, for refinement bends a field until it
does. The referee asks for a second opinion that has never seen the first: what all other particles make is taken off the hologram,
the rest is fitted twice, from different starts, by a prior that nobody trained (`device.optics.untrained`), at the depth that was
stated. Where both fits agree with each other and not with the field that was given, that field is disputed; where the fits differ
from each other, or the given one explains the fringes as well as they do, the hologram doesn't tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.patches import Patch, RefineSettings, make_patch, overlap, together
from device.analysis.segment import Segment
from device.analysis.two_fits import aligned
from device.optics.geometry import Geometry
from device.optics.untrained import classical_start, fit_untrained

__all__ = ["LIMIT", "Ruling", "difference", "referee", "unclaimed"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Box = tuple[slice, slice]
Verdict = Literal["agreed", "another field explains it too", "disputed"]

LIMIT = 0.5
"""`difference` from which two fields are two answers; a choice that no recording has calibrated yet (tests/benchmarks/referee.py)."""

_CROP_PX = 128
"""Least side of what is fitted."""
_AROUND_PX = 48
_STEPS = 150
_AS_WELL = 0.05
"""A field that leaves no more of the fringes' energy than another, and this, explains them as well."""


@dataclass(frozen=True)
class Ruling:
    """What the referee says of one particle."""

    verdict: Verdict
    difference: float
    """Between the field that was given and the first fit's."""
    ambiguity: float
    """Between the two fits: |a - b|^2 over what the given field and they scatter; as `difference` where they are as strong as it is."""
    given_left: float
    """Share of the fringes' energy around the particle, measured and given, that the given field leaves unexplained."""
    fitted_left: float
    """The same of the better fit."""


def difference(one: Complex, other: Complex) -> float:
    """Between two fields, from 1 in the same box: |a - b|^2 / (|a|^2 + |b|^2) of what they scatter. 0: the same; 1: nothing in common, or
    one is nothing; 2: the opposite; 0: both are nothing."""
    a, b = one - 1, other - 1
    both = _energy(a) + _energy(b)
    return _energy(a - b) / both if both > 0 else 0.0


def referee(
    amplitude: Real, field: Complex, parts: Sequence[Segment], depths: Sequence[Depth], geometry: Geometry, *, noise: float,
    asked: Sequence[int] | None = None,
) -> list[Ruling]:  # fmt: skip
    """Judge particles of a frame.

    Parameters: `amplitude` float32 [height, width] at the sensor, 1 where nothing is; `field` complex64 [height, width], each particle in
    focus; `parts` its particles, `depths` of each from the sensor, of the equivalent plane-wave recording; `noise` relative standard
    deviation of a pixel's intensity; `asked` numbers of those to judge, None: all.
    """
    settings = RefineSettings()
    patches = [make_patch(field, part, depth.z_um, geometry, settings) for part, depth in zip(parts, depths, strict=True)]
    sound = _sound(amplitude, patches)
    rulings: list[Ruling] = []
    for k in range(len(parts)) if asked is None else asked:
        own = together(amplitude.shape, [patches[k]]) - 1
        others = together(amplitude.shape, [patch for j, patch in enumerate(patches) if j in sound and j != k]) - 1
        alone = _without(amplitude, 1 + others + own, others)
        part = parts[k]
        box = (slice(part.y_px, part.y_px + part.mask.shape[0]), slice(part.x_px, part.x_px + part.mask.shape[1]))
        given = np.where(part.mask, field[box], np.complex64(1))
        crop, inside = _crop(box, amplitude.shape)
        fits = _fits(alone[crop], depths[k].z_um, geometry, noise)
        floor = noise**2 / 4 * alone[crop].size
        made = np.abs(1 + own[crop])
        strength = max(_energy(alone[crop] - 1) - floor, 0.0) + _energy(made - 1)
        given_left = max(_energy(made - alone[crop]) - floor, 0.0) / max(strength, 1e-12)
        fitted_left = [max(chi2 - 1, 0.0) * floor / max(strength, 1e-12) for _, chi2 in fits]
        rulings.append(_ruling(given, [fit[inside] for fit, _ in fits], given_left, fitted_left))
    return rulings


def unclaimed(
    amplitude: Real, field: Complex, parts: Sequence[Segment], depths: Sequence[Depth], geometry: Geometry, box: Box, z_um: float, *,
    noise: float,
) -> float:  # fmt: skip
    """What the hologram holds in a box [rows, columns] at a depth once all particles are taken off: the fit's squared scattered field,
    summed over the box, in pixels. Parameters as for `referee`."""
    settings = RefineSettings()
    patches = [make_patch(field, part, depth.z_um, geometry, settings) for part, depth in zip(parts, depths, strict=True)]
    sound = _sound(amplitude, patches)
    wave = together(amplitude.shape, [patches[k] for k in sorted(sound)])
    rest = _without(amplitude, wave, wave - 1)
    crop, inside = _crop(box, amplitude.shape)
    (fit, _), *_ = _fits(rest[crop], z_um, geometry, noise, count=1)
    return float((np.abs(fit[inside] - 1) ** 2).sum())


def _sound(amplitude: Real, patches: Sequence[Patch]) -> set[int]:
    """Which particles explain more of the fringes than they add: what is false must not spoil its neighbours."""
    wave = together(amplitude.shape, patches)
    sound: set[int] = set()
    for k, patch in enumerate(patches):
        there, here = overlap(amplitude.shape, patch)
        own = patch.carried()[here]
        if _energy(np.abs(wave[there]) - amplitude[there]) < _energy(np.abs(wave[there] - own) - amplitude[there]):
            sound.add(k)
        else:
            wave[there] -= own
    return sound


def _without(amplitude: Real, wave: Complex, others: Complex) -> Real:
    """The measured amplitude with some of the wave's parts taken off; the phase that wasn't measured is the wave's."""
    phase = wave / np.maximum(np.abs(wave), np.float32(1e-6))
    return np.abs(amplitude * phase - others).astype(np.float32)


def _crop(box: Box, shape: tuple[int, ...]) -> tuple[Box, Box]:
    """A square around a box, as far as the frame goes, and the box in it."""
    crop: list[slice] = []
    for span, length in zip(box, shape, strict=True):
        side = min(max(_CROP_PX, span.stop - span.start + 2 * _AROUND_PX), length)
        first = min(max((span.start + span.stop - side) // 2, 0), length - side)
        crop.append(slice(first, first + side))
    inside = tuple(slice(b.start - c.start, b.stop - c.start) for b, c in zip(box, crop, strict=True))
    return (crop[0], crop[1]), (inside[0], inside[1])


def _energy(values: NDArray[np.inexact]) -> float:
    return float(np.vdot(values, values).real)


def _fits(amplitude: Real, z_um: float, geometry: Geometry, noise: float, count: int = 2) -> list[tuple[Complex, float]]:
    """Fields of a crop, from iterative retrieval's and from nothing, and what each leaves of its fringes in units of the noise."""
    flat = Geometry(geometry.wavelength_medium_um, geometry.object_pitch_um, z_um)
    starts = (classical_start(amplitude**2, flat, "compact"), None)[:count]
    fits = [
        fit_untrained(amplitude**2, flat, noise=noise, seed=seed, steps=_STEPS, start=start)
        for seed, start in enumerate(starts)
    ]
    return [(aligned(fit.field, fits[0].field), fit.shown) for fit in fits]


def _ruling(given: Complex, fits: Sequence[Complex], given_left: float, fitted_left: Sequence[float]) -> Ruling:
    first, second = fits
    off = difference(given, first)
    # Of fits that hold next to nothing it doesn't matter how they differ.
    both = _energy(given - 1) + (_energy(first - 1) + _energy(second - 1)) / 2
    between = _energy(first - second) / max(both, 1e-12)
    verdict: Verdict = "agreed"
    # A fit from nothing may end in a field that explains less: that is no other answer.
    if between > LIMIT and fitted_left[1] <= fitted_left[0] + _AS_WELL:
        verdict = "another field explains it too"
    elif off > LIMIT:
        verdict = "another field explains it too" if given_left <= min(fitted_left) + _AS_WELL else "disputed"
    return Ruling(verdict, off, between, given_left, min(fitted_left))
