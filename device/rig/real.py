"""The real parts: a camera, what hangs on the controller, and what is told not to be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from device.config import Config
from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.instrument import Instrument

if TYPE_CHECKING:
    from device.drivers.serial_line import SerialLine

Line = Callable[[], "SerialLine"]
"""The controller's, made once somebody needs it."""

__all__ = ["Line", "build_camera", "build_environment", "build_lamp", "build_pump", "controller_line"]


def build_camera(config: Config, instrument: Instrument) -> Camera:
    """Recorded frames, or a real camera, watched."""
    settings = config.camera
    if settings.driver == "replay":
        from device.drivers.replay import ReplayCamera

        return ReplayCamera(list(settings.replay_inputs))
    from device.drivers.supervised_camera import SupervisedCamera

    def build() -> Camera:
        if settings.driver == "picamera2":
            from device.drivers.picamera2_camera import Picamera2Camera

            return Picamera2Camera(instrument.sensor, timeout_s=settings.timeout_s)
        from device.drivers.v4l2_camera import V4l2Camera

        return V4l2Camera(instrument.sensor, settings.device, timeout_s=settings.timeout_s)

    return SupervisedCamera(build, timeout_s=settings.timeout_s)


def controller_line(config: Config) -> SerialLine:
    """The line that lamp, pump and sensors share; opened with the first of them."""
    from device.drivers.serial_line import SerialLine

    controller = config.controller
    return SerialLine(controller.port, baud=controller.baud, timeout_s=controller.acknowledge_timeout_s)


def build_lamp(line: Line, instrument: Instrument) -> Lamp:
    """The controller's."""
    from device.drivers.serial_lamp import SerialLamp

    return SerialLamp(line(), max_current_ma=instrument.lamp.max_current_ma)


def build_pump(config: Config, line: Line, instrument: Instrument, monotonic: Callable[[], float]) -> Pump:
    """The controller's, or none."""
    if config.pump.driver == "none":
        from device.drivers.absent import AbsentPump

        return AbsentPump()
    from device.drivers.serial_pump import SerialPump

    return SerialPump(
        line(),
        full_flow_ml_min=config.pump.full_flow_ml_min or instrument.fluidics.flow_ml_min,
        meter_ml_per_pulse=config.pump.meter_ml_per_pulse,
        monotonic=monotonic,
    )


def build_environment(config: Config, line: Line) -> Environment:
    """The controller's sensors, or none."""
    if config.environment.driver == "none":
        from device.drivers.absent import AbsentEnvironment

        return AbsentEnvironment()
    from device.drivers.serial_sensors import SerialEnvironment

    return SerialEnvironment(line())
