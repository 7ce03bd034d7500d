"""An off-axis frame to its field, unwrapped phase and how far to trust them, in one call.

offaxis.py has the steps; here they are put in order, with an optional hologram without the object divided out (which
takes every aberration of the optics with it) and an optional step of propagation into focus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import offaxis
from device.optics.propagation import propagate
from device.optics.unwrapping import Unwrapping, residue_density, unwrap_field
from device.optics.windowed_fourier import noise_amplitude

__all__ = ["Focus", "OffAxisQuality", "OffAxisReconstruction", "reconstruct_offaxis"]

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Focus:
    """How far, and on what grid, a field is carried into focus."""

    distance_um: float
    """Along +z, object towards sensor; negative goes back towards an object in front of the recorded plane."""
    wavelength_um: float
    """In the medium."""
    pitch_um: float
    """Of a pixel at the object."""


@dataclass(frozen=True)
class OffAxisQuality:
    """What tells a good reconstruction from a bad one; no figure needs a truth."""

    prominence: float
    """Of the carrier: peak amplitude over the median one of its ring. Under 10 is refused, under 50 is doubtful."""
    visibility: float
    """Contrast of the fringes, 0 to 1: twice the order's amplitude over the frame's mean."""
    residue_density: float
    """Phase singularities per pixel, 0 to 1: where unwrapping depends on its path. Over 1e-3 the recorded phase has torn
    lines."""
    phase_noise_rad: float
    """Root mean square phase noise of a pixel of `phase_rad`, from second differences: white part only, a robust estimate."""
    undetermined: float
    """Share of the pixels whose phase isn't told, 0 to 1; 0 where nobody asked (`Unwrapped.determined`)."""
    clipped: float
    """Share of the frame's pixels at its highest value, 0 to 1: a saturated sensor bends the phase."""


@dataclass(frozen=True)
class OffAxisReconstruction:
    """One frame's answer."""

    field: Complex
    """complex64 [height, width], tilt and aberrations off, median amplitude 1, background phase 0."""
    phase_rad: NDArray[np.float32]
    """float32 [height, width], unwrapped."""
    determined: NDArray[np.bool_]
    """bool [height, width]: where that phase is to be believed (`Unwrapped.determined`)."""
    unwrapping: Unwrapping
    """How it was unwrapped."""
    delaying: float
    """Of what stands out of the background's phase, the share that delays, 0.5 to 1 by the choice of the order; NaN: not asked,
    for the frame is out of focus. Under 0.6 the sign is a guess."""
    carrier: offaxis.Carrier
    quality: OffAxisQuality


def reconstruct_offaxis(
    frame: NDArray[np.generic],
    background: NDArray[np.generic] | None = None,
    *,
    conjugate: bool = False,
    order: int | None = None,
    focus: Focus | None = None,
    unwrapping: Unwrapping | Literal["auto"] = "auto",
    denoise: Callable[[Complex], Complex] | None = None,
) -> OffAxisReconstruction:
    """Field and unwrapped phase of an off-axis hologram.

    Parameters: `frame` and `background` (a hologram without the object) real [height, width], of any number type;
    `conjugate` takes the other order, phase of opposite sign: both orders hold the same, and the one is taken in which most of
    what stands out delays the light, as what is denser than its surroundings does (with `focus`, the one whose carrier points
    down); `order` of the aberrations taken off, None decides between tilt and curvature (`offaxis.flatten`); `focus` carries
    the field into focus; `unwrapping` as `unwrap_field` takes it; `denoise` what takes coherent noise off the field before that.
    Raises InputError where there is no carrier or the background doesn't fit, CheckError without scikit-image.
    """
    pixels = np.asarray(frame, np.float64)
    out_of_focus = focus is not None and focus.distance_um != 0
    carrier = offaxis.find_carrier(pixels, conjugate=conjugate and out_of_focus)
    field = raw = offaxis.demodulate(pixels, carrier)
    if background is not None:
        field = _divided(raw, np.asarray(background, np.float64), carrier)
    field = offaxis.flatten(field, order=order)
    if focus is not None and out_of_focus:
        field = propagate(field, pitch_um=focus.pitch_um, wavelength_um=focus.wavelength_um, distance_um=focus.distance_um)
        field = offaxis.flatten(field, order=1)
    field /= np.complex64(max(float(np.median(np.abs(field))), 1e-30))
    if denoise is not None:
        field = denoise(np.asarray(field, np.complex64))
    unwrapped = unwrap_field(field, unwrapping, noise=_white_noise(field, carrier))
    phase_rad, torn = unwrapped.phase_rad, residue_density(np.angle(field))
    delaying = float("nan")
    if not out_of_focus:
        delaying = _delaying(phase_rad)
        if (delaying < 0.5) != conjugate:
            field, phase_rad = np.conj(field), -phase_rad
            carrier = replace(carrier, rows=-carrier.rows, columns=-carrier.columns)
        delaying = max(delaying, 1 - delaying)
    quality = OffAxisQuality(
        prominence=carrier.prominence,
        visibility=float(min(2 * np.median(np.abs(raw)) / max(abs(float(pixels.mean())), 1e-30), 1.0)),
        residue_density=torn,
        phase_noise_rad=_pixel_noise(phase_rad),
        undetermined=float(np.mean(~unwrapped.determined)),
        clipped=float(np.mean(pixels == pixels.max())),
    )
    return OffAxisReconstruction(
        np.asarray(field, np.complex64), phase_rad, unwrapped.determined, unwrapped.method, delaying, carrier, quality
    )


def _delaying(phase_rad: NDArray[np.floating]) -> float:
    """Share of the phase that stands out above the background, of what stands out on either side; 0.5 where nothing does."""
    away = phase_rad - np.median(phase_rad)
    most = 1.5 * offaxis.background_spread_rad(phase_rad)
    above, below = (float(np.square(np.maximum(side * away - most, 0)).sum()) for side in (1, -1))
    return above / (above + below) if above + below > 0 else 0.5


def _divided(field: Complex, background: NDArray[np.float64], carrier: offaxis.Carrier) -> Complex:
    """The field over the background's, at the object's carrier; where the background is dark the field counts as it is."""
    if background.shape != field.shape:
        raise InputError("the background is of another shape", expected=field.shape, got=background.shape)
    reference = offaxis.demodulate(background, carrier)
    amplitude = np.abs(reference)
    usual = float(np.median(amplitude))
    if usual <= 0:
        raise InputError("the background holds no fringes at the hologram's carrier", where="off-axis background")
    # A division by nearly nothing would make the brightest pixels out of the darkest.
    return np.asarray(field * np.conj(reference) / np.maximum(amplitude, 0.05 * usual) ** 2, np.complex64)


def _white_noise(field: Complex, carrier: offaxis.Carrier) -> float:
    """Noise of a pixel if it filled the whole spectrum as it fills the order's disc, complex root mean square."""
    grain = max(1, round(0.5 / carrier.radius))
    return noise_amplitude(field[::grain, ::grain]) / np.sqrt(np.pi) / carrier.radius


def _pixel_noise(phase_rad: NDArray[np.floating]) -> float:
    """Noise of one pixel by the median of mixed second differences, every fourth pixel apart, past the filter's grain."""
    grain = 4
    y, x = (n // grain * grain for n in phase_rad.shape)
    coarse = phase_rad[:y:grain, :x:grain]
    mixed = np.diff(np.diff(coarse, axis=0), axis=1)
    return float(1.4826 * np.median(np.abs(mixed)) / 2)
