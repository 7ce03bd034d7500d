"""Particles on grids of their own, large enough for their fringes: how refinement holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.analysis.segment import Segment
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.coherence import pixel_visibility, visibility
from device.optics.geometry import Geometry
from device.optics.propagation import even_transfer_function, fringe_reach_px, multiply

__all__ = [
    "Patch",
    "RefineSettings",
    "box_overlap",
    "fringe_visibility",
    "make_patch",
    "missing_wave",
    "overlap",
    "to_sensor",
    "together",
    "transfer_function",
]

_TIGHT = 0.05
"""Of a body's inscribed radius, by which its outline is too tight: where a sphere thins out, nothing stands out of the blur. Spheres
of 12 to 40 pixels have outlines of 0.93 to 0.97 of their diameter; a pixel of that at 38 reads as 1.5 depths of field too far."""

_PATCHES_BYTES = 12 * 2**20
"""Of the ways to the sensor: of sixteen particles. In a frame of more they are made anew each time."""
_SIDES_BYTES = 4 * 2**20
"""Of what depends on a patch's side alone: ten sides."""

Box = tuple[slice, slice]
Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


@dataclass(frozen=True)
class RefineSettings:
    """How much physics."""

    iterations: int = 8
    """Of all particles together; 0: the field is only carried to the sensor and compared. After a second look a quarter of them
    does, for every particle has been improved by itself while its depth was sought."""
    momentum: float = 0.7
    support_margin_px: int = 1
    """By which a particle's mask is grown: the network's outlines are a little tight. Depth is known by how well the light
    fits into the outline: a wide one doesn't tell."""
    brightest: float = 1.5
    """Largest amplitude: a grain is a lens, and focuses light into and beside itself up to half as much again."""
    most_reach_px: int = 192
    """Fringes farther from a particle than this are left out; they are the finest and the faintest."""
    depth_steps: int = 3
    """Depths tried to either side of each given one, half way through the iterations; 0: depths are believed."""
    depth_step: float = 3.4
    """Between two of them, as a defocus number; 3.4 is 5 um at 850 nm and 1.12 um."""
    depth_iterations: int = 2
    """Of one particle at each depth tried."""


@dataclass
class Patch:
    """One particle on a square grid that holds its fringes; what is zero but in the box around it is held as the box."""

    top: int
    left: int
    side: int
    """Of the grid."""
    box: Box
    """Of the grid: around the support."""
    support: NDArray[np.bool_]
    """Within the box."""
    outline: NDArray[np.bool_]
    """The same without the margin: where the particle is, as far as is known."""
    depth_um: float
    geometry: Geometry
    scattered: Complex
    """U - 1, within the box."""
    ahead: Complex
    """The same with momentum."""
    given: Complex
    """U - 1 before the first iteration."""
    misfit: float = 0.0
    """Least sum of squared residuals over depth."""
    bend: float = 0.0
    """Its second derivative over depth, per square micrometre; 0 where no depth was best."""
    pixels: int = 0
    """That the misfit is summed over."""
    stepped: Complex | None = None
    """The way to the sensor from a depth that is only tried; None: `to_sensor` of the depth."""

    @property
    def transfer(self) -> Complex:
        """The way to the sensor, for `multiply`."""
        return to_sensor(self.side, self.depth_um, self.geometry) if self.stepped is None else self.stepped

    def spectrum(self, values: Complex) -> Complex:
        """Of values in the box, complex64 [side, side]."""
        return fft.fft2_of_box(values, self.box, (self.side, self.side))

    def carried(self) -> Complex:
        """Its scattered wave at the sensor, complex64 [side, side]."""
        return self.at_sensor(self.spectrum(self.ahead))

    def at_sensor(self, spectrum: Complex) -> Complex:
        """The wave at the sensor of a spectrum, whose memory is used; complex64 [side, side]."""
        multiply(spectrum, self.transfer)
        return fft.ifft2(spectrum, overwrite_x=True)

    def improve(self, seen: Complex, settings: RefineSettings, weight: Real | None = None) -> None:
        """One step towards the difference `seen` at the sensor, on the patch's own grid; `weight` of every frequency, for `multiply`."""
        spectrum = fft.fft2(seen, overwrite_x=True)
        multiply(spectrum, self.transfer, conjugated=True)
        if weight is not None:
            multiply(spectrum, weight)
        back = fft.ifft2_box(spectrum, self.box, overwrite_x=True)
        field = 1 + self.ahead + back
        field /= np.maximum(np.abs(field) / np.float32(settings.brightest), np.float32(1))
        now = np.where(self.support, field - 1, np.complex64(0))
        self.ahead = now + np.float32(settings.momentum) * (now - self.scattered)
        self.scattered = now


