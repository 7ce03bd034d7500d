"""The simulated camera as a kind."""

from __future__ import annotations

from device.drivers.cameras.kinds import CameraKind, Finding

__all__ = ["KIND"]

KIND = CameraKind(
    name="twin", summary="the simulated camera", build=None, look=lambda _camera: Finding(good=True, value="twin")
)
