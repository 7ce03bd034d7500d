"""Diffraction tomography: the refractive index of a particle, in three dimensions, from its fields at many angles.

By the Fourier diffraction theorem (Wolf, Opt. Commun. 1, 153 (1969), doi:10.1016/0030-4018(69)90052-2) the spectrum of a field behind a
weak scatterer is that of the scattering potential k^2 ((n / medium)^2 - 1) on a cap of Ewald's sphere. In the Rytov approximation
(Devaney, Opt. Lett. 6, 374 (1981), doi:10.1364/OL.6.000374) that is so for the logarithm of the field, which bears a phase of many
radians as long as the index changes little over a wavelength. Every angle fills a cap; nothing but that is `rytov`. What no cap reaches
(the missing cone: of a turn about one axis, an apple's core along that axis; of a few angles, most) is filled by `tv_born` with what makes
the index no smaller than the medium's and its total variation small (Chambolle and Pock's dual steps inside FISTA: Beck and
Teboulle, IEEE Trans. Image Process. 18, 2419 (2009), doi:10.1109/TIP.2009.2028250). That is a preference for even bodies, not a measurement.

Axes are [z, y, x]; light goes along +z; rows of a field are y, the axis that the particle turns about; at an angle a the particle is turned
from z towards x: what lay at +z lies at +x after a quarter of a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.unwrapping import unwrap

__all__ = ["Coverage", "Tomogram", "coverage", "rytov", "rytov_phase", "tomogram", "tv_born"]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]

MOST_PX = 160
"""Side of a volume: 160^3 takes half a gigabyte."""
_FINER = 4
"""By which the spectrum of a field is interpolated along the columns."""
_LEAST_AMPLITUDE = 0.05
_CAP = 0.5
"""Half the thickness of a cap, in steps of the grid. With 1 more is measured, but the ends of what fills the frame are smeared: a sphere
two thirds as wide, in 20 angles within 30 degrees, came out of `tv_born` with an error of 0.53, with 0.5 of 0.22."""
_EVEN = 0.02
"""Weight of the total variation, relative to the strongest of what `rytov` finds."""
_DUAL_STEPS = 8


@dataclass(frozen=True)
class Coverage:
    """What the caps of all angles hold of the spectrum of (n / medium)^2 - 1, on a cubic grid in FFT order."""

    spectrum: Complex
    """complex64 [n, n, n], 0 where nothing was measured."""
    measured: NDArray[np.bool_]
    """bool [n, n, n]"""


@dataclass(frozen=True)
class Tomogram:
    """A particle's refractive index."""

    index: Real
    """float32 [z, y, x]; the medium's where nothing is."""
    rytov: Real
    """The same without any constraint."""
    measured: float
    """Share of the frequencies that light can carry (twice the medium's wave number and less) that some angle measured."""
    unexplained: float
    """Share of the energy of what was measured that the index, in the Rytov approximation, leaves over."""


def rytov_phase(field: NDArray[np.complexfloating]) -> Complex:
    """Logarithm of a field [height, width] in the particle's plane, its phase unwrapped and 0 along the border's median."""
    border = np.ones(field.shape, np.bool_)
    border[2:-2, 2:-2] = False
    level = float(np.median(np.abs(field[border])))
    if not level > 0:
        raise InputError(
            "the field is dark along its border", where="tomography", expected="light around the particle", got=level
        )
    phase = unwrap(np.angle(field).astype(np.float32))
    phase = phase - np.median(phase[border])
    return (np.log(np.maximum(np.abs(field) / level, _LEAST_AMPLITUDE)) + 1j * phase).astype(np.complex64)


