"""Recorded frames as a kind of camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.drivers.cameras.kinds import CameraKind, Finding

if TYPE_CHECKING:
    from device.drivers.ports import Camera
    from device.instrument import Instrument

__all__ = ["KIND"]


def _build(camera: Any, _instrument: Instrument) -> Camera:
    from device.drivers.replay import ReplayCamera

    return ReplayCamera(list(camera.replay_inputs))


def _look(camera: Any) -> Finding:
    if camera.replay_inputs:
        return Finding(good=True, value="replay")
    return Finding(good=False, value="replay", message="nothing to replay", remedy="Set camera.replay_inputs")


KIND = CameraKind(name="replay", summary="recorded frames", build=_build, look=_look)
