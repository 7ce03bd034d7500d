"""Lensless off-axis holograms of objects far away: the image by one Fourier transform.

At a metre the field an object sends to a sensor is far wider than the sensor, so the angular spectrum on the sensor's
own grid can't hold it. The Fresnel transform can: its pixel at the object is wavelength * distance / (pixels * pitch)
(Schnars and Jueptner, Appl. Opt. 33, 179 (1994), doi:10.1364/AO.33.000179; Meas. Sci. Technol. 13, R85 (2002),
doi:10.1088/0957-0233/13/9/201). The reference's tilt sets the image off the axis, opposite its conjugate, with the
intensities between; both are in the answer, the one that is sharp at +distance is the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics import fft

__all__ = ["FresnelImage", "fresnel_image", "sharpest_distance_um"]

_LOCAL_MEAN_PX = 8.0
_GRAINS_PX = 3.0  # a grain of speckle is one pixel of the transform


@dataclass(frozen=True)
class FresnelImage:
    """The plane of a far object."""

    field: NDArray[np.complex64]
    """complex64 [height, width], optical axis at the middle pixel."""
    pitch_um: tuple[float, float]
    """Of its rows and columns."""


def fresnel_image(frame: NDArray[np.generic], *, wavelength_um: float, pitch_um: float, distance_um: float) -> FresnelImage:
    """The object's plane at a distance, by the single-transform Fresnel integral.

    Parameters: `frame` real [height, width]; `wavelength_um` in the medium, `pitch_um` of the sensor, `distance_um` from
    object to sensor. The frame's slow part, the intensity of either beam alone, is taken off first.
    Raises InputError where the frame isn't two-dimensional or the chirp can't be sampled: the distance must be at least
    pixels * pitch**2 / wavelength (nearer than that use `propagation.propagate`).
    """
    pixels = np.asarray(frame, np.float32)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise InputError("not a hologram", expected="finite [height, width]", got=f"shape {pixels.shape}")
    nearest_um = max(pixels.shape) * pitch_um**2 / wavelength_um
    if distance_um < nearest_um:
        raise InputError("too near for one Fresnel transform", expected=f"{nearest_um:.4g} um or more",
                         got=f"{distance_um:.4g} um", remedy="Use the angular spectrum.")  # fmt: skip
    slow = cv2.GaussianBlur(pixels, (0, 0), _LOCAL_MEAN_PX, borderType=cv2.BORDER_REFLECT)
    y, x = ((np.arange(n) - n // 2) * pitch_um for n in pixels.shape)
    # Back from sensor to object: the conjugate of exp(+i pi r^2 / (lambda z)).
    rate = -1j * np.pi / (wavelength_um * distance_um)
    chirp = np.exp(rate * y**2)[:, None].astype(np.complex64) * np.exp(rate * x**2)[None, :].astype(np.complex64)
    # The kernel's exp(+2 pi i) makes it an inverse transform, centred on the axis.
    field = np.fft.fftshift(fft.ifft2(np.fft.ifftshift((pixels - slow) * chirp), norm="ortho"))
    height, width = pixels.shape
    scale = wavelength_um * distance_um / pitch_um
    return FresnelImage(np.asarray(field, np.complex64), (scale / height, scale / width))


def sharpest_distance_um(
    frame: NDArray[np.generic], distances_um: NDArray[np.floating], *, wavelength_um: float, pitch_um: float
) -> float:
    """The one of several distances at which the image has the most contour.

    A rough object's picture is speckle at any distance, so the squared gradient is taken of the amplitude averaged over
    a few grains, relative to its mean square (a defocused picture and the conjugate have none to speak of).
    """
    scores = []
    for distance_um in distances_um:
        image = fresnel_image(frame, wavelength_um=wavelength_um, pitch_um=pitch_um, distance_um=float(distance_um))
        smooth = cv2.GaussianBlur(np.abs(image.field), (0, 0), _GRAINS_PX)
        down, right = np.gradient(smooth)
        scores.append(float(np.mean(down**2 + right**2) / np.mean(smooth**2)))
    return float(distances_um[int(np.argmax(scores))])
