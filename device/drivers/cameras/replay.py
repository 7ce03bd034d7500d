"""Recorded frames as a kind of camera."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device.drivers.cameras.kinds import CameraKind
from device.errors import InputError

if TYPE_CHECKING:
    from device.drivers.ports import Camera
    from device.instrument import Instrument

__all__ = ["KIND"]


def _build(camera: Any, _instrument: Instrument) -> Camera:
    from device.drivers.replay import ReplayCamera

    return ReplayCamera(camera.replay_inputs, array=camera.replay_array, frames_axis=camera.replay_frames_axis)


def _demand(camera: Any) -> None:
    from device.drivers.recorded import expand

    if not camera.replay_inputs:
        raise InputError(
            "nothing to replay", where="camera.replay_inputs", expected="files, folders or globs", got="none",
            remedy="Set camera.replay_inputs, or another camera.driver.",
        )  # fmt: skip
    expand(camera.replay_inputs)


KIND = CameraKind(name="replay", summary="recorded frames", build=_build, computed=True, demand=_demand)
