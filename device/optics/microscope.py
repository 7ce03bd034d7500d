"""What a brightfield microscope shows of a field in focus.

The condenser's pupil is a disc of incoherent points, each a plane wave from its own direction. What each makes of the object is focused
through the objective's pupil and squared; the picture is the mean over the points (Abbe's sum; J. W. Goodman, Statistical Optics, ch. 7).
No lens has aberrations here.

Waves are written without their own tilt: a wave of transverse frequency k is exp(2 pi i k r) times what the grid holds, so that
any direction fits any grid, and the pupil is taken at f + k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics import fft

__all__ = ["Microscope", "abbe_sum", "brightfield_image", "condenser_directions"]

Complex = NDArray[np.complex64]
Directions = NDArray[np.float64]

_GOLDEN_ANGLE_RAD = np.pi * (3 - np.sqrt(5))
_AT_ONCE_PX = 2**19
"""Pixels of all waves that are carried together; more don't stay in the processor's cache."""


@dataclass(frozen=True)
class Microscope:
    """A brightfield microscope under Koehler illumination."""

    wavelength_um: float
    """Of its light, in the medium."""
    objective_na: float
    """Numerical aperture over the medium's index: the sine of the half angle."""
    condenser_na: float
    """The same of the condenser; as a rule 0.6 to 0.9 of the objective's."""

    @property
    def depth_of_field_um(self) -> float:
        """Wavelength over the squared aperture."""
        return self.wavelength_um / self.objective_na**2


def condenser_directions(microscope: Microscope, count: int, turned_rad: float = 0.0) -> Directions:
    """Transverse frequencies (x, y) of `count` points that fill the condenser's pupil evenly, float64 [count, 2], cycles per um.

    Points of a sunflower (H. Vogel, Math. Biosci. 44, 179 (1979), doi:10.1016/0025-5564(79)90080-4): each stands for the same
    area, so that all weigh alike.
    """
    k = np.arange(count)
    radius = microscope.condenser_na / microscope.wavelength_um * np.sqrt((k + 0.5) / count)
    angle = k * _GOLDEN_ANGLE_RAD + turned_rad
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def abbe_sum(
    shape: tuple[int, int],
    pitch_um: float,
    microscope: Microscope,
    directions: Directions,
    spectrum: Callable[[Directions, NDArray[np.float64]], Complex],
) -> NDArray[np.float32]:
    """Mean over the directions of the squared wave behind the objective, float32 [height, width]; periodic.

    `spectrum` gives, of some directions [n, 2] and their squared frequencies |f + k|^2 float64 [n, height, width] per um squared, the
    spectra complex64 [n or 1, height, width] in the plane in focus, each without its tilt.
    """
    fy, fx = fft.fftfreq(shape[0], pitch_um)[:, None], fft.fftfreq(shape[1], pitch_um)[None, :]
    total = np.zeros(shape, np.float64)
    at_once = max(1, _AT_ONCE_PX // (shape[0] * shape[1]))
    for first in range(0, len(directions), at_once):
        some = directions[first : first + at_once]
        squared = (fx + some[:, 0, None, None]) ** 2 + (fy + some[:, 1, None, None]) ** 2
        pupil = squared <= (microscope.objective_na / microscope.wavelength_um) ** 2
        waves = fft.ifft2(spectrum(some, squared) * pupil, overwrite_x=True)
        total += (waves.real**2 + waves.imag**2).sum(axis=0)
    return (total / len(directions)).astype(np.float32)


def brightfield_image(
    field: NDArray[np.complexfloating], pitch_um: float, microscope: Microscope, directions: Directions
) -> NDArray[np.float32]:
    """The picture of a field in focus, float32 [height, width], 1 where the field is 1; periodic.

    Parameters: `field` complex [height, width], that of light from straight ahead: in any other the object is taken for as thin, and
    acts alike; `directions` as `condenser_directions` gives them. Where squares hold more than the pixels (pitch over a quarter of
    wavelength / objective_na) they are made on pixels half as wide, and what the field's pixels can't hold is taken away.
    """
    fine = 2 if 4 * pitch_um * microscope.objective_na > microscope.wavelength_um else 1
    height, width = field.shape
    spectrum = _resized(fft.fft2(field.astype(np.complex64)), (fine * height, fine * width))[None]

    def same(_directions: Directions, _squared: NDArray[np.float64]) -> Complex:
        return spectrum

    picture = abbe_sum((fine * height, fine * width), pitch_um / fine, microscope, directions, same)
    return picture if fine == 1 else fft.ifft2(_resized(fft.fft2(picture), (height, width))).real.astype(np.float32)


def _resized(spectrum: Complex, shape: tuple[int, int]) -> Complex:
    """A spectrum of `shape`, its lowest frequencies those of the one given, the mean kept."""
    resized = np.zeros(shape, np.complex64)
    rows, columns = (_lowest(min(a, b)) for a, b in zip(spectrum.shape, shape, strict=True))
    resized[np.ix_(rows, columns)] = spectrum[np.ix_(rows, columns)]
    return resized * np.float32(resized.size / spectrum.size)


def _lowest(count: int) -> NDArray[np.intp]:
    """Places in FFT order, from either end, of so many frequencies."""
    return np.arange(count) - count // 2
