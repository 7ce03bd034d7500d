"""Detection efficiency from a suspension of known concentration."""

from __future__ import annotations

import numpy as np

from calibration.procedures.outcome import Outcome
from device.analysis.count import poisson_interval
from device.calibration import Quantity
from device.errors import InputError

__all__ = ["measure_counts"]

_LEAST_COUNT = 100


def measure_counts(
    counted: int, *, volume_ml: float, concentration_per_ml: float, relative_uncertainty: float, background: float = 0.0
) -> Outcome:
    """Share of the particles that were counted.

    Parameters: `counted` in all frames, `volume_ml` they looked through, the suspension's stated concentration and its
    relative standard uncertainty (dilution included), and how many counts a blank gave. InputError for a volume or a
    concentration that is none.
    """
    if volume_ml <= 0 or concentration_per_ml <= 0:
        raise InputError("nothing to count against", where="counts", expected="volume and concentration above 0",
                         got=f"{volume_ml:g} mL, {concentration_per_ml:g} per mL")  # fmt: skip
    expected = volume_ml * concentration_per_ml
    efficiency = (counted - background) / expected
    interval = poisson_interval(counted)
    statistical = (interval.high - interval.low) / 2 / 1.96 / expected
    uncertainty = float(np.hypot(statistical, efficiency * relative_uncertainty))
    reasons: list[str] = []
    if counted < _LEAST_COUNT:
        reasons.append(f"{counted} particles are too few ({_LEAST_COUNT} or more): take more frames")
    if not 0.3 <= efficiency <= 1.0 + 3 * uncertainty:
        reasons.append(f"an efficiency of {efficiency:.2f} can't be right: check dilution, volume and size limits")
    values = {"detection_efficiency": Quantity(value=efficiency, uncertainty=uncertainty, unit="counted over present")}
    return Outcome(values, {"expected": expected, "counted": float(counted)}, reasons)
