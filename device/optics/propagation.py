"""Propagation of scalar fields between parallel planes by the band-limited angular spectrum.

Source: K. Matsushima and T. Shimobaba, Opt. Express 17, 19662 (2009), doi:10.1364/OE.17.019662.
Sign: exp(+i 2 pi z sqrt(1/lambda^2 - f^2)), so +z carries a field from the object plane towards the sensor.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.byte_cache import byte_bounded_cache
from device.optics.geometry import Geometry
from device.optics.photon_noise import amplitude_from_counts, band_above_noise
from device.optics.pupil import Pupil

__all__ = [
    "apply_transfer",
    "asm_transfer_function",
    "backpropagate",
    "choose_method",
    "compute_transfer_function",
    "even_transfer_function",
    "fringe_reach_px",
    "multiply",
    "pad_to",
    "propagate",
]

Complex = NDArray[np.complex64]
Border = Literal["mirror", "taper", "zero"]
Method = Literal["angular spectrum", "fresnel"]

_LEAST_BAND = 0.25  # cycles per pixel; what lies beyond half a frame away of finer detail leaves the frame anyway


_KEPT_BYTES = 32 * 2**20
"""A frame of one megapixel, padded, has 9 MB by half of its rows."""


@byte_bounded_cache(_KEPT_BYTES)
def asm_transfer_function(
    shape: tuple[int, int], pitch_um: float, wavelength_um: float, distance_um: float, band_limited: bool = True
) -> Complex:
    """The transfer function of `compute_transfer_function`, kept for geometries that come again, read-only."""
    return compute_transfer_function(shape, pitch_um, wavelength_um, distance_um, band_limited=band_limited)


@byte_bounded_cache(_KEPT_BYTES)
def _kept_even_transfer(shape: tuple[int, int], pitch_um: float, wavelength_um: float, distance_um: float) -> Complex:
    return even_transfer_function(shape, pitch_um, wavelength_um, distance_um)


def compute_transfer_function(
    shape: tuple[int, int], pitch_um: float, wavelength_um: float, distance_um: float, *, band_limited: bool = True
) -> Complex:
    """Angular-spectrum transfer function, for a distance that is tried once.

    Parameters: `shape` (height, width) in pixels; lengths in micrometres, `wavelength_um` in the medium.
    Returns complex64 [height, width] in FFT order; evanescent waves are zero. With `band_limited`
    frequencies whose fringes the grid can't sample at this distance are zero (Matsushima and Shimobaba, eqs. 13, 20).
    """
    transfer = np.empty(shape, np.complex64)
    _mirrored(even_transfer_function(shape, pitch_um, wavelength_um, distance_um, band_limited=band_limited), transfer, 0)
    return transfer


def even_transfer_function(
    shape: tuple[int, int], pitch_um: float, wavelength_um: float, distance_um: float, *, band_limited: bool = True
) -> Complex:
    """`compute_transfer_function` by its rows 0 to Nyquist, complex64 [height // 2 + 1, width]: the others mirror them."""
    height, width = shape
    # The function is even along both axes: one quadrant is computed, the others are read off it.
    fy = np.arange(height // 2 + 1)[:, None] / (height * pitch_um)
    fx = np.arange(width // 2 + 1)[None, :] / (width * pitch_um)
    squared = 1.0 / wavelength_um**2 - fx**2 - fy**2
    # The constant carrier exp(ikz) is left out: it would only cost digits in float32.
    phase = 2 * np.pi * distance_um * (np.sqrt(np.maximum(squared, 0.0)) - 1.0 / wavelength_um)
    phase = np.remainder(phase, 2 * np.pi).astype(np.float32)
    quadrant = np.empty(phase.shape, np.complex64)
    np.cos(phase, out=quadrant.real)
    np.sin(phase, out=quadrant.imag)
    quadrant[squared < 0] = 0
    if band_limited and distance_um != 0:
        limit_y = 1.0 / (wavelength_um * np.hypot(2.0 * abs(distance_um) / (height * pitch_um), 1.0))
        limit_x = 1.0 / (wavelength_um * np.hypot(2.0 * abs(distance_um) / (width * pitch_um), 1.0))
        quadrant[fy.ravel() > limit_y] = 0
        quadrant[np.broadcast_to(fx > limit_x, quadrant.shape)] = 0
    half = np.empty((height // 2 + 1, width), np.complex64)
    _mirrored(quadrant, half, 1)
    return half


def multiply(spectrum: Complex, transfer: Complex | NDArray[np.float32], *, conjugated: bool = False) -> None:
    """Multiply a spectrum [height, width] in FFT order by a transfer function, or its conjugate, in place.

    `transfer` has all rows, or where it is even over both axes its rows 0 to Nyquist: half the memory, the same product.
    """
    kept = len(transfer)
    parts = (spectrum[:kept], transfer), (spectrum[kept:], transfer[len(spectrum) - kept : 0 : -1])
    for rows, factor in parts:
        # Processors that fuse multiplying and adding tell the operands apart in the last digit.
        if conjugated:
            np.multiply(np.conj(factor), rows, out=rows)
        else:
            np.multiply(rows, factor, out=rows)


def _mirrored(part: Complex, whole: Complex, axis: int) -> None:
    """Fill an axis in FFT order from its frequencies 0 to Nyquist."""
    source, target = np.moveaxis(part, axis, 0), np.moveaxis(whole, axis, 0)
    count, kept = target.shape[0], source.shape[0]
    target[:kept] = source
    target[kept:] = source[count - kept : 0 : -1]


def fringe_reach_px(pitch_um: float, wavelength_um: float, distance_um: float) -> int:
    """How far, in pixels, the finest fringe the pixels can sample lies from its particle."""
    sine = min(wavelength_um / (2 * pitch_um), 0.95)
    return int(np.ceil(abs(distance_um) * sine / np.sqrt(1 - sine**2) / pitch_um))


def pad_to(length: int, margin: int) -> int:
    """The next length, at least `length + 2 * margin`, that the FFT likes."""
    fast: Any = fft.next_fast_len(length + 2 * margin)
    return int(fast)


def apply_transfer(field: Complex | NDArray[np.float32], transfer: Complex, *, overwrite: bool = False) -> Complex:
    """Multiply a field's spectrum by a transfer function, as `multiply` does; periodic, complex64 [height, width].

    A real field costs half the forward transform. `overwrite` lets the field's memory be used.
    """
    spectrum: Complex = np.asarray(fft.fft2(field, overwrite_x=overwrite), np.complex64)
    multiply(spectrum, transfer)
    return np.asarray(fft.ifft2(spectrum, overwrite_x=True), np.complex64)


def propagate(
    field: NDArray[np.generic],
    *,
    pitch_um: float,
    wavelength_um: float,
    distance_um: float,
    margin_px: int | None = None,
    border: Border = "mirror",
    pupil: Pupil | None = None,
) -> Complex:
    """Carry a field over `distance_um` (negative: back towards the object).

    Parameters: `field` complex or real [height, width]; `wavelength_um` in the medium; `margin_px` of border on each side
    so that what leaves one edge doesn't come in at the other: None takes the reach of the fringes, at most half the field;
    0 is periodic. `border` says what stands there: 'mirror' (a hologram goes on much as it is), 'taper' (mirrored, fading
    into the field's mean: apodised), 'zero' (an object that ends inside its frame). Light from outside the frame is unknown
    whatever stands there: `fringe_reach_px` from the border and closer, trust no fine detail. `pupil`: aberrations on the way,
    put on where the distance is positive and taken off where it is negative.
    Returns complex64 [height, width]. Raises InputError where the field isn't two-dimensional.
    """
    if field.ndim != 2:
        raise InputError("a field must be two-dimensional", expected="[height, width]", got=f"shape {field.shape}")
    height, width = field.shape
    if distance_um == 0:
        return field.astype(np.complex64)
    reach = fringe_reach_px(pitch_um, wavelength_um, distance_um) if margin_px is None else margin_px
    margin_y, margin_x = (min(reach, n // 2) for n in (height, width))
    shape = (height, width) if reach == 0 else (pad_to(height, margin_y), pad_to(width, margin_x))
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    edges = ((top, shape[0] - height - top), (left, shape[1] - width - left))
    padded = _bordered(field, edges, border) if reach else field
    transfer = _kept_even_transfer(shape, float(pitch_um), float(wavelength_um), float(distance_um))
    single: Any = padded.astype(np.complex64 if np.iscomplexobj(padded) else np.float32, copy=False)
    if pupil is not None:
        aberration = pupil.transfer(shape, float(pitch_um))
        whole = np.array(aberration if distance_um > 0 else np.conj(aberration))
        multiply(whole, transfer)
        transfer = whole
    result = apply_transfer(single, transfer)
    return np.ascontiguousarray(result[top : top + height, left : left + width])


def _bordered(
    field: NDArray[np.generic], edges: tuple[tuple[int, int], tuple[int, int]], border: Border
) -> NDArray[np.generic]:
    if border == "zero":
        return np.pad(field, edges)
    padded = np.pad(field, edges, mode="symmetric")
    if border == "taper":
        fade = np.ones(padded.shape, np.float32)
        for axis, (before, after) in enumerate(edges):
            ramp = np.ones(padded.shape[axis], np.float32)
            ramp[:before] = np.sin(np.linspace(0, np.pi / 2, before, endpoint=False)) ** 2
            ramp[len(ramp) - after :] = np.sin(np.linspace(np.pi / 2, 0, after)) ** 2
            fade *= ramp[:, None] if axis == 0 else ramp[None, :]
        mean = field.mean()
        padded = mean + (padded - mean) * fade
    return padded


def choose_method(count: int, pitch_um: float, wavelength_um: float, distance_um: float) -> Method:
    """Which method is exact to a part in a thousand for a frame of `count` pixels (the longer side), padded by half each way.

    The band-limited angular spectrum, as `propagate` does it, as long as its grid samples the fringes that land in the
    frame; beyond, the single-transform Fresnel method (`device.optics.fresnel`), whose own condition begins before that.
    Domain: propagation_domain in the benchmarks prints the map.
    """
    padded = 2 * count
    limit = padded * pitch_um / (2 * max(abs(distance_um), 1e-9))
    band = 1.0 / (wavelength_um * np.hypot(1.0 / limit, 1.0)) * pitch_um  # cycles per pixel that the kernel samples
    return "angular spectrum" if band >= _LEAST_BAND else "fresnel"


def backpropagate(
    intensity: NDArray[np.floating], geometry: Geometry, distance_um: float | None = None, *, counted: float = 0.0
) -> Complex:
    """Refocus a normalised in-line hologram.

    Parameters: `intensity` float [height, width], mean 1 where nothing is; `distance_um` overrides the geometry's; `counted` the
    relative noise of a pixel of few photons, whose amplitude isn't the root of its count; frequencies that hold nothing but noise are
    left out then (device/optics/photon_noise.py).
    Returns the complex64 field [height, width] at the object plane, twin image included, the geometry's aberrations taken off.
    """
    at = geometry if distance_um is None else geometry.at(distance_um)
    amplitude = amplitude_from_counts(intensity.astype(np.float32, copy=False), counted)
    field = propagate(
        amplitude,
        pitch_um=at.object_pitch_um,
        wavelength_um=at.wavelength_medium_um,
        distance_um=-at.propagation_um,
        pupil=at.pupil,
    )
    return band_above_noise(field, counted) if counted else field
