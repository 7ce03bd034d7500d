"""The crop a classifier sees: one recipe for the box and for training.

A crop's pitch is the finest of CROP_PITCHES_UM at which the particle fits with some room, so that a spore and a rotifer fill
crops alike. Physical size isn't scaled away: it is an input of its own, and so is the pitch. Pixels of neighbours are blank:
what lies beside a particle says nothing of what it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.records import Particle

__all__ = ["CROP_CHANNELS", "CROP_PITCHES_UM", "CROP_PX", "ParticleCrop", "classifier_crops"]

Complex = NDArray[np.complex64]
Mask = NDArray[np.bool_]

CROP_PX = 48
"""Side of a crop."""

CROP_CHANNELS = ("re_minus_1", "im", "own_log2_esd", "log2_pitch")
"""Real part minus 1; imaginary part; log2(esd in um) / 4 on the particle's own pixels and 0 elsewhere; log2(pitch in um) / 4."""

CROP_PITCHES_UM = (0.56, 1.12, 2.24, 4.48, 8.96)
"""Pitches that a crop may have at the object plane, each twice the one before."""

_ROOM = 1.3
"""Least side of a crop over the longer side of the particle's box."""

_GROWN_PX = 2
"""A particle's pixels are grown by so much before its neighbours are blanked: outlines are a little tight."""

_FULL_SCALE = 2.0
"""Values beyond are clipped: what is rare would cost all others their resolution in 8 bits."""


@dataclass(frozen=True)
class ParticleCrop:
    """One particle as a classifier sees it."""

    image: NDArray[np.float32]
    """float32 [CROP_PX, CROP_PX, len(CROP_CHANNELS)]."""
    pitch_um: float
    """Of its pixels at the object plane."""


def classifier_crops(field: Complex, particles: Sequence[Particle], pitch_um: float) -> list[ParticleCrop]:
    """The crops of all particles of a frame.

    Parameters: `field` complex64 [height, width], 1 where nothing is; `pitch_um` its pitch at the object plane. Outside the
    field a crop is empty. Sampled about the very centre of each particle, so that its place between pixels doesn't matter.
    """
    owners = _owners(field.shape, particles)
    return [_crop(field, owners, k, particle, pitch_um) for k, particle in enumerate(particles, start=1)]


def _owners(shape: tuple[int, ...], particles: Sequence[Particle]) -> NDArray[np.int32]:
    """Number of the particle, from 1, that each pixel near one belongs to; 0: none's. int32 [height, width]."""
    owners = np.zeros(shape, np.int32)
    disc = np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _GROWN_PX + 1,) * 2))
    for k, particle in enumerate(particles, start=1):
        x, y, width, height = particle.bbox_px
        grown = np.asarray(cv2.dilate(np.pad(particle.mask.astype(np.uint8), _GROWN_PX), disc))
        top, left = max(y - _GROWN_PX, 0), max(x - _GROWN_PX, 0)
        view = owners[top : y + height + _GROWN_PX, left : x + width + _GROWN_PX]
        inside = grown[top - y + _GROWN_PX :, left - x + _GROWN_PX :][: view.shape[0], : view.shape[1]] > 0
        view[inside & (view == 0)] = k
    # Where two grow into each other each keeps what is its own.
    for k, particle in enumerate(particles, start=1):
        x, y, width, height = particle.bbox_px
        owners[y : y + height, x : x + width][particle.mask] = k
    return owners


def crop_pitch_um(particle: Particle, pitch_um: float) -> float:
    """The finest pitch at which a particle of a field of pitch `pitch_um` fits its crop with room; else the coarsest."""
    least_um = _ROOM * max(particle.bbox_px[2:]) * pitch_um / CROP_PX
    return next((pitch for pitch in CROP_PITCHES_UM if pitch >= least_um), CROP_PITCHES_UM[-1])


def _crop(field: Complex, owners: NDArray[np.int32], number: int, particle: Particle, pitch_um: float) -> ParticleCrop:
    sampled_um = crop_pitch_um(particle, pitch_um)
    step, half = sampled_um / pitch_um, (CROP_PX - 1) / 2
    x_px, y_px = particle.x_um / pitch_um, particle.y_um / pitch_um
    # Only what the crop needs is touched; cubic interpolation looks two pixels further, smoothing three deviations.
    reach = math.ceil(half * step) + 3 + math.ceil(2 * step)
    top, left = max(round(y_px) - reach, 0), max(round(x_px) - reach, 0)
    box = (slice(top, round(y_px) + reach + 1), slice(left, round(x_px) + reach + 1))
    near, owned = field[box], owners[box]
    blank = (owned != 0) & (owned != number)
    planes = (np.where(blank, 0, near.real - 1), np.where(blank, 0, near.imag), _own(particle, near.shape, top, left))
    # Maps crop pixels to field pixels: column x_px + (k - half) * step.
    matrix = np.array([[step, 0, x_px - left - half * step], [0, step, y_px - top - half * step]], np.float64)
    image = np.empty((CROP_PX, CROP_PX, len(CROP_CHANNELS)), np.float32)
    for channel, plane in enumerate(planes):
        image[..., channel] = _sampled(plane.astype(np.float32), matrix, step)
    image[..., 2] *= math.log2(max(particle.esd_um, 1.0)) / 4
    image[..., 3] = math.log2(sampled_um) / 4
    return ParticleCrop(np.clip(image, -_FULL_SCALE, _FULL_SCALE), sampled_um)


def _own(particle: Particle, shape: tuple[int, ...], top: int, left: int) -> Mask:
    """The particle's mask on a piece of the field that begins at (top, left)."""
    own = np.zeros(shape, np.bool_)
    x, y, width, height = particle.bbox_px
    y0, x0 = max(y, top), max(x, left)
    y1, x1 = min(y + height, top + shape[0]), min(x + width, left + shape[1])
    own[y0 - top : y1 - top, x0 - left : x1 - left] = particle.mask[y0 - y : y1 - y, x0 - x : x1 - x]
    return own


def _sampled(plane: NDArray[np.float32], matrix: NDArray[np.float64], step: float) -> NDArray[np.float32]:
    """A plane at the crop's pixels; smoothed first where they lie farther apart than its own."""
    if step > 1.2:
        plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.4 * step, borderType=cv2.BORDER_REPLICATE), np.float32)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(plane, matrix, (CROP_PX, CROP_PX), flags=flags, borderMode=cv2.BORDER_CONSTANT), np.float32
    )
