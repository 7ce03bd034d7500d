"""Detection efficiency from a suspension of known concentration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.procedures.outcome import ProcedureOutcome
from device.analysis.count import poisson_interval
from device.calibration import Quantity
from device.errors import InputError

__all__ = ["measure_counts"]

_LEAST_COUNT = 100
_HALVES_SIGMAS = 5.0


def measure_counts(
    counted: int, *, volume_ml: float, concentration_per_ml: float, relative_uncertainty: float, background: float = 0.0,
    size_class_um: Sequence[int] | None = None, per_frame: Sequence[int] = (),
) -> ProcedureOutcome:  # fmt: skip
    """Share of the particles that were counted.

    Parameters: `counted` in all frames, `volume_ml` they looked through, the suspension's stated concentration and its
    relative standard uncertainty (dilution included), how many counts a blank gave, and the least and largest diameter that
    the figure holds for, in whole micrometres (None: any); `per_frame` the same counts, frame by frame. InputError for a volume, a concentration or a size class that is none.
    """
    if volume_ml <= 0 or concentration_per_ml <= 0:
        raise InputError("nothing to count against", where="counts", expected="volume and concentration above 0",
                         got=f"{volume_ml:g} mL, {concentration_per_ml:g} per mL")  # fmt: skip
    name = "detection_efficiency"
    if size_class_um is not None:
        low_um, high_um = size_class_um
        if not 0 <= low_um < high_um:
            raise InputError(
                "no size lies in this class", where="counts", expected="0 <= low < high", got=f"{low_um} to {high_um} um"
            )
        name += f"_{low_um}_{high_um}_um"
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
    reasons += _halves_apart(per_frame)
    values = {name: Quantity(value=efficiency, uncertainty=uncertainty, unit="counted over present")}
    return ProcedureOutcome(values, {"expected": expected, "counted": float(counted)}, reasons)


def _halves_apart(per_frame: Sequence[int]) -> list[str]:
    """Why not, where the first and the last frames hold more or less than chance explains."""
    middle = len(per_frame) // 2
    if middle < 2:
        return []
    early, late = sum(per_frame[:middle]), sum(per_frame[-middle:])
    if abs(early - late) <= _HALVES_SIGMAS * (early + late) ** 0.5:
        return []
    return [
        f"the first half of the frames holds {early} particles, the last {late}: the suspension settles or sticks, or one frame was "
        "counted again and again; stir it, and take frames of fresh sample"
    ]
