"""A second look at the depth found: what one pass smoothed away, put back from the hologram in a single step.

A pass that doesn't know a particle's depth leaves fine detail out: a quarter wave at 0.35 cycles a pixel takes the depth to two
defocus numbers. The hologram holds that detail. So carry what the pass found to the sensor, put the measured amplitude there,
carry what was missing back to the particle's depth, weigh it frequency by frequency, add it, and keep it on the particle's support.
Because the known part has been taken off, its twin image and its neighbours' fringes are off, too.

The weights are fitted to simulated particles by the workshop and come with the model (its manifest): they depend on how well the
network knows a frequency, and on how well lamp and pixels let it pass. Half of the wave, its phase, was not measured: where the
network knows nothing they are near two over the visibility, and less where that would be noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.analysis.patches import Patch, RefineSettings, fringe_visibility, missing_wave, overlap, together
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.geometry import Geometry

__all__ = ["RingGain", "knot_shares", "ring_weight", "second_look"]

Real = NDArray[np.float32]

_LEAST_VISIBILITY = 0.05
"""What is seen less well than this is not put back."""


@dataclass(frozen=True)
class RingGain:
    """Weights of what is missing, on a grid of frequencies and visibilities; linear between."""

    cycles_per_px: tuple[float, ...]
    """Knots, rising."""
    visibility: tuple[float, ...]
    """Knots, rising, 0 to 1."""
    gain: tuple[tuple[float, ...], ...]
    """A row for every frequency."""


@byte_bounded_cache(4 * 2**20)
def ring_weight(gain: RingGain, side: int, geometry: Geometry) -> Real:
    """What a patch's own way back, which holds the visibility, is multiplied by: float32 [side // 2 + 1, side], for `multiply`."""
    rows = slice(side // 2 + 1)
    seen = fringe_visibility(side, geometry)[rows]
    radius = np.hypot(fft.fftfreq(side)[rows, None], fft.fftfreq(side)[None, :])
    at_frequency, at_visibility = knot_shares(radius, gain.cycles_per_px), knot_shares(seen, gain.visibility)
    weight = np.einsum("fhw,fv,vhw->hw", at_frequency, np.array(gain.gain, np.float32), at_visibility, optimize=True)
    return np.where(seen >= _LEAST_VISIBILITY, weight / np.maximum(seen, _LEAST_VISIBILITY), 0).astype(np.float32)


def knot_shares(values: NDArray[np.floating], knots: Sequence[float]) -> Real:
    """Share of every knot in linear interpolation at the values; float32 [knots, *values.shape], their sum 1."""
    held = np.clip(values, knots[0], knots[-1])
    out = [np.interp(held, knots, [float(k == j) for j in range(len(knots))]) for k in range(len(knots))]
    return np.stack(out).astype(np.float32)


def second_look(
    amplitude: Real, patches: Sequence[Patch], gain: RingGain, geometry: Geometry, settings: RefineSettings
) -> None:
    """Give every particle of a frame, at its depth, what its field as the network gave it lacks.

    `amplitude` float32 [height, width] measured at the sensor, 1 where nothing is. Patches are changed in place: `scattered` and
    `ahead` become the field seen again.
    """
    for patch in patches:
        patch.scattered = patch.ahead = patch.given
    wave = together(amplitude.shape, patches)
    for patch in patches:
        there, here = overlap(amplitude.shape, patch)
        seen = np.zeros((patch.side, patch.side), np.complex64)
        seen[here] = missing_wave(amplitude[there], wave[there])
        patch.improve(seen, settings, ring_weight(gain, patch.side, geometry))
        patch.ahead = patch.scattered
