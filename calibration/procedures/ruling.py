"""Pixel pitch from a ruled target: its period in pixels is a line in the spectrum.

In collimated light the hologram of a grating has the grating's period at any distance, so nothing needs to be in focus; in
a point-source geometry the pitch at the object is measured, magnification included.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from calibration.procedures.outcome import Outcome, mean_with_uncertainty
from device.calibration import Quantity
from device.errors import InputError
from device.instrument import Instrument

__all__ = ["line_frequency", "measure_ruled_pitch"]

_BLOCKS = 3


def line_frequency(intensity: NDArray[np.floating]) -> tuple[float, float]:
    """Frequency of the strongest grating in a frame [height, width], cycles per pixel along rows and columns.

    The peak of the windowed Fourier transform between the bins of the discrete one. InputError where no line stands out.
    """
    height, width = intensity.shape
    window = np.outer(np.hanning(height), np.hanning(width))
    lines = (intensity - intensity.mean()) * window
    spectrum = np.abs(np.fft.rfft2(lines))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    spectrum[np.hypot(fy * height, fx * width) < 4] = 0
    peak = np.unravel_index(int(np.argmax(spectrum)), spectrum.shape)
    if spectrum[peak] < 20 * np.median(spectrum):
        raise InputError("no ruling found", where="calibration frame", expected="one regular grating over the whole frame",
                         got=f"a line {spectrum[peak] / np.median(spectrum):.0f} times the noise",
                         remedy="Put the ruled target in and check focus and exposure.")  # fmt: skip
    y, x = np.arange(height) - height / 2, np.arange(width) - width / 2

    def minus_amplitude(frequency: NDArray[np.float64]) -> float:
        rows = np.exp(-2j * np.pi * frequency[0] * y) @ lines
        return -float(np.abs(rows @ np.exp(-2j * np.pi * frequency[1] * x)))

    start = np.array([fy[peak[0], 0], fx[0, peak[1]]])
    simplex = start + np.array([[0, 0], [0.4 / height, 0], [0, 0.4 / width]])
    found = scipy.optimize.minimize(
        minus_amplitude, start, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-9}
    )
    return float(found.x[0]), float(found.x[1])


def measure_ruled_pitch(
    intensity: NDArray[np.floating], instrument: Instrument, period_um: float, period_uncertainty_um: float
) -> Outcome:
    """Pitch from a ruling of known period; the uncertainty from how parts of the frame disagree, and the period's own."""
    whole = float(np.hypot(*line_frequency(intensity)))
    height, width = (n // _BLOCKS for n in intensity.shape)
    parts = [
        float(np.hypot(*line_frequency(intensity[r * height : (r + 1) * height, c * width : (c + 1) * width])))
        for r in range(_BLOCKS)
        for c in range(_BLOCKS)
    ]
    _, statistical, scatter, _ = mean_with_uncertainty(np.array(parts))
    magnification = instrument.sensor.pitch_um / instrument.geometry.object_pitch_um
    pitch_um = whole * period_um * magnification
    relative = float(np.hypot(statistical / whole, period_uncertainty_um / period_um))
    reasons: list[str] = []
    if scatter / whole > 0.02:
        reasons.append(f"the period differs by {scatter / whole:.1%} over the frame: the target is bent, or it isn't a ruling")
    values = {"pitch_um": Quantity(value=pitch_um, uncertainty=pitch_um * relative, unit="um")}
    return Outcome(values, {"period_px": 1 / whole, "period_scatter": scatter / whole}, reasons)
