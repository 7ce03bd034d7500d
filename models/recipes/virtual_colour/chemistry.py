"""Two dyes whose uptake the light tells in part, and no more: what can be known of the colours is known exactly.

A structure's uptake is its density, which delays light, times exp(s h - s^2 / 2): h is its own chemistry, standard normal, and leaves no
trace in phase or absorption. Log densities have the standard deviation DENSITY_SPREAD, so that a structure's phase tells
log2(1 + (DENSITY_SPREAD / HIDDEN)^2) / 2 = 0.68 bit of its log uptake. Colours are by Beer and Lambert, with the extinctions of
haematoxylin and eosin (A. C. Ruifrok, D. A. Johnston, Anal. Quant. Cytol. Histol. 23, 291 (2001)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

__all__ = ["DENSITY_SPREAD", "HIDDEN", "Section", "density", "log_deviation"]

Map = NDArray[np.float32]

HIDDEN = 0.4
"""Standard deviation of the log uptake that nothing shows."""
DENSITY_SPREAD = 0.5
"""Standard deviation of the log density."""

_HAEMATOXYLIN, _EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
_PIGMENT = np.array([0.35, 0.6, 1.0])
"""Absorbs by itself, stained or not: melanin's fall towards the red."""
_LEDS_UM = np.array([0.63, 0.53, 0.46])
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_LEAST_DEVIATION = 0.01


def density(rng: np.random.Generator) -> float:
    """Of one structure: median 1."""
    return float(np.exp(DENSITY_SPREAD * rng.normal()))


def log_deviation(deviation: NDArray[np.floating]) -> Map:
    """A deviation of colour as the network gives it: (ln(deviation) + 2) / 4, of 0.01 at least."""
    return ((np.log(np.maximum(deviation, _LEAST_DEVIATION)) + 2) / 4).astype(np.float32)


@dataclass(frozen=True)
class Section:
    """A thin section; maps float32 [height, width]."""

    nuclear: Map
    """Density of what haematoxylin binds to."""
    plasma: Map
    """Density of what eosin binds to."""
    pigment: Map
    nuclear_hidden: Map
    """h of the structure that each pixel belongs to."""
    plasma_hidden: Map

    def _transmitted(self, nuclear: NDArray[np.floating], plasma: NDArray[np.floating]) -> NDArray[np.float64]:
        depth = nuclear[..., None] * _HAEMATOXYLIN + plasma[..., None] * _EOSIN + self.pigment[..., None] * _PIGMENT
        return np.exp(-depth)

    def colours(self) -> Map:
        """Red, green and blue, float32 [height, width, 3], 1 where nothing absorbs: what a microscope sees once it is stained."""
        uptakes = (
            m * np.exp(HIDDEN * h - HIDDEN**2 / 2)
            for m, h in ((self.nuclear, self.nuclear_hidden), (self.plasma, self.plasma_hidden))
        )
        return self._transmitted(*uptakes).astype(np.float32)

    def known(self) -> tuple[Map, Map]:
        """(mean, standard deviation) of the colours of all sections that look like this one, float32 [height, width, 3].

        The densities told, each structure apart: nothing that is made of phase and absorption errs less. By Gauss and Hermite.
        """
        moments = []
        for power in (1, 2):
            whole = np.exp(-power * self.pigment[..., None] * _PIGMENT)
            for dye, extinction in ((self.nuclear, _HAEMATOXYLIN), (self.plasma, _EOSIN)):
                part = np.zeros((*dye.shape, 3))
                for node, weight in zip(_NODES, _WEIGHTS / _WEIGHTS.sum(), strict=True):
                    part += weight * np.exp(-power * np.exp(HIDDEN * node - HIDDEN**2 / 2) * dye[..., None] * extinction)
                whole = whole * part
            moments.append(whole)
        mean, squared = moments
        return mean.astype(np.float32), np.sqrt(np.maximum(squared - mean**2, 0)).astype(np.float32)

    def measured(self, rng: np.random.Generator, noise: float, blur_px: float) -> Map:
        """What three LEDs tell before it is stained, float32 [height, width, 6]: phases in rad, then absorptions (natural).

        Red, green, blue. `noise` in rad and in absorption; `blur_px` standard deviation of the optics.
        """
        path = 0.5 * self.plasma + 0.9 * self.nuclear
        planes = [path * 0.53 / led for led in _LEDS_UM]
        planes += [self.pigment * extinction + 0.02 * path for extinction in _PIGMENT]
        out = np.empty((*path.shape, 6), np.float32)
        for k, plane in enumerate(planes):
            left = scipy.ndimage.zoom(rng.normal(0, noise, (4, 4)), np.array(path.shape) / 4, order=1)
            out[..., k] = (
                np.asarray(scipy.ndimage.gaussian_filter(plane, blur_px)) + np.asarray(left) + rng.normal(0, noise, path.shape)
            )
        return out
