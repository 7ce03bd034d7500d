"""A Raspberry Pi camera as a kind."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from device.drivers.cameras.kinds import CameraKind, Finding

if TYPE_CHECKING:
    from device.drivers.ports import Camera
    from device.instrument import Instrument

__all__ = ["KIND"]


def _build(camera: Any, instrument: Instrument) -> Camera:
    from device.drivers.supervised_camera import SupervisedCamera

    def build() -> Camera:
        from device.drivers.picamera2_camera import Picamera2Camera

        return Picamera2Camera(instrument.sensor, timeout_s=camera.timeout_s)

    return SupervisedCamera(build, timeout_s=camera.timeout_s)


def _look(_camera: Any) -> Finding:
    if importlib.util.find_spec("picamera2") is None:
        return Finding(
            good=False, value="picamera2", message="picamera2 is missing", remedy="apt-get install python3-picamera2"
        )
    return Finding(good=True, value="picamera2")


KIND = CameraKind(name="picamera2", summary="a Raspberry Pi camera", build=_build, look=_look)
