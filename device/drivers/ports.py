"""The ports: what the rest of the box may ask of lamp, camera, pump and environment.

Every driver starts with its actuator off, is off after any error, and can be closed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from device.errors import HardwareError
from device.frames import Exposure, LampState, RawFrame

__all__ = [
    "Camera",
    "Environment",
    "EnvironmentReading",
    "Lamp",
    "LampReading",
    "NoFrameError",
    "Pump",
    "PumpState",
    "RepeatedFrameError",
]


class NoFrameError(HardwareError):
    """No frame came in time: the camera hangs and has to be restarted."""


class RepeatedFrameError(HardwareError):
    """A frame that was there before: the camera is stuck and has to be restarted."""


@dataclass(frozen=True)
class LampReading:
    """What is measured of the light."""

    photodiode_v: float | None = None
    """At the photodiode's amplifier; None where there is none."""
    triggers: int = 0
    """Frames that the sensor signalled since the controller's start, modulo 2^32."""
    strobes: int = 0
    """Pulses of light given for them; both rise alike where every frame was lit."""


@runtime_checkable
class Lamp(Protocol):
    """A light source whose state is what it acknowledged."""

    @property
    def state(self) -> LampState:
        """The last acknowledged state; `acknowledged` is False after any lost or refused exchange."""
        ...

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        """Ask for a current, wait for the acknowledgement; HardwareError if none comes, InputError out of range."""
        ...

    def set_strobe(self, delay_us: float, width_us: float) -> LampState:
        """Light only `width_us` long, `delay_us` after each frame's trigger, 20 to 16000 us; both 0: steadily. Off until the
        next current is set; InputError out of range, HardwareError where nothing is acknowledged."""
        ...

    def off(self) -> LampState:
        """Every channel off, acknowledged."""
        ...

    def read(self) -> LampReading:
        """What photodiode and counters say now; HardwareError where nothing answers."""
        ...

    def close(self) -> None:
        """Off and released; safe to call twice."""
        ...


@runtime_checkable
class Camera(Protocol):
    """An image sensor."""

    def start(self) -> None:
        """Make ready to capture; HardwareError where there is none."""
        ...

    def capture(self, exposure: Exposure, lamp: LampState) -> RawFrame | None:
        """One frame taken under an acknowledged lamp state; None where a recorded source has come to its end.

        The exposure of every row began after the lamp's acknowledgement. NoFrameError on a time-out, RepeatedFrameError on a
        stale frame, HardwareError on any other failure; InputError where the sensor can't expose as asked.
        """
        ...

    def close(self) -> None:
        """Stop and release; safe to call twice."""
        ...


@dataclass(frozen=True)
class PumpState:
    """What the pump acknowledged."""

    flow_ml_min: float
    """Flow in force; 0 is off."""
    acknowledged: bool
    """Whether the controller itself confirmed this state."""
    valve_open: bool = False
    """Whether the valve is open."""


@runtime_checkable
class Pump(Protocol):
    """Moves the sample."""

    @property
    def state(self) -> PumpState:
        """The last acknowledged state."""
        ...

    def set_flow(self, flow_ml_min: float) -> PumpState:
        """Ask for a flow, 0 to stop; InputError out of range, HardwareError where nothing is acknowledged."""
        ...

    def set_valve(self, open_: bool) -> PumpState:
        """Open or close the valve; HardwareError where nothing is acknowledged."""
        ...

    def volume_ml(self) -> float:
        """Volume moved since construction, from flow and monotonic time (or the flow meter)."""
        ...

    def close(self) -> None:
        """Off and released; safe to call twice."""
        ...


@dataclass(frozen=True)
class EnvironmentReading:
    """What surrounds the instrument; None where there is no such sensor."""

    temperature_c: float | None = None
    """Of the box."""
    humidity_percent: float | None = None
    """Relative humidity."""
    pressure_hpa: float | None = None
    """Of the air."""
    supply_v: float | None = None
    """Of the power supply."""


@runtime_checkable
class Environment(Protocol):
    """Temperature, humidity, pressure, supply."""

    def read(self) -> EnvironmentReading:
        """What the sensors say now."""
        ...

    def close(self) -> None:
        """Released; safe to call twice."""
        ...