def make_patch(field: Complex, part: Segment, depth_um: float, geometry: Geometry, settings: RefineSettings) -> Patch:
    """One particle of an object field complex64 [height, width], at its depth in the equivalent plane-wave recording."""
    pitch_um, wavelength_um = geometry.object_pitch_um, geometry.wavelength_medium_um
    tight = round(_TIGHT * float(cv2.distanceTransform(np.pad(part.mask.astype(np.uint8), 1), cv2.DIST_L2, 3).max()))
    margin = settings.support_margin_px + tight
    reach = min(fringe_reach_px(pitch_um, wavelength_um, depth_um), settings.most_reach_px)
    height, width = part.mask.shape
    side = fft.next_fast_len(max(height, width) + 2 * (reach + margin))
    top, left = part.y_px + height // 2 - side // 2, part.x_px + width // 2 - side // 2
    outline = _dilated(np.pad(part.mask.astype(np.uint8), margin), tight)
    grown = _dilated(outline, settings.support_margin_px).astype(bool)
    y, x = part.y_px - margin - top, part.x_px - margin - left
    box = (slice(y, y + grown.shape[0]), slice(x, x + grown.shape[1]))
    empty = np.zeros(grown.shape, np.complex64)
    patch = Patch(top, left, side, box, grown, outline.astype(bool), depth_um, geometry, empty, empty, empty)
    there, here = box_overlap(field.shape, patch)
    patch.scattered[here] = np.where(grown[here], field[there] - 1, 0)
    patch.ahead = patch.given = patch.scattered
    return patch


def _dilated(mask: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    size = 2 * pixels + 1
    return np.asarray(cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))), np.uint8)


def overlap(shape: tuple[int, ...], patch: Patch) -> tuple[Box, Box]:
    """Where a patch meets the frame: slices of the frame and of the patch."""
    return _meeting(shape, patch.top, patch.left, (patch.side, patch.side))


def box_overlap(shape: tuple[int, ...], patch: Patch) -> tuple[Box, Box]:
    """Where a patch's box meets the frame: slices of the frame and of the box."""
    return _meeting(shape, patch.top + patch.box[0].start, patch.left + patch.box[1].start, patch.support.shape)


def _meeting(shape: tuple[int, ...], top: int, left: int, size: tuple[int, ...]) -> tuple[Box, Box]:
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + size[0], shape[0]), min(left + size[1], shape[1])
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def together(shape: tuple[int, ...], patches: Iterable[Patch]) -> Complex:
    """The wave at the sensor, complex64 [height, width]."""
    wave = np.ones(shape, np.complex64)
    for patch in patches:
        there, here = overlap(shape, patch)
        wave[there] += patch.carried()[here]
    return wave


def missing_wave(amplitude: Real, wave: Complex) -> Complex:
    """What the wave lacks to have the measured amplitude."""
    modulus = np.maximum(np.abs(wave), np.float32(1e-6))
    return wave * ((amplitude - modulus) / modulus)


def transfer_function(side: int, depth_um: float, geometry: Geometry) -> Complex:
    """Of free space over a distance, on a patch's grid: complex64 [side // 2 + 1, side], for `multiply`."""
    return even_transfer_function((side, side), geometry.object_pitch_um, geometry.wavelength_medium_um, depth_um)


@byte_bounded_cache(_PATCHES_BYTES)
def to_sensor(side: int, depth_um: float, geometry: Geometry) -> Complex:
    """The way to the sensor, with what the instrument does to the fringes, for `multiply`: complex64, half of its rows where it is even."""
    transfer, response = transfer_function(side, depth_um, geometry), _response(side, geometry)
    if geometry.pupil is None:
        return transfer * response
    whole = np.array(response, np.complex64)
    multiply(whole, transfer)
    return whole


@byte_bounded_cache(_SIDES_BYTES)
def _response(side: int, geometry: Geometry) -> Complex | Real:
    """Of lamp, pixels and aberrations, in FFT order; as at the geometry's distance, near enough for all depths.

    Rows 0 to Nyquist where it is even, all where aberrations make it odd.
    """
    if geometry.pupil is None:
        return fringe_visibility(side, geometry)[: side // 2 + 1].copy()
    return fringe_visibility(side, geometry) * geometry.pupil.transfer((side, side), geometry.object_pitch_um)


def fringe_visibility(side: int, geometry: Geometry) -> Real:
    """What lamp and pixels leave of every frequency, float32 [side, side] in FFT order."""
    shape = (side, side)
    bandwidth_um = geometry.coherence.bandwidth_um / geometry.medium_index if geometry.coherence else 0.0
    seen = visibility(
        shape, geometry.object_pitch_um, geometry.wavelength_medium_um, geometry.propagation_um,
        bandwidth_um=bandwidth_um, blur_um=geometry.source_blur_um,
    )  # fmt: skip
    seen *= pixel_visibility(shape)
    return seen
