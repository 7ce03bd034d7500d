"""A few iterations of physics on what one pass of the network found: depth and support are known, detail comes back.

The network says where particles are, how deep, and roughly what they look like; it smooths. From there every particle's
field is improved against the measured hologram, all together, for their fringes overlap: carry all of them to the sensor,
put the measured amplitude there, carry the difference back to each, keep it on the particle's support and no brighter than
the background (Fienup, Appl. Opt. 21, 2758 (1982), doi:10.1364/AO.21.002758; momentum as in Beck and Teboulle, SIAM J. Imaging
Sci. 2, 183 (2009), doi:10.1137/080716542). More than ten iterations fit noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.segment import Segment
from device.optics import fft
from device.optics.geometry import Geometry
from device.optics.propagation import compute_transfer_function, fringe_reach_px

__all__ = ["RefineSettings", "Refined", "refine"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


@dataclass(frozen=True)
class RefineSettings:
    """How much physics."""

    iterations: int = 4
    momentum: float = 0.7
    support_margin_px: int = 2
    """By which a particle's mask is grown: the network's outlines are a little tight."""
    most_reach_px: int = 128
    """Fringes farther from a particle than this are left out; they are the finest and the faintest."""


@dataclass(frozen=True)
class Refined:
    """All particles of a frame after refinement."""

    field: Complex
    """complex64 [height, width]: everything in focus at its own depth, 1 outside the supports."""
    supports: NDArray[np.bool_]
    """bool [height, width]: where particles were allowed to be."""
    residual: Real
    """float32 [height, width]: measured less explained amplitude at the sensor."""


@dataclass
class _Patch:
    """One particle on a square grid that holds its fringes."""

    top: int
    left: int
    support: NDArray[np.bool_]
    transfer: Complex
    scattered: Complex
    """U - 1."""
    ahead: Complex
    """The same with momentum."""


def refine(
    amplitude: Real, field: Complex, parts: Sequence[Segment], depths_um: Sequence[float], geometry: Geometry,
    settings: RefineSettings | None = None,
) -> Refined:  # fmt: skip
    """Improve the fields of all particles of a frame.

    Parameters: `amplitude` float32 [height, width] measured at the sensor, 1 where nothing is; `field` complex64
    [height, width] object field, each particle in focus; `parts` its particles, `depths_um` the distance of each from the
    sensor, of the equivalent plane-wave recording.
    """
    chosen = settings or RefineSettings()
    patches = [_patch(field, part, depth, geometry, chosen) for part, depth in zip(parts, depths_um, strict=True)]
    residual = amplitude - 1
    for _ in range(chosen.iterations):
        wave = _together(amplitude.shape, patches)
        modulus = np.maximum(np.abs(wave), np.float32(1e-6))
        residual = amplitude - modulus
        difference = wave * (residual / modulus)
        for patch in patches:
            _improve(patch, difference, chosen.momentum)
    refined = np.ones(amplitude.shape, np.complex64)
    supports = np.zeros(amplitude.shape, np.bool_)
    for patch in patches:
        there, here = _overlap(amplitude.shape, patch)
        inside = patch.support[here]
        refined[there][inside] = 1 + patch.scattered[here][inside]
        supports[there] |= inside
    return Refined(refined, supports, np.asarray(residual, np.float32))


def _patch(field: Complex, part: Segment, depth_um: float, geometry: Geometry, settings: RefineSettings) -> _Patch:
    pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
    reach = min(fringe_reach_px(pitch_um, wavelength_um, depth_um), settings.most_reach_px)
    height, width = part.mask.shape
    side = fft.next_fast_len(max(height, width) + 2 * (reach + settings.support_margin_px))
    top, left = part.y_px + height // 2 - side // 2, part.x_px + width // 2 - side // 2
    support = np.zeros((side, side), np.uint8)
    y, x = part.y_px - top, part.x_px - left
    support[y : y + height, x : x + width] = part.mask
    size = 2 * settings.support_margin_px + 1
    grown = cv2.dilate(support, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))).astype(bool)
    patch = _Patch(
        top, left, grown, compute_transfer_function((side, side), pitch_um, wavelength_um, depth_um),
        np.zeros((side, side), np.complex64), np.zeros((side, side), np.complex64),
    )  # fmt: skip
    there, here = _overlap(field.shape, patch)
    patch.scattered[here] = np.where(grown[here], field[there] - 1, 0)
    patch.ahead = patch.scattered
    return patch


def _overlap(shape: tuple[int, ...], patch: _Patch) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a patch meets the frame: slices of the frame and of the patch."""
    side = patch.support.shape[0]
    y0, x0 = max(patch.top, 0), max(patch.left, 0)
    y1, x1 = min(patch.top + side, shape[0]), min(patch.left + side, shape[1])
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - patch.top, y1 - patch.top), slice(x0 - patch.left, x1 - patch.left))


def _together(shape: tuple[int, ...], patches: Sequence[_Patch]) -> Complex:
    """The wave at the sensor, complex64 [height, width]."""
    wave = np.ones(shape, np.complex64)
    for patch in patches:
        there, here = _overlap(shape, patch)
        carried = fft.ifft2(fft.fft2(patch.ahead) * patch.transfer, overwrite_x=True)
        wave[there] += carried[here]
    return wave


def _improve(patch: _Patch, difference: Complex, momentum: float) -> None:
    there, here = _overlap(difference.shape, patch)
    seen = np.zeros_like(patch.scattered)
    seen[here] = difference[there]
    back = fft.ifft2(fft.fft2(seen, overwrite_x=True) * np.conj(patch.transfer), overwrite_x=True)
    field = 1 + patch.ahead + back
    field /= np.maximum(np.abs(field), np.float32(1))
    now = np.where(patch.support, field - 1, np.complex64(0))
    patch.ahead = now + np.float32(momentum) * (now - patch.scattered)
    patch.scattered = now
