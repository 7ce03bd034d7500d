"""A Raspberry Pi camera as a kind."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from device.drivers.cameras.kinds import CameraKind
from device.errors import HardwareError

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


def _demand(_camera: Any) -> None:
    if importlib.util.find_spec("picamera2") is None:
        raise HardwareError("picamera2 is missing", where="camera.driver", remedy="apt-get install python3-picamera2")


KIND = CameraKind(name="picamera2", summary="a Raspberry Pi camera", build=_build, demand=_demand)
