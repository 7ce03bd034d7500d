"""Lamp, pump and camera of the digital twin: the ports over one simulated world."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from device.drivers.ports import EnvironmentReading, PumpState
from device.errors import HardwareError, InputError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.twin.world import TwinWorld

__all__ = ["TwinCamera", "TwinEnvironment", "TwinLamp", "TwinPump"]


class TwinLamp:
    """The simulated lamp; acknowledges at once."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._closed = False
        self.off()

    @property
    def state(self) -> LampState:
        """The last acknowledged state."""
        return self._world.lamp

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        """See `ports.Lamp`."""
        most = self._world.instrument.lamp.max_current_ma
        if self._closed:
            raise HardwareError("the lamp is closed", remedy="Open it again before setting a current.")
        if not 0 <= current_ma <= most:
            self.off()
            raise InputError("lamp current out of range", expected=f"0 to {most:g} mA", got=f"{current_ma:g} mA")
        self._world.lamp = LampState(channel, float(current_ma), True, int(self._world.monotonic() * 1e9))
        return self._world.lamp

    def off(self) -> LampState:
        """See `ports.Lamp`."""
        self._world.lamp = LampState(0, 0.0, True, int(self._world.monotonic() * 1e9))
        return self._world.lamp

    def close(self) -> None:
        """See `ports.Lamp`."""
        self.off()
        self._closed = True


class TwinPump:
    """The simulated pump; off after construction."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._state = PumpState(0.0, True)
        self.set_flow(0.0)

    @property
    def state(self) -> PumpState:
        """The last acknowledged state."""
        return self._state

    def set_flow(self, flow_ml_min: float) -> PumpState:
        """See `ports.Pump`."""
        if not 0 <= flow_ml_min <= 1e6:
            self.close()
            raise InputError("pump flow out of range", expected="0 to 1e6 mL/min", got=f"{flow_ml_min:g} mL/min")
        self._world.set_flow(flow_ml_min)
        self._state = PumpState(float(flow_ml_min), True)
        return self._state

    def volume_ml(self) -> float:
        """See `ports.Pump`."""
        return self._world.volume_ml()

    def close(self) -> None:
        """See `ports.Pump`."""
        self._world.set_flow(0.0)
        self._state = PumpState(0.0, True)


class TwinCamera:
    """The simulated camera; dark when the lamp is off."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._started = False
        self._last_ns = 0

    def start(self) -> None:
        """See `ports.Camera`."""
        self._started = True

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """See `ports.Camera`."""
        if not self._started:
            raise HardwareError("the camera isn't started", remedy="Call start() first.")
        self._world.sleep(exposure.exposure_us * 1e-6)
        pixels: np.ndarray = self._world.expose(exposure)
        pixels.setflags(write=False)
        self._last_ns = max(int(self._world.monotonic() * 1e9), self._last_ns + 1)
        return RawFrame(
            pixels=pixels,
            bit_depth=self._world.instrument.sensor.bit_depth,
            exposure=exposure,
            lamp=lamp,
            sensor_timestamp_ns=self._last_ns,
            captured_at=datetime.now(UTC),
            clock=Clock(),
            index=self._world.frames_taken - 1,
            name=f"twin-{self._world.frames_taken - 1:06d}",
        )

    def close(self) -> None:
        """See `ports.Camera`."""
        self._started = False


class TwinEnvironment:
    """A mild day."""

    def read(self) -> EnvironmentReading:
        """See `ports.Environment`."""
        return EnvironmentReading(temperature_c=20.0, humidity_percent=50.0, pressure_hpa=1013.0, supply_v=5.1)

    def close(self) -> None:
        """See `ports.Environment`."""
