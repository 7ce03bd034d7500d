"""The simulated camera as a kind."""

from __future__ import annotations

from device.drivers.cameras.kinds import CameraKind

__all__ = ["KIND"]

KIND = CameraKind(name="twin", summary="the simulated camera", build=None, computed=True)
