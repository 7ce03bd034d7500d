"""Any other Linux camera as a kind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.drivers.cameras.kinds import CameraKind, Finding

if TYPE_CHECKING:
    from device.drivers.ports import Camera
    from device.instrument import Instrument

__all__ = ["KIND"]


def _build(camera: Any, instrument: Instrument) -> Camera:
    from device.drivers.supervised_camera import SupervisedCamera

    def build() -> Camera:
        from device.drivers.v4l2_camera import V4l2Camera

        return V4l2Camera(instrument.sensor, camera.device, timeout_s=camera.timeout_s)

    return SupervisedCamera(build, timeout_s=camera.timeout_s)


def _look(camera: Any) -> Finding:
    if os.access(camera.device, os.R_OK | os.W_OK):
        return Finding(good=True, value="v4l2")
    if Path(camera.device).exists():
        return Finding(
            good=False, value=camera.device, message="no permission",
            remedy="sudo usermod -a -G video $USER, then log in again",
        )  # fmt: skip
    return Finding(
        good=False, value=camera.device, message="no such device",
        remedy="Plug the camera in; ls /dev/v4l/by-id shows its name for camera.device",
    )  # fmt: skip


KIND = CameraKind(name="v4l2", summary="any other Linux camera", build=_build, look=_look)
