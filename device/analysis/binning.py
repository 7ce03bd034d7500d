"""Holograms that are sampled more finely or more coarsely than the network was trained for, taken at pixels that it knows.

What a network sees of an instrument is its defocus number, wavelength * distance / pitch^2. Pixels averaged n by n have one that is
n^2 times smaller: as a sensor of n times the pitch would have recorded it, so nothing in the optics changes. Pixels interpolated
to n by n have one that is n^2 times larger, and no finer detail than before. Whatever comes out is carried back to the pixels
that the sensor has. `binning` is the side of the network's pixel in the sensor's: n, or 1 / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from device.frames import Hologram
from device.optics.geometry import Geometry
from device.records import Particle

__all__ = ["binned", "binning_for", "coarser", "spread", "unbinned"]

MOST_BINNED = 8
"""Of a particle of 8 pixels one would be left."""
MOST_PARTS = 4
"""Nearer to the sensor than this bears, fringes are narrower than a pixel: a shadow is left, which tells no depth."""


def coarser(geometry: Geometry, binning: float) -> Geometry:
    """The geometry of pixels whose side is `binning` of the sensor's."""
    return replace(geometry, pitch_um=geometry.pitch_um * binning)


def binning_for(geometry: Geometry, covers: Callable[[Geometry], bool]) -> float | None:
    """The binning nearest to 1 that is covered, 1 where the geometry itself is; None where none is."""
    tried = (*range(1, MOST_BINNED + 1), *(1 / n for n in range(2, MOST_PARTS + 1)))
    return next((n for n in tried if covers(coarser(geometry, n))), None)


def binned(hologram: Hologram, binning: float) -> Hologram:
    """The hologram at pixels of another side: averaged, where rows and columns that don't fill one are left out, or interpolated."""
    if binning < 1:
        return _interpolated(hologram, round(1 / binning))
    binning = round(binning)
    height, width = (n // binning for n in hologram.intensity.shape)
    whole = hologram.intensity[: height * binning, : width * binning]
    mean = np.ascontiguousarray(whole.reshape(height, binning, width, binning).mean((1, 3), dtype=np.float32))
    mean.setflags(write=False)
    return replace(
        hologram,
        intensity=mean,
        geometry=coarser(hologram.geometry, binning),
        noise=hologram.noise / binning,
        photon_noise=hologram.photon_noise / binning,
    )


def _interpolated(hologram: Hologram, parts: int) -> Hologram:
    height, width = (n * parts for n in hologram.intensity.shape)
    fine = np.asarray(cv2.resize(hologram.intensity, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    fine.setflags(write=False)
    return replace(hologram, intensity=fine, geometry=coarser(hologram.geometry, 1 / parts))


def spread(field: NDArray[np.complex64], shape: tuple[int, ...], binning: float) -> NDArray[np.complex64]:
    """A field of binned pixels, complex64 [height, width], on the sensor's own of `shape`; beyond what was binned it is 1."""
    if binning < 1:
        return _means(field, round(1 / binning))
    binning = round(binning)
    height, width = (n * binning for n in field.shape)
    finer = np.ones(shape, np.complex64)
    # Real and imaginary part as two channels: the centres of the pixels are kept.
    channels = np.ascontiguousarray(field).view(np.float32).reshape(*field.shape, 2)
    finer[:height, :width] = cv2.resize(channels, (width, height), interpolation=cv2.INTER_CUBIC).view(np.complex64)[..., 0]
    return finer


def _means(field: NDArray[np.complex64], parts: int) -> NDArray[np.complex64]:
    height, width = (n // parts for n in field.shape)
    return field.reshape(height, parts, width, parts).mean(axis=(1, 3), dtype=np.complex64)


def unbinned(particle: Particle, geometry: Geometry, binning: float) -> Particle:
    """A particle of a binned hologram in the pixels of `geometry`, the sensor's own."""
    # Between the centres of the first pixel of either kind.
    shift_um = (binning - 1) / 2 * geometry.object_pitch_um
    # Interpolated pixels hold no depth that the sensor's don't: half their depth of field, 4 pitch^2 / wavelength.
    deep_um = 2 * geometry.object_pitch_um**2 / geometry.wavelength_medium_um if binning < 1 else 0.0
    unsure_um = geometry.distance_of(geometry.propagation_um + deep_um) - geometry.distance_um
    bbox, mask, crop = _larger(particle, round(binning)) if binning > 1 else _smaller(particle, round(1 / binning))
    return replace(
        particle,
        z_uncertainty_um=math.hypot(particle.z_uncertainty_um, unsure_um),
        x_um=particle.x_um + shift_um,
        y_um=particle.y_um + shift_um,
        features={
            name: value + shift_um if name.startswith("skeleton_") else value for name, value in particle.features.items()
        },
        bbox_px=bbox,
        mask=mask,
        field_crop=crop,
    )


_Pixels = tuple[tuple[int, int, int, int], NDArray[np.bool_], NDArray[np.complex64]]
"""Box, mask and field of a particle."""


def _larger(particle: Particle, binning: int) -> _Pixels:
    x, y, width, height = (n * binning for n in particle.bbox_px)
    mask = np.repeat(np.repeat(particle.mask, binning, axis=0), binning, axis=1)
    return (x, y, width, height), mask, spread(particle.field_crop, mask.shape, binning)


def _smaller(particle: Particle, parts: int) -> _Pixels:
    """A pixel is the particle's where half of its parts are, or where it would else have none in its row or column."""
    x, y, width, height = particle.bbox_px
    left, top, right, bottom = x // parts, y // parts, -(-(x + width) // parts), -(-(y + height) // parts)
    field = np.ones(((bottom - top) * parts, (right - left) * parts), np.complex64)
    inside = (slice(y - top * parts, y - top * parts + height), slice(x - left * parts, x - left * parts + width))
    share = np.zeros(field.shape, np.complex64)
    field[inside], share[inside] = particle.field_crop, particle.mask
    covered = _means(share, parts).real
    mask = covered >= np.minimum(0.5, np.minimum(covered.max(axis=0)[None, :], covered.max(axis=1)[:, None]))
    return (left, top, right - left, bottom - top), mask & (covered > 0), _means(field, parts)
