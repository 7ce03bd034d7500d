"""Evenly lit frames of the clean window: lamp level, evenness, electrons per count, saturation.

The photon transfer method: shot noise makes the variance of a pixel proportional to its mean, and the slope is counts per
electron (Janesick, Photon Transfer (2007), chapter 5). Pairs of frames are subtracted, so that no fixed pattern counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.procedures.comparison import against_sensor
from calibration.procedures.outcome import ProcedureOutcome
from device.analysis.background import block_means
from device.analysis.baseline import baseline
from device.calibration import Quantity
from device.errors import InputError
from device.instrument import SensorSpec

__all__ = ["measure_flat"]

_BLOCK_PX = 16
_GAINS_AGREE = 0.03
"""Relative, beside five standard deviations: what slow drifts may do."""


def measure_flat(frames: Sequence[NDArray[np.floating]], sensor: SensorSpec) -> ProcedureOutcome:
    """Figures from at least four frames [height, width] in counts, lamp on, nothing on the window.

    InputError for too few frames. The figures are the commissioning baseline that `holonode doctor` compares with.
    """
    if len(frames) < 4:
        raise InputError("too few frames", where="flat", expected="4 or more", got=len(frames))
    seen = baseline(frames, sensor)
    white = 2**sensor.bit_depth - 1
    stack = np.stack([np.asarray(f, np.float32) for f in frames])
    light = _light_of(stack, sensor)
    gain, gain_uncertainty = _electrons_per_count(stack, light, sensor)
    reasons: list[str] = []
    if not 0.1 <= seen.level <= 0.85:
        reasons.append(f"the background stands at {seen.level:.0%} of the full scale; 10 to 85 % is right: change the exposure")
    if seen.saturated > 1e-4:
        reasons.append(f"{seen.saturated:.2%} of the pixels are saturated: lower the exposure")
    if seen.evenness < 0.3:
        reasons.append(
            f"the darkest part has {seen.evenness:.0%} of the brightest part's light (30 % or more): centre the lamp"
        )
    if seen.unsteadiness > 0.02:
        reasons.append(f"the light moves by {seen.unsteadiness:.1%} from frame to frame (2 % or less): check the lamp's supply")
    middle = len(stack) // 4 * 2
    for halves in ((stack[:middle], stack[middle:]), np.array_split(stack, 2, axis=1)):
        (a, ua), (b, ub) = (_electrons_per_count(half, _light_of(half, sensor), sensor) for half in halves)
        if abs(a - b) > 5 * np.hypot(ua, ub) + _GAINS_AGREE * gain:
            reasons.append(
                f"two halves disagree about the electrons per count: {a:.3g} and {b:.3g}; the light isn't steady, or the sensor "
                "isn't linear"
            )
    full_well_e = gain * (white - sensor.dark_level_counts)
    values = {
        "background_level": Quantity(value=seen.level, uncertainty=seen.level * seen.unsteadiness, unit="of full scale"),
        "evenness": Quantity(value=seen.evenness, uncertainty=0.01, unit="darkest over brightest"),
        "background_contrast": Quantity(value=seen.contrast, uncertainty=0.001, unit="relative"),
        "odd_pixels": Quantity(value=seen.odd_pixels, uncertainty=float(np.sqrt(seen.odd_pixels + 1)), unit="pixels"),
        "electrons_per_count": Quantity(value=gain, uncertainty=gain_uncertainty, unit="e-"),
        "full_well_e": Quantity(value=full_well_e, uncertainty=full_well_e * gain_uncertainty / gain, unit="e-"),
    }
    reasons += against_sensor(values, sensor)
    return ProcedureOutcome(values, {"frame_to_frame": seen.unsteadiness, "saturated": seen.saturated}, reasons)


def _light_of(stack: NDArray[np.float32], sensor: SensorSpec) -> NDArray[np.float32]:
    return np.asarray(stack.mean(axis=0) - sensor.dark_level_counts, np.float32)


def _electrons_per_count(stack: NDArray[np.float32], light: NDArray[np.float32], sensor: SensorSpec) -> tuple[float, float]:
    """From pairs of frames, block by block: electrons = mean / (variance - read variance)."""
    pairs = len(stack) // 2
    differences = [stack[2 * k] - stack[2 * k + 1] for k in range(pairs)]
    # What a pair shares but for the lamp's flicker goes out with the mean of the difference.
    variance = np.mean([block_means((d - d.mean()) ** 2, _BLOCK_PX) / 2 for d in differences], axis=0)
    mean = block_means(np.asarray(light, np.float32), _BLOCK_PX)
    nominal = sensor.full_well_e / (2**sensor.bit_depth - 1 - sensor.dark_level_counts)
    shot = variance - (sensor.read_noise_e / nominal) ** 2 - 1 / 12
    estimates = mean.sum() / max(float(shot.sum()), 1e-9)
    # Variance of a sample variance: 2 sigma^4 / (n - 1).
    samples = pairs * stack[0].size
    return float(estimates), float(estimates * np.sqrt(2 / samples) + 0.002 * estimates)
