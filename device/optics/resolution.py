"""What limits the finest detail that an in-line instrument can see: its lamp's band, its lamp's size, its pixels or its frame.

Each alone damps the fringes of a detail the more, the finer it is (coherence.py); strong detail (half a radian) is seen until a
twelfth of its fringes' contrast is left, for there the shot noise of some 5,000 electrons takes over: its ring correlation with
the truth is a half. What is fainter is lost earlier. Pixels hold nothing finer than themselves, and a frame nothing whose
fringes fall beside it (NA = sin atan(W / 2z), for a particle in the frame's middle). Held against the digital twin's ring
correlation by `tests/benchmarks/resolution.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.coherence import Coherence, fringe_visibility
from device.optics.geometry import Geometry

__all__ = ["Resolution", "ResolutionLimit", "light_line_um", "resolution"]

_LEFT = 0.08
"""Of the fringes' contrast, at the finest detail."""
_STEPS = 4000


@dataclass(frozen=True)
class ResolutionLimit:
    """One cause alone."""

    cause: str
    """What it is: "lamp bandwidth", "lamp size", "pixel", "frame"."""
    line_um: float
    """Width of the finest line at the object, half a period; 0 where the cause limits nothing."""
    advice: str
    """What would make it finer."""


@dataclass(frozen=True)
class Resolution:
    """Of one instrument, at its nominal distance."""

    limits: tuple[ResolutionLimit, ...]
    """The coarsest first."""
    line_um: float
    """Width of the finest line, all causes together."""
    nyquist_share: float
    """Highest frequency seen, over the highest that the pixels can hold, 0 to 1."""

    def lines(self) -> list[str]:
        """For a person."""
        worst = self.limits[0]
        told = [f"resolution {self.line_um:.2f} um lines, limited by {worst.cause}; {worst.advice}"]
        told += [f"           {x.cause}: " + (f"{x.line_um:.2f} um" if x.line_um > 0 else "no limit") for x in self.limits]
        if self.nyquist_share < 0.8:
            told.append(
                f"           the light carries {self.nyquist_share:.0%} of what the pixels could hold: binned or resampled to "
                f"{self.nyquist_share:.2f} of the pixels along each side, a frame is {1 / self.nyquist_share**2:.1f} times cheaper and loses nothing"
            )
        return told


def resolution(geometry: Geometry, shape: tuple[int, int]) -> Resolution:
    """What limits detail in frames of `shape` (height, width) pixels recorded so.

    Raises InputError where the lamp isn't behind the object.
    """
    lamp_um = (geometry.coherence or Coherence()).source_distance_um
    if lamp_um is not None and lamp_um <= geometry.distance_um:
        raise InputError(
            "the lamp isn't behind the object", where="source_distance_um", got=f"{lamp_um:g} um",
            expected=f"above distance_um ({geometry.distance_um:g} um)", remedy="Both are measured from the sensor.",
        )  # fmt: skip
    nyquist = 0.5 / geometry.object_pitch_um
    coherence = geometry.coherence or Coherence()
    wavelength_um, distance_um = geometry.wavelength_medium_um, geometry.propagation_um
    bandwidth_um = coherence.bandwidth_um / geometry.medium_index

    def of(bandwidth_um: float, blur_um: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        return lambda f: fringe_visibility(f, wavelength_um, distance_um, bandwidth_um=bandwidth_um, blur_um=blur_um)

    half_um = min(shape) * geometry.object_pitch_um / 2
    framed = math.sin(math.atan2(half_um, distance_um)) / wavelength_um
    causes = {
        "lamp bandwidth": _highest(of(bandwidth_um, 0.0), 1 / wavelength_um),
        "lamp size": _highest(of(0.0, geometry.source_blur_um), 1 / wavelength_um),
        "pixel": nyquist,
        "frame": framed,
    }
    advice = {
        "lamp bandwidth": "a narrower filter or a laser diode in front of the lamp, or particles nearer to the sensor",
        "lamp size": "a smaller pinhole, a lamp farther away, or particles nearer to the sensor",
        "pixel": "finer pixels, or several frames shifted by parts of a pixel",
        "frame": "a larger region read out, or particles nearer to the sensor",
    }
    limits = tuple(
        ResolutionLimit(cause, 0.0 if math.isinf(highest) else 0.5 / highest, advice[cause])
        for cause, highest in sorted(causes.items(), key=lambda item: item[1])
    )
    light = of(bandwidth_um, geometry.source_blur_um)
    together = _highest(lambda f: light(f) * np.sinc(f * geometry.object_pitch_um), min(nyquist, framed))
    seen = min(together, nyquist, framed)
    return Resolution(limits, 0.5 / seen, seen / nyquist)


def light_line_um(geometry: Geometry) -> float:
    """Width of the finest line that lamp and distance carry, whatever the pixels; 0 where they limit nothing."""
    coherence = geometry.coherence or Coherence()
    wavelength_um = geometry.wavelength_medium_um
    highest = _highest(
        lambda f: fringe_visibility(
            f, wavelength_um, geometry.propagation_um, bandwidth_um=coherence.bandwidth_um / geometry.medium_index,
            blur_um=geometry.source_blur_um,
        ),
        1 / wavelength_um,
    )  # fmt: skip
    return 0.0 if math.isinf(highest) else 0.5 / highest


def _highest(left: Callable[[NDArray[np.float64]], NDArray[np.float64]], most: float) -> float:
    """The frequency, per micrometre, up to which enough is left; infinite where it is up to `most`."""
    frequencies = np.linspace(0, most, _STEPS, endpoint=False)
    lost = np.flatnonzero(left(frequencies) < _LEFT)
    return float(frequencies[lost[0]]) if lost.size else math.inf