def coverage(
    phases: Sequence[Complex],
    angles_rad: Sequence[float] | NDArray[np.floating],
    *,
    pitch_um: float,
    wavelength_um: float,
    side: int,
) -> Coverage:
    """Lay the spectra of complex Rytov phases [height, width] on their caps.

    Parameters: `wavelength_um` in the medium; `side` n of the cube, at least that of the fields.
    """
    wave = 2 * np.pi / wavelength_um
    step = 2 * np.pi / (side * pitch_um)
    along = (2 * np.pi * fft.fftfreq(side, pitch_um)).astype(np.float32)
    rows, far, near = along[None, :, None], along[:, None, None], along[None, None, :]
    total, weight = np.zeros((side,) * 3, np.complex64), np.zeros((side,) * 3, np.float32)
    for phase, angle in zip(phases, angles_rad, strict=True):
        spectrum = _spectrum(phase, side)
        cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        across, ahead = cosine * near + sine * far, cosine * far - sine * near
        left = wave**2 - across**2 - rows**2
        axial = np.sqrt(np.maximum(left, 0))
        share = np.maximum(_CAP - np.abs(ahead - (axial - wave)) / step, 0) * (left > (0.1 * wave) ** 2)
        hit = np.nonzero(share)
        place = across[:, 0][hit[0], hit[2]] * np.float32(_FINER / step)
        low = np.floor(place).astype(np.int32)
        part = place - low
        columns = spectrum.shape[1]
        value = (1 - part) * spectrum[hit[1], low % columns] + part * spectrum[hit[1], (low + 1) % columns]
        inside = np.abs(place) < columns / 2 - 1
        given = share[hit] * inside
        total[hit] += given * value * (-2j * axial[hit] / np.float32(wave**2 * pitch_um))
        weight[hit] += given
    # A real potential: what is known of a frequency is known of its opposite.
    total += np.conj(_at_opposite(total))
    weight += _at_opposite(weight).real
    measured = weight > 0
    return Coverage(np.where(measured, total / np.maximum(weight, np.float32(1e-6)), 0).astype(np.complex64), measured)


