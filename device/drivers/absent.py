"""Parts that a box is told not to have."""

from __future__ import annotations

from device.drivers.ports import EnvironmentReading, PumpState
from device.errors import InputError

__all__ = ["AbsentEnvironment", "AbsentPump"]


class AbsentPump:
    """No pump: it moves nothing, and asking it to is a fault of the configuration."""

    @property
    def state(self) -> PumpState:
        """See `ports.Pump`."""
        return PumpState(0.0, acknowledged=True)

    def set_flow(self, flow_ml_min: float) -> PumpState:
        """See `ports.Pump`."""
        if flow_ml_min != 0:
            raise InputError(
                "this box has no pump", where="pump.driver", got=f"{flow_ml_min:g} mL/min",
                remedy='Set pump.driver = "serial", or a mode and volume that need none.',
            )  # fmt: skip
        return self.state

    def set_valve(self, open_: bool) -> PumpState:
        """See `ports.Pump`."""
        if open_:
            raise InputError("this box has no valve", where="pump.driver")
        return self.state

    def volume_ml(self) -> float:
        """See `ports.Pump`."""
        return 0.0

    def close(self) -> None:
        """See `ports.Pump`."""


class AbsentEnvironment:
    """No sensors: every reading is unknown."""

    def read(self) -> EnvironmentReading:
        """See `ports.Environment`."""
        return EnvironmentReading()

    def close(self) -> None:
        """See `ports.Environment`."""
