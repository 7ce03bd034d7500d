"""What of the box is real."""

from __future__ import annotations

from device.config import Config
from device.messaging.payloads import Check
from device.parts import parts_of

__all__ = ["parts_check"]

_ACTING = {"lamp", "pump"}
"""Frames under a lamp that isn't there, or air that nothing moved, would be counted as if they were."""


def parts_check(config: Config) -> Check:
    """Whether what is measured is real; InputError where a real box leaves a part unnamed."""
    parts = parts_of(config)
    if not parts.simulated:
        return Check(name="drivers", status="ok", value="real")
    if not parts.mixed:
        return Check(name="drivers", status="ok", value="simulated", message="nothing of this is a real instrument")
    acting = "camera" in parts.real and _ACTING.intersection(parts.simulated)
    return Check(
        name="drivers", status="failed" if acting else "warning", value=", ".join(parts.simulated),
        message="simulated, beside parts that are not: no number of this box passes quality control",
        remedy=f'Set {", ".join(f"{name}.driver" for name in parts.simulated)} to what the box has, or simulate all of it',
    )  # fmt: skip
