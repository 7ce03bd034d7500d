"""Distance of every particle, from the pass that has been made.

At the focal plane a particle that lies dz before it shows as its focused self carried over dz. So the correlation of
the focused particle (from the network), carried over dz, with the back-propagated field peaks at the particle's depth:

    S(dz) = Re sum_r w_r c_r exp(-i kz_r dz),   c_r = sum over ring r of conj(F[o]) F[u] / sum of |F[o]| |F[u]|

Both spectra belong to one crop and are gathered by radius first, so that every dz costs a few additions. Dividing by
the moduli leaves what tells depth, the phase: without it a large particle's low frequencies drown its fine ones. w_r is
the root of the number of frequencies in the ring.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from device.analysis.segment import Segment
from device.optics import fft
from device.optics.geometry import Geometry

__all__ = ["Depth", "DepthSettings", "estimate_depth", "nominal_depth", "pooled"]

Complex = NDArray[np.complex64]

_ALIKE = 8
"""Neighbouring rings of half a frequency step that err alike, for a particle a quarter as wide as its crop."""

_POPULATION = 6
"""Depths that it takes to speak of a population."""

_EXTENT_SHARE = 0.13
"""A particle's depth is blurred by this share of its diameter: it is no thin sheet. From 500 simulated particles."""

_COMPARABLE = 0.6
"""Of the best depth's height: another maximum as high may be the right one. Of 90 simulated particles 5 have one, four of which lie
17 to 84 um off; nine in ten have none above 0.46. Beads among their like mostly have one, and there first depths are 10 defocus
numbers off."""

_WEAK_LENS = 0.09
"""By which particles read short, as a defocus number per pixel of diameter. What estimates a field hedges, so that the lens
which a grain is comes out a few per cent too weak; a lens of half width R and phase p that is too weak by a share e looks like
the true one pi R^2 e / (wavelength p) nearer. Phase grows as the diameter does, so what is left is proportional to it. The share
is that of 193 simulated particles of 8 to 40 um at 850 nm and 1.12 um, 0.083 to 0.118 at 95 %: 0.12 um short for each um of
diameter."""


@dataclass(frozen=True)
class Depth:
    """A distance with its uncertainty."""

    z_um: float
    """Particle to sensor."""
    uncertainty_um: float
    """One standard deviation."""

    def equivalent(self, geometry: Geometry) -> Depth:
        """The same in the equivalent plane-wave recording of a geometry."""
        return Depth(geometry.equivalent_um(self.z_um), self.uncertainty_um)

    def physical(self, geometry: Geometry) -> Depth:
        """The inverse of `equivalent`."""
        return Depth(geometry.distance_of(self.z_um), self.uncertainty_um)


@dataclass(frozen=True)
class DepthSettings:
    """In dimensionless defocus numbers, so that one setting serves every instrument."""

    half_range: float = 90.0
    """Depths are sought so far to either side; 90 is 133 um at 850 nm and 1.12 um."""
    steps: int = 181
    """Depths tried."""
    crop_px: int = 128
    """Side of the crop."""
    weak_lens: float = _WEAK_LENS
    """By which particles read short, as a defocus number per pixel of diameter."""
    weak_lens_deviation: float = 0.0
    """One standard deviation of it from particle to particle, beyond what their extent says."""


def nominal_depth(geometry: Geometry, settings: DepthSettings | None = None) -> Depth:
    """Where depth isn't measured: the focal plane, uncertain by a uniform draw from the range it would be sought in."""
    span_px = _span(geometry, settings or DepthSettings()) * geometry.object_pitch_um / geometry.wavelength_medium_um
    return _at(geometry, 0.0, span_px * geometry.object_pitch_um / math.sqrt(3))


def _span(geometry: Geometry, settings: DepthSettings) -> float:
    """Half range of the search, as a defocus number: never as far as the sensor."""
    return min(settings.half_range, 0.9 * geometry.defocus_number)