def _spectrum(phase: Complex, side: int) -> Complex:
    """Of a phase [height, width] about its middle, complex64 [side, _FINER side], in pixels' units: the sum, not times their area."""
    height, width = phase.shape
    wide = np.zeros((side, _FINER * side), np.complex64)
    wide[:height, :width] = phase
    wide = np.roll(wide, (-(height // 2), -(width // 2)), (0, 1))
    return fft.fft2(wide)


def _at_opposite(values: NDArray[np.inexact]) -> NDArray[np.inexact]:
    """What lies at the opposite frequencies, in FFT order."""
    return np.roll(values[::-1, ::-1, ::-1], 1, (0, 1, 2))


def rytov(known: Coverage, medium_index: float) -> Real:
    """Index float32 [z, y, x], the particle about its middle; what wasn't measured is taken for 0."""
    return _index(fft.ifft3(known.spectrum).real, medium_index)


def _index(contrast: Real, medium_index: float) -> Real:
    return (medium_index * np.sqrt(np.maximum(1 + np.fft.fftshift(contrast), 0.1))).astype(np.float32)


def tv_born(known: Coverage, medium_index: float, *, iterations: int = 40, denser: bool = True) -> Real:
    """Index float32 [z, y, x] that fits what was measured, nowhere less than the medium's (`denser` False: nowhere more), of small total
    variation."""
    sign = np.float32(1 if denser else -1)
    data = sign * known.spectrum
    start = fft.ifft3(data).real
    weight = np.float32(_EVEN * max(float(np.quantile(start, 0.9999)), 1e-12))
    here: Real = np.maximum(start, np.float32(0))
    ahead = here
    dual = np.zeros((3, *start.shape), np.float32)
    pace = 1.0
    for _ in range(iterations):
        missing = np.where(known.measured, data - fft.fft3(ahead), np.complex64(0))
        free = ahead + fft.ifft3(missing).real
        better, dual = _even(free, weight, dual)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        ahead = better + np.float32((pace - 1) / faster) * (better - here)
        here, pace = better, float(faster)
    return _index(sign * here, medium_index)


def _even(image: Real, weight: np.float32, dual: Real) -> tuple[Real, Real]:
    """The image, nowhere below 0, next to `image` with a `weight` on its total variation; and the dual it was found by, to go on from."""
    for _ in range(_DUAL_STEPS):
        slope = _slopes(np.maximum(image + weight * _divergence(dual), np.float32(0)))
        stepped = dual + slope / (12 * weight)
        dual = (stepped / np.maximum(np.sqrt((stepped**2).sum(axis=0)), 1)).astype(np.float32)
    return np.maximum(image + weight * _divergence(dual), np.float32(0)), dual


def _slopes(image: Real) -> Real:
    return np.stack([np.roll(image, -1, axis) - image for axis in range(3)])


def _divergence(dual: Real) -> Real:
    """Minus the adjoint of `_slopes`."""
    total = np.zeros(dual.shape[1:], np.float32)
    for axis in range(3):
        total += dual[axis] - np.roll(dual[axis], 1, axis)
    return total


def tomogram(
    fields: Sequence[NDArray[np.complexfloating]], angles_rad: Sequence[float] | NDArray[np.floating], *, pitch_um: float, wavelength_um: float,
    medium_index: float, iterations: int = 40, denser: bool = True,
) -> Tomogram:  # fmt: skip
    """A particle's index from its fields [height, width] in the plane of its middle, the incident wave divided out.

    Parameters: `wavelength_um` in vacuum; `angles_rad` of every field; `denser` whether its index is the medium's and more; `iterations` of
    `tv_born`. The particle should fill half of the frame at most. Raises InputError where fields and angles don't match, fields
    differ in shape, are too large or not finite, or all angles are one.
    """
    _check(fields, angles_rad)
    side = fft.next_fast_len(max(fields[0].shape))
    inside_um = wavelength_um / medium_index
    phases = [rytov_phase(field) for field in fields]
    known = coverage(phases, angles_rad, pitch_um=pitch_um, wavelength_um=inside_um, side=side)
    frequencies = fft.fftfreq(side, pitch_um)
    squared = frequencies[:, None, None] ** 2 + frequencies[None, :, None] ** 2 + frequencies[None, None, :] ** 2
    carried = squared < (2 / inside_um) ** 2
    plain = rytov(known, medium_index)
    index = tv_born(known, medium_index, iterations=iterations, denser=denser) if iterations else plain
    contrast = np.fft.ifftshift((index / np.float32(medium_index)) ** 2 - 1)
    left = np.where(known.measured, fft.fft3(contrast) - known.spectrum, 0)
    unexplained = float((np.abs(left) ** 2).sum() / max(float((np.abs(known.spectrum) ** 2).sum()), 1e-30))
    return Tomogram(index, plain, float(known.measured[carried].mean()), unexplained)


def _check(fields: Sequence[NDArray[np.complexfloating]], angles_rad: Sequence[float] | NDArray[np.floating]) -> None:
    if len(fields) != len(angles_rad) or len(fields) < 2:
        raise InputError(
            "fields and angles don't match", where="tomography", expected="two fields or more, and an angle of each",
            got=f"{len(fields)} fields, {len(angles_rad)} angles",
        )  # fmt: skip
    shapes = {field.shape for field in fields}
    if len(shapes) > 1 or fields[0].ndim != 2:
        raise InputError("fields of different shapes", where="tomography", expected="one [height, width]", got=sorted(shapes))
    if max(fields[0].shape) > MOST_PX:
        raise InputError(
            "too large a volume", where="tomography", expected=f"fields of at most {MOST_PX} pixels", got=fields[0].shape,
            remedy="Cut the particle out, or bin the fields.",
        )  # fmt: skip
    if not all(np.isfinite(field).all() for field in fields):
        raise InputError("a field holds NaN or infinity", where="tomography")
    if np.ptp(np.asarray(angles_rad)) == 0:
        raise InputError("all angles are one", where="tomography", expected="the particle turned", got=angles_rad[0])
