"""Fresnel propagation by one transform, and onto a grid of one's own choosing.

`fresnel_transform`  one FFT; the output pitch is wavelength * distance / (length of the input): for far planes, where the
                     fringes of the angular spectrum's kernel would outrun any grid (Goodman, Introduction to Fourier
                     Optics (2017), section 5.5)
`scaled_propagate`   band-limited angular spectrum onto a finer or coarser pitch, by the chirp-z transform in two FFT passes
                     per axis (Shimobaba et al., Opt. Lett. 37, 4128 (2012), doi:10.1364/OL.37.004128)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft
from device.optics.propagation import compute_transfer_function

__all__ = ["fresnel_pitch_um", "fresnel_transform", "scaled_propagate"]

Complex = NDArray[np.complex64]


def fresnel_pitch_um(count: int, pitch_um: float, wavelength_um: float, distance_um: float) -> float:
    """Output pitch of `fresnel_transform` along an axis of `count` pixels."""
    return wavelength_um * abs(distance_um) / (count * pitch_um)


def fresnel_transform(
    field: NDArray[np.generic], *, pitch_um: float, wavelength_um: float, distance_um: float
) -> tuple[Complex, tuple[float, float]]:
    """Carry a field over a long distance (negative: back); returns it and its pitch along rows and columns.

    Parameters: `field` [height, width]; `wavelength_um` in the medium. Paraxial; sampled well where the distance is at
    least pitch^2 * count / wavelength, and InputError where it isn't.
    """
    if field.ndim != 2:
        raise InputError("a field must be two-dimensional", expected="[height, width]", got=f"shape {field.shape}")
    least_um = pitch_um**2 * max(field.shape) / wavelength_um
    if abs(distance_um) < 0.999 * least_um:
        raise InputError(
            "too near for the single-transform Fresnel method", expected=f"{least_um:.4g} um or more", got=f"{abs(distance_um):.4g} um",
            remedy="Use the angular spectrum (propagate).",
        )  # fmt: skip
    height, width = field.shape
    y, x = (_centred(n) * pitch_um for n in (height, width))
    chirp = np.exp(1j * np.pi / (wavelength_um * distance_um) * (y[:, None] ** 2 + x[None, :] ** 2))
    spectrum = fft.fft2(np.fft.ifftshift((field * chirp).astype(np.complex64)))
    if distance_um < 0:
        # A negative distance turns the kernel round: the output axis runs the other way.
        spectrum = np.roll(spectrum[::-1, ::-1], (1, 1), (0, 1))
    pitches = tuple(fresnel_pitch_um(n, pitch_um, wavelength_um, distance_um) for n in (height, width))
    v, u = _centred(height) * pitches[0], _centred(width) * pitches[1]
    outer = np.exp(1j * np.pi / (wavelength_um * distance_um) * (v[:, None] ** 2 + u[None, :] ** 2))
    scale = pitch_um**2 / (1j * wavelength_um * distance_um)
    return (np.fft.fftshift(spectrum) * outer * scale).astype(np.complex64), (pitches[0], pitches[1])


def scaled_propagate(
    field: NDArray[np.generic], *, pitch_um: float, wavelength_um: float, distance_um: float, out_pitch_um: float,
    out_shape: tuple[int, int] | None = None,
) -> Complex:  # fmt: skip
    """Carry a field onto a grid of another pitch, centred on the same axis; complex64 `out_shape` (None: as the input).

    The field is zero outside its grid. InputError for a pitch that isn't positive.
    """
    if field.ndim != 2 or not out_pitch_um > 0:
        raise InputError(
            "nothing to carry", expected="[height, width] and a pitch above 0", got=f"{field.shape}, {out_pitch_um:g} um"
        )
    height, width = field.shape
    out_height, out_width = out_shape or field.shape
    reach = [
        max(out, round(n * pitch_um / out_pitch_um)) * out_pitch_um / pitch_um
        for out, n in ((out_height, height), (out_width, width))
    ]
    rows, columns = (fft.next_fast_len(int(n + r)) for n, r in zip((height, width), reach, strict=True))
    transfer = compute_transfer_function((rows, columns), pitch_um, wavelength_um, distance_um)
    padded: Any = np.zeros((rows, columns), np.complex64)
    padded[:height, :width] = field
    spectrum = np.fft.fftshift(fft.fft2(padded) * transfer)
    along_y = _resampled(spectrum, 0, (height - 1) / 2, out_height, out_pitch_um / pitch_um)
    return _resampled(along_y, 1, (width - 1) / 2, out_width, out_pitch_um / pitch_um).astype(np.complex64)


def _centred(count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) - count // 2


def _resampled(
    spectrum: NDArray[np.complexfloating], axis: int, middle: float, count: int, step: float
) -> NDArray[np.complexfloating]:
    """Inverse transform along one axis at `count` points `step` apart around `middle`; the spectrum's zero is in its middle."""
    n = spectrum.shape[axis]
    first = middle - step * (count - 1) / 2
    transform: Any = scipy.signal.CZT(n, count, np.exp(2j * np.pi * step / n), np.exp(-2j * np.pi * first / n))
    values = np.asarray(transform(spectrum, axis=axis)) / n
    points = first + step * np.arange(count)
    shape = [1, 1]
    shape[axis] = count
    return values * np.exp(-2j * np.pi * (n // 2) / n * points).reshape(shape)