def pooled(depths: Sequence[Depth]) -> list[Depth]:
    """Depths of one frame that know of each other: where all scatter no more than their uncertainties, they share a plane.

    Empirical Bayes with a normal population whose middle and spread come from the frame itself (DerSimonian and Laird's moment
    estimate, doi:10.1016/0197-2456(86)90046-2), strays by medians. Particles on a slide are drawn to its plane as far as each
    is uncertain; particles that float at depths of their own or lie in two planes stay where they are, and so do strays. Fewer
    than six say nothing of a population.
    """
    if len(depths) < _POPULATION:
        return list(depths)
    places, deviations = np.array([d.z_um for d in depths]), np.array([d.uncertainty_um for d in depths])
    sure = deviations <= 2 * np.median(deviations)
    middle = float(np.median(places[sure]))
    scatter = 1.4826 * float(np.median(np.abs(places[sure] - middle)))
    least = float(deviations.min())
    variance = max(scatter**2 - float(np.median(deviations[sure] ** 2)), (least / 2) ** 2)
    # Where half of them share a plane, medians see no other plane beside it; moments do.
    near = sure & (np.abs(places - middle) <= 4 * np.sqrt(deviations**2 + variance))
    variance = max(variance, float(np.mean((places[near] - middle) ** 2 - deviations[near] ** 2)))
    out: list[Depth] = []
    for depth in depths:
        own = depth.uncertainty_um**2
        if abs(depth.z_um - middle) > 4 * math.sqrt(own + variance):
            out.append(depth)
            continue
        share = variance / (variance + own)
        drawn_um = (1 - share) * (middle - depth.z_um)
        # Half of each error is taken to be common to all: it doesn't average out. And the plane may not be this one's.
        out.append(Depth(depth.z_um + drawn_um, math.hypot(math.sqrt(max(share, 0.25) * own), drawn_um / 2)))
    return out


