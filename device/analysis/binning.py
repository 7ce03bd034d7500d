"""Holograms that are sampled more finely than the network was trained for, taken at coarser pixels.

What a network sees of an instrument is its defocus number, wavelength * distance / pitch^2. Pixels averaged n by n have one that is
n^2 times smaller: as a sensor of n times the pitch would have recorded it, so nothing in the optics changes. Whatever comes out
is carried back to the pixels that the sensor has.
"""

from __future__ import annotations

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


def coarser(geometry: Geometry, binning: int) -> Geometry:
    """The geometry of pixels averaged `binning` by `binning`."""
    return replace(geometry, pitch_um=geometry.pitch_um * binning)


def binning_for(geometry: Geometry, covers: Callable[[Geometry], bool]) -> int | None:
    """The least binning that is covered, 1 where the geometry itself is; None where none is."""
    return next((n for n in range(1, MOST_BINNED + 1) if covers(coarser(geometry, n))), None)


def binned(hologram: Hologram, binning: int) -> Hologram:
    """The hologram averaged over `binning` by `binning` pixels; rows and columns that don't fill one are left out."""
    height, width = (n // binning for n in hologram.intensity.shape)
    whole = hologram.intensity[: height * binning, : width * binning]
    mean = np.ascontiguousarray(whole.reshape(height, binning, width, binning).mean((1, 3), dtype=np.float32))
    mean.setflags(write=False)
    return replace(hologram, intensity=mean, geometry=coarser(hologram.geometry, binning), noise=hologram.noise / binning)


def spread(field: NDArray[np.complex64], shape: tuple[int, ...], binning: int) -> NDArray[np.complex64]:
    """A field of binned pixels, complex64 [height, width], on the sensor's own of `shape`; beyond what was binned it is 1."""
    height, width = (n * binning for n in field.shape)
    finer = np.ones(shape, np.complex64)
    # Real and imaginary part as two channels: the centres of the pixels are kept.
    channels = np.ascontiguousarray(field).view(np.float32).reshape(*field.shape, 2)
    finer[:height, :width] = cv2.resize(channels, (width, height), interpolation=cv2.INTER_CUBIC).view(np.complex64)[..., 0]
    return finer


def unbinned(particle: Particle, geometry: Geometry, binning: int) -> Particle:
    """A particle of a binned hologram in the pixels of `geometry`, the sensor's own."""
    # Between the centres of the first pixel of either kind.
    shift_um = (binning - 1) / 2 * geometry.object_pitch_um
    x, y, width, height = particle.bbox_px
    mask = np.repeat(np.repeat(particle.mask, binning, axis=0), binning, axis=1)
    crop = spread(particle.field_crop, mask.shape, binning)
    return replace(
        particle,
        x_um=particle.x_um + shift_um,
        y_um=particle.y_um + shift_um,
        features={
            name: value + shift_um if name.startswith("skeleton_") else value for name, value in particle.features.items()
        },
        bbox_px=(x * binning, y * binning, width * binning, height * binning),
        mask=mask,
        field_crop=crop,
    )
