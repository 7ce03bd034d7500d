"""The root of a function between two places where its signs differ.

scipy.optimize has it too, and takes 25 MB of a box's memory for it.
"""

from __future__ import annotations

from collections.abc import Callable

from device.errors import InputError

__all__ = ["root_between"]

_MOST_STEPS = 200
_PATIENCE = 3
"""Steps after which the bracket must have halved, or it is halved: secants creep where the function is flat."""


def root_between(function: Callable[[float], float], low: float, high: float, *, tolerance: float = 1e-12) -> float:
    """Where a continuous function is zero, to a relative tolerance, by the Illinois method with bisections where it creeps.

    M. Dowell and P. Jarratt, BIT 11, 168 (1971), doi:10.1007/BF01934364. Raises InputError where both ends have one sign.
    """
    at_low, at_high = function(low), function(high)
    if at_low == 0 or at_high == 0:
        return low if at_low == 0 else high
    if (at_low > 0) == (at_high > 0):
        raise InputError(
            "no root is bracketed", expected="values of two signs", got=f"{at_low:g} at {low:g}, {at_high:g} at {high:g}"
        )
    width, kept, side = abs(high - low), 0, 0
    for _ in range(_MOST_STEPS):
        if abs(high - low) <= tolerance * max(abs(low), abs(high)):
            break
        creeps = kept >= _PATIENCE
        place = (low + high) / 2 if creeps else (low * at_high - high * at_low) / (at_high - at_low)
        if creeps or abs(high - low) <= width / 2:
            width, kept = abs(high - low), 0
        kept += 1
        value = function(place)
        if value == 0:
            return place
        if (value > 0) == (at_high > 0):
            high, at_high = place, value
            at_low = at_low / 2 if side == 1 else at_low
            side = 1
        else:
            low, at_low = place, value
            at_high = at_high / 2 if side == -1 else at_high
            side = -1
    return (low + high) / 2
