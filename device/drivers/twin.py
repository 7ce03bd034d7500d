"""Lamp, pump and camera of the digital twin: the ports over one simulated world."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from device.drivers.ports import EnvironmentReading, LampReading, PumpState
from device.errors import HardwareError, InputError
from device.frames import Clock, Exposure, LampState, RawFrame
from device.twin.world import TwinWorld

__all__ = ["TwinCamera", "TwinEnvironment", "TwinLamp", "TwinPump"]


class TwinLamp:
    """The simulated lamp; acknowledges at once."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._closed = False
        self._strobe_us = (0.0, 0.0)
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
        return self._shine(channel if current_ma else 0, float(current_ma))

    def set_strobe(self, delay_us: float, width_us: float) -> LampState:
        """See `ports.Lamp`."""
        self.off()
        if (delay_us, width_us) != (0, 0) and not all(20 <= us <= 16_000 for us in (delay_us, width_us)):
            raise InputError("strobe out of range", expected="20 to 16000 us", got=f"{delay_us:g} us, {width_us:g} us")
        self._strobe_us = (float(delay_us), float(width_us))
        return self.off()

    def off(self) -> LampState:
        """See `ports.Lamp`."""
        return self._shine(0, 0.0)

    def _shine(self, channel: int, current_ma: float) -> LampState:
        self._world.lamp = LampState(channel, current_ma, True, int(self._world.monotonic() * 1e9), *self._strobe_us)
        return self._world.lamp

    def read(self) -> LampReading:
        """See `ports.Lamp`."""
        return LampReading(self._world.photodiode_v(), self._world.frames_taken, self._world.strobes)

    def close(self) -> None:
        """See `ports.Lamp`."""
        self.off()
        self._closed = True


class TwinPump:
    """The simulated pump; off after construction."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._state = PumpState(0.0, True)
        self._closed = False
        self.set_flow(0.0)

    @property
    def state(self) -> PumpState:
        """The last acknowledged state."""
        return self._state

    def set_flow(self, flow_ml_min: float) -> PumpState:
        """See `ports.Pump`."""
        if not 0 <= flow_ml_min <= 1e6:
            self._stop()
            raise InputError("pump flow out of range", expected="0 to 1e6 mL/min", got=f"{flow_ml_min:g} mL/min")
        if self._closed:
            raise HardwareError("the pump is closed", remedy="Open it again before using it.")
        self._world.set_flow(flow_ml_min)
        self._state = replace(self._state, flow_ml_min=float(flow_ml_min))
        return self._state

    def set_valve(self, open_: bool) -> PumpState:
        """See `ports.Pump`."""
        if self._closed:
            raise HardwareError("the pump is closed", remedy="Open it again before using it.")
        self._state = replace(self._state, valve_open=open_)
        return self._state

    def volume_ml(self) -> float:
        """See `ports.Pump`."""
        return self._world.volume_ml()

    def close(self) -> None:
        """See `ports.Pump`."""
        self._stop()
        self._closed = True

    def _stop(self) -> None:
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
    """A mild day, at the simulated instrument's temperature."""

    def __init__(self, world: TwinWorld) -> None:
        self._world = world
        self._closed = False

    def read(self) -> EnvironmentReading:
        """See `ports.Environment`."""
        if self._closed:
            raise HardwareError("the environment sensors are closed", remedy="Open them again.")
        return EnvironmentReading(
            self._world.environment.temperature_c, humidity_percent=50.0, pressure_hpa=1013.0, supply_v=5.1
        )

    def close(self) -> None:
        """See `ports.Environment`."""
        self._closed = True