@lru_cache(maxsize=8)
def _axial(size: int, wavelength_px: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Radial bin of every frequency of a crop, and (kz - k) in radians per pixel at the bins' middles."""
    frequency = np.hypot(fft.fftfreq(size)[:, None], fft.fftfreq(size)[None, :])
    bins = np.rint(frequency * 2 * size).astype(np.int64)
    middles = np.arange(bins.max() + 1) / (2 * size)
    squared = np.maximum(1 / wavelength_px**2 - middles**2, 0)
    axial = 2 * np.pi * (np.sqrt(squared) - 1 / wavelength_px)
    axial.setflags(write=False)
    return bins, axial


def estimate_depth(
    start: Complex, field: Complex, part: Segment, geometry: Geometry, settings: DepthSettings | None = None
) -> Depth:
    """Distance of one particle.

    Parameters: `start` back-propagated field, `field` object field, both complex64 [height, width] at the geometry's
    distance. What weak lenses read short is added. The uncertainty joins how little the rings agree, half the way to the farthest
    other maximum of comparable height, what 'the' depth of an extended particle means, and one defocus number, below which two
    depths look alike.
    """
    settings = settings or DepthSettings()
    size = settings.crop_px
    own, seen = _crops(start, field, part, size)
    pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
    bins, axial = _axial(size, wavelength_um / pitch_um)
    rings = _coherence(fft.fft2(own), fft.fft2(seen), bins)
    unit_px = pitch_um / wavelength_um  # one defocus number, in pixels along the axis
    span = _span(geometry, settings)
    offsets_px = np.linspace(-span, span, settings.steps) * unit_px
    curve = (np.exp(-1j * axial[None, :] * offsets_px[:, None]) @ rings).real
    best = int(np.argmax(curve))
    step_px = float(offsets_px[1] - offsets_px[0])
    widest_um = span * unit_px * pitch_um / math.sqrt(3)
    # At the border half the fringes are missing, and the cut itself is sharpest at the focal plane.
    if part.touches_edge or not 0 < best < len(curve) - 1:
        return _at(geometry, float(offsets_px[best]) * pitch_um, widest_um)
    left, middle, right = curve[best - 1 : best + 2]
    offset_px = float(offsets_px[best]) + step_px * 0.5 * float((left - right) / (left - 2 * middle + right))
    deviation_px = math.hypot(_deviation_px(rings, axial, offset_px), _rival_steps(curve, best) * step_px / 2)
    diameter_px = 2 * math.sqrt(float(part.mask.sum()) / math.pi)
    offset_px += settings.weak_lens * diameter_px * unit_px
    spread_px = math.hypot(_EXTENT_SHARE, settings.weak_lens_deviation * unit_px) * diameter_px
    return _at(geometry, offset_px * pitch_um, min(math.hypot(deviation_px, spread_px, unit_px) * pitch_um, widest_um))


def _rival_steps(curve: NDArray[np.float64], best: int) -> int:
    """How far from the best depth the farthest other maximum lies that is nearly as high, in steps; 0: there is none."""
    inner = curve[1:-1]
    maxima = 1 + np.flatnonzero((inner >= curve[:-2]) & (inner >= curve[2:]) & (inner >= _COMPARABLE * curve[best]))
    return int(np.abs(maxima - best).max(initial=0))


def _coherence(own: Complex, seen: Complex, bins: NDArray[np.int64]) -> NDArray[np.complex128]:
    """w_r c_r of every ring, complex128 [rings]."""
    product = (np.conj(own) * seen).ravel()
    place = bins.ravel()
    gathered = np.bincount(place, product.real) + 1j * np.bincount(place, product.imag)
    moduli = np.bincount(place, np.abs(product))
    # Rings a thousand times darker than the brightest hold noise, not the particle.
    return gathered / np.maximum(moduli + 1e-3 * moduli.max(), 1e-20) * np.sqrt(np.bincount(place))


def _deviation_px(rings: NDArray[np.complex128], axial: NDArray[np.float64], offset_px: float) -> float:
    """One standard deviation of the peak's place, from how little the rings agree on it.

    At the peak every ring should be real; what is imaginary pulls the peak to one side or the other. Rings next to each
    other err alike, for a particle is smaller than its crop: they are taken in groups of _ALIKE.
    """
    turned = rings * np.exp(-1j * axial * offset_px)
    pulls = np.add.reduceat(axial * turned.imag, np.arange(0, len(rings), _ALIKE))
    bend = float((axial**2 * turned.real).sum())
    return float(np.sqrt((pulls**2).sum())) / max(bend, 1e-12)


def _at(geometry: Geometry, offset_um: float, uncertainty_um: float) -> Depth:
    """From an offset in the equivalent plane-wave recording to a distance, where both grow alike to first order."""
    return Depth(geometry.distance_of(geometry.propagation_um + offset_um), uncertainty_um)


def _crops(start: Complex, field: Complex, part: Segment, size: int) -> tuple[Complex, Complex]:
    """The particle alone and the back-propagated field around it, minus 1, complex64 [size, size]."""
    height, width = part.mask.shape
    own = np.zeros((size, size), np.complex64)
    seen = np.zeros((size, size), np.complex64)
    top, left = part.y_px + height // 2 - size // 2, part.x_px + width // 2 - size // 2
    y0, y1 = max(top, 0), min(top + size, field.shape[0])
    x0, x1 = max(left, 0), min(left + size, field.shape[1])
    seen[y0 - top : y1 - top, x0 - left : x1 - left] = start[y0:y1, x0:x1] - 1
    oy0, ox0 = max(part.y_px, y0), max(part.x_px, x0)
    oy1, ox1 = min(part.y_px + height, y1), min(part.x_px + width, x1)
    mask = part.mask[oy0 - part.y_px : oy1 - part.y_px, ox0 - part.x_px : ox1 - part.x_px]
    own[oy0 - top : oy1 - top, ox0 - left : ox1 - left] = np.where(mask, field[oy0:oy1, ox0:ox1] - 1, 0)
    return own, seen
