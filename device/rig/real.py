"""The real parts: a camera, what hangs on the controller, and what is told not to be there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from device.config import Config
from device.drivers.cameras.kinds import camera_kind
from device.drivers.ports import Camera, Environment, Lamp, Pump
from device.errors import InputError
from device.instrument import Instrument

if TYPE_CHECKING:
    from device.drivers.serial_line import SerialLine

Line = Callable[[], "SerialLine"]
"""The controller's, made once somebody needs it."""

__all__ = ["Line", "build_camera", "build_environment", "build_lamp", "build_pump", "controller_line"]


def build_camera(config: Config, instrument: Instrument) -> Camera:
    """Of the kind that is configured; InputError where that is the twin's."""
    build = camera_kind(config.camera.driver).build
    if build is None:
        raise InputError("a real box has no simulated camera", where="camera.driver", got=config.camera.driver)
    return build(config.camera, instrument)


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
