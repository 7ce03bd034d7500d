"""Can this box's stamps be trusted?"""

from __future__ import annotations

from device.frames import Clock
from device.messaging.payloads import Check

__all__ = ["clock_check"]


def clock_check(quality: Clock, *, wakes_by_it: bool, simulated: bool = False) -> Check:
    """Whether a time daemon holds the clock. Records are in order by `seq` without it; a schedule wakes at the wrong time.

    `simulated`: nothing of the instrument is real, so that nobody need set this machine's clock for it; it is told all the same.
    """
    if quality.synchronised:
        return Check(name="clock", status="ok", value=quality.source, message=f"synchronised, +- {quality.uncertainty_s:.2g} s")
    trusted = quality.source == "rtc"
    words = f"not synchronised, +- {quality.uncertainty_s:.0f} s" if quality.uncertainty_s < 1e6 else "never set"
    harm = "; the schedule wakes by it" if wakes_by_it else "; order is kept by seq all the same"
    if simulated and not wakes_by_it:
        return Check(name="clock", status="ok", value=quality.source, message=words + harm)
    return Check(
        name="clock", status="failed" if wakes_by_it and not trusted else "warning", value=quality.source, message=words + harm,
        remedy="Connect the box once, or fit a clock with a battery; then: sudo timedatectl set-ntp true",
    )  # fmt: skip
