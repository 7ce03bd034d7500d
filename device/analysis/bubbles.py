"""Bubbles told from particles, in water.

A bubble bends nearly all light out of what the pixels can sample: it is a round, dark disc, where cells, cysts and flakes let
most of their light through. A glass or polystyrene sphere is as dark, but gathers what little it passes behind it; a bubble
spreads it, as if it came from before it. Below some four pixels across nothing tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import asm_transfer_function
from device.records import Particle

__all__ = ["BUBBLE", "BubbleSettings", "axial_asymmetry", "is_bubble"]

BUBBLE = "bubble"
"""The label of a bubble."""

_HALF_PX = 32


@dataclass(frozen=True)
class BubbleSettings:
    """Limits between bubbles and the rest, from exact waves of bubbles and beads and slices of what lives in water."""

    most_mean_amplitude: float = 0.45
    """Of the light within the outline, relative to that around it."""
    most_min_amplitude: float = 0.1
    """At the darkest place."""
    least_circularity: float = 0.78
    """4 pi area over the square of the perimeter."""
    most_aspect_ratio: float = 1.3
    """Longest over shortest side."""
    least_asymmetry: float = -0.12
    """Of the light before and behind: a sphere denser than water is below."""
    least_esd_px: float = 4.5
    """Smaller ones are left as particles."""


def axial_asymmetry(field: NDArray[np.complex64], particle: Particle, geometry: Geometry) -> float:
    """Light on the particle's axis two diameters away from the sensor, less that two diameters towards it, over their sum.

    `field` complex64 [height, width] is the object field. Negative for what focuses, positive for what spreads; 0 where the
    particle lies too near to the border to say.
    """
    pitch_um = geometry.object_pitch_um
    row, column = round(particle.y_um / pitch_um), round(particle.x_um / pitch_um)
    half = _HALF_PX
    if not (half <= row < field.shape[0] - half and half <= column < field.shape[1] - half):
        return 0.0
    spectrum = fft.fft2(np.ascontiguousarray(field[row - half : row + half, column - half : column + half]))
    light: list[float] = []
    for sign in (-1, 1):
        transfer = asm_transfer_function(
            (2 * half, 2 * half), pitch_um, geometry.wavelength_medium_um, sign * 2 * particle.esd_um
        )
        middle = fft.ifft2(spectrum * transfer)[half - 1 : half + 2, half - 1 : half + 2]
        light.append(float((np.abs(middle) ** 2).max()))
    return (light[0] - light[1]) / max(sum(light), 1e-9)


def is_bubble(
    particle: Particle, field: NDArray[np.complex64], geometry: Geometry, settings: BubbleSettings | None = None
) -> bool:
    """Whether a particle of an object field complex64 [height, width] is a bubble."""
    limits, features = settings or BubbleSettings(), particle.features
    dark_disc = (
        particle.esd_um >= limits.least_esd_px * geometry.object_pitch_um
        and features["mean_amplitude"] <= limits.most_mean_amplitude
        and features["min_amplitude"] <= limits.most_min_amplitude
        and features["circularity"] >= limits.least_circularity
        and features["aspect_ratio"] <= limits.most_aspect_ratio
    )
    return dark_disc and axial_asymmetry(field, particle, geometry) >= limits.least_asymmetry
