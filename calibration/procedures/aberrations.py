"""Aberrations of an instrument from plain holograms of unknown particles.

A particle is compact and nothing amplifies light: with its outline and depth from a first reconstruction, there is little
freedom left to explain fringes that are bent. All particles' fields and seven aberrations, common to all frames, are improved
in turn against the measured amplitudes: the fields as in device.analysis.refine, the aberrations by Gauss-Newton steps on the
field at hand (the joint recovery of object and pupil, as in Ou, Zheng and Yang, Opt. Express 22, 4960 (2014),
doi:10.1364/OE.22.004960, here from in-line holograms). A shift of the whole image and a common distance can't be told apart
from tilt and defocus of the pupil; both are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth
from device.analysis.segment import Segment
from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import compute_transfer_function, pad_to
from device.optics.pupil import ABERRATIONS, Pupil, aberration_terms

__all__ = ["FoundParticles", "measure_aberrations", "pupil_radius_per_px"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

_SHEETS = 6  # depths that the particles of one frame are gathered on
_MARGIN_PX = 64
_OBJECT_MOMENTUM = 0.7
_PUPIL_MOMENTUM = 0.6
_BEYOND = 1.8  # a round goes part of the way: its step is lengthened, short of the two at which it could swing up
_SETTLING = 2  # iterations of the fields alone, before they say anything about the pupil
_GROWN_PX = 2


@dataclass(frozen=True)
class FoundParticles:
    """One frame as a first reconstruction sees it."""

    amplitude: Real
    """float32 [height, width] at the sensor, 1 where nothing is."""
    field: Complex
    """complex64 [height, width]: every particle in focus."""
    parts: Sequence[Segment]
    depths: Sequence[Depth]
    """Of every particle, of the equivalent plane-wave recording."""


@dataclass
class _Sheet:
    """Particles of about one depth."""

    support: NDArray[np.bool_]
    transfer: Complex
    scattered: Complex
    ahead: Complex


@dataclass
class _FrameSheets:
    amplitude: Real
    window: tuple[slice, slice]
    sheets: list[_Sheet]


def pupil_radius_per_px(intensities: Sequence[NDArray[np.floating]], bins: int = 64) -> tuple[float, bool]:
    """(radius of the pupil in cycles per pixel, whether an edge is seen) from the spectrum of holograms.

    A lens ends the spectrum as a cliff. Without one, the radius is where the signal goes under in the noise.
    """
    height, width = intensities[0].shape
    window = np.hanning(height)[:, None] * np.hanning(width)[None, :]
    power = np.zeros((height, width))
    for intensity in intensities:
        power += np.abs(fft.fft2((intensity - 1) * window)) ** 2
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None, :])
    ring = (frequency * 2 * bins).astype(int)
    curve = np.array([np.median(power[ring == k]) for k in range(bins)])
    curve /= np.median(curve[-bins // 5 :])
    slope = np.diff(np.log(curve))
    fall = np.convolve(slope, np.ones(3), "same")
    # A cliff ends in the noise; a gap between two fringes doesn't.
    after = np.append(curve[3:], [1.0, 1.0])
    cliff = (fall < -2.0) & (after < 3.0) & (np.arange(len(slope)) >= bins // 10)
    if cliff.any():
        return float((np.argmin(np.where(cliff, slope, 0)) + 1) / (2 * bins)), True
    seen = np.flatnonzero(curve > 1.5)
    return float(np.clip((seen.max() + 1 if len(seen) else bins) / (2 * bins), 0.1, 0.5)), False


def measure_aberrations(
    find: Callable[[Pupil], Sequence[FoundParticles]], geometries: Sequence[Geometry], radius_per_um: float, *,
    rounds: int = 6, iterations: int = 12,
) -> Pupil:  # fmt: skip
    """The pupil that explains the frames best.

    `find` makes a first reconstruction of every frame with given aberrations; `geometries` one per frame, of one pitch.
    """
    coefficients = np.zeros(len(ABERRATIONS))
    for number in range(rounds):
        pupil = Pupil(tuple(coefficients.tolist()), radius_per_um)
        states = [_state(found, geometry) for found, geometry in zip(find(pupil), geometries, strict=True)]
        there = _joint(states, coefficients, geometries[0].object_pitch_um, radius_per_um, iterations)
        coefficients = coefficients + (_BEYOND if number + 1 < rounds else 1.0) * (there - coefficients)
    return Pupil(tuple(coefficients.tolist()), radius_per_um)


def _state(found: FoundParticles, geometry: Geometry) -> _FrameSheets:
    height, width = found.amplitude.shape
    shape = (pad_to(height, _MARGIN_PX), pad_to(width, _MARGIN_PX))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    window = (slice(top, top + height), slice(left, left + width))
    sheets: list[_Sheet] = []
    for depth_um, support in _gathered(found):
        wide = np.zeros(shape, np.bool_)
        wide[window] = support
        scattered = np.zeros(shape, np.complex64)
        scattered[window] = np.where(support, found.field - 1, 0)
        transfer = compute_transfer_function(shape, geometry.object_pitch_um, geometry.wavelength_medium_um, depth_um)
        sheets.append(_Sheet(wide, transfer, scattered, scattered))
    return _FrameSheets(found.amplitude, window, sheets)


def _gathered(found: FoundParticles) -> list[tuple[float, NDArray[np.bool_]]]:
    """(depth, support) of sheets of particles of about one depth."""
    if not found.parts:
        return []
    depths_um = np.array([depth.z_um for depth in found.depths])
    places = np.linspace(depths_um.min(), depths_um.max(), _SHEETS)
    nearest = np.argmin(np.abs(depths_um[:, None] - places[None, :]), axis=1)
    out: list[tuple[float, NDArray[np.bool_]]] = []
    size = 2 * _GROWN_PX + 1
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    for sheet in np.unique(nearest):
        mask = np.zeros(found.amplitude.shape, np.uint8)
        for k in np.flatnonzero(nearest == sheet):
            part = found.parts[int(k)]
            height, width = part.mask.shape
            mask[part.y_px : part.y_px + height, part.x_px : part.x_px + width] |= part.mask.astype(np.uint8)
        out.append((float(depths_um[nearest == sheet].mean()), cv2.dilate(mask, element).astype(np.bool_)))
    return out


def _joint(
    frames: Sequence[_FrameSheets], coefficients: NDArray[np.float64], pitch_um: float, radius_per_um: float, iterations: int
) -> NDArray[np.float64]:
    """Fields and coefficients in turn; returns the coefficients."""
    sheets = [sheet for frame in frames for sheet in frame.sheets]
    if not sheets:
        return coefficients
    height, width = sheets[0].support.shape
    terms = _with_defocus(aberration_terms((height, width), pitch_um, radius_per_um), pitch_um, radius_per_um)
    now = np.append(coefficients, 0.0)
    pace = np.zeros_like(now)
    for iteration in range(iterations):
        phase = np.tensordot(now.astype(np.float32), terms, axes=1)
        pupil = np.exp(1j * phase).astype(np.complex64)
        normal, gradient = np.zeros((len(now), len(now))), np.zeros(len(now))
        for frame in frames:
            jacobian, residual = _improve(frame, pupil, terms if iteration >= _SETTLING else None)
            normal += jacobian @ jacobian.T
            gradient += jacobian @ residual
        if iteration >= _SETTLING and np.trace(normal) > 0:
            damping = 1e-3 * float(np.trace(normal)) / len(now)
            pace = _PUPIL_MOMENTUM * pace + np.linalg.solve(normal + damping * np.eye(len(now)), gradient)
            now = now + pace
    return now[: len(coefficients)]


def _with_defocus(terms: Real, pitch_um: float, radius_per_um: float) -> Real:
    """The terms, and last an error that all depths share: left at nought, spherical aberration would take it up."""
    height, width = terms.shape[1:]
    squared = fft.fftfreq(height, pitch_um)[:, None] ** 2 + fft.fftfreq(width, pitch_um)[None, :] ** 2
    defocus = np.sqrt(3) * 2 * np.minimum(squared / radius_per_um**2, 1.0)
    return np.concatenate([terms, defocus[None].astype(np.float32)])


def _improve(frame: _FrameSheets, pupil: Complex, terms: Real | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step of a frame's fields; the amplitude's derivatives by the aberrations [terms, pixels] and its residual [pixels]."""
    spectrum = np.zeros(pupil.shape, np.complex64)
    for sheet in frame.sheets:
        spectrum += fft.fft2(sheet.ahead) * sheet.transfer
    spectrum *= pupil
    wave = 1 + fft.ifft2(spectrum)
    modulus = np.maximum(np.abs(wave), np.float32(1e-6))
    unit = wave / modulus
    residual = np.zeros(pupil.shape, np.float32)
    residual[frame.window] = frame.amplitude - modulus[frame.window]
    jacobian = np.zeros((len(ABERRATIONS) + 1, frame.amplitude.size))
    if terms is not None:
        for k, term in enumerate(terms):
            change = fft.ifft2(1j * term * spectrum)
            jacobian[k] = (np.conj(unit) * change).real[frame.window].ravel()
    seen = fft.fft2(unit * residual) * np.conj(pupil)
    for sheet in frame.sheets:
        field = 1 + sheet.ahead + fft.ifft2(seen * np.conj(sheet.transfer))
        field /= np.maximum(np.abs(field), np.float32(1))
        scattered = np.where(sheet.support, field - 1, np.complex64(0))
        sheet.ahead = scattered + np.float32(_OBJECT_MOMENTUM) * (scattered - sheet.scattered)
        sheet.scattered = scattered
    return jacobian, residual[frame.window].ravel().astype(np.float64)
