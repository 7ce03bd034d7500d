"""Pump, valve and flow meter on the controller's line. The state is what the controller acknowledged."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from device.drivers.ports import PumpState
from device.drivers.serial_line import SerialLine
from device.drivers.serial_protocol import FULL_DRIVE, ControllerReply, ControllerStatus, PacketKind
from device.errors import HardwareError, InputError

__all__ = ["SerialPump"]

_UNKNOWN = PumpState(0.0, acknowledged=False)


class SerialPump:
    """See `ports.Pump`. Off and closed once it is constructed.

    `full_flow_ml_min` flows at full drive, and in proportion below it. The volume is the flow meter's where
    `meter_ml_per_pulse` is given; else flow times time, as long as the controller says, at both ends, that the pump runs.
    """

    def __init__(
        self,
        line: SerialLine,
        *,
        full_flow_ml_min: float,
        meter_ml_per_pulse: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._line, self._full_flow_ml_min, self._meter_ml = line.share(), full_flow_ml_min, meter_ml_per_pulse
        self._monotonic = monotonic
        self._set_in_boot: int | None = None
        self._last: ControllerStatus | None = None
        self._last_s = 0.0
        self._moved_ml = 0.0
        self._closed = False
        try:
            self.set_valve(False)
            self.set_flow(0.0)
        except HardwareError:
            line.close()
            raise

    @property
    def state(self) -> PumpState:
        """What the controller says now; unacknowledged where it doesn't answer or was reset since it was set."""
        if self._closed:
            return _UNKNOWN
        try:
            status = self._ask(PacketKind.QUERY, tries=1).status
        except HardwareError:
            return _UNKNOWN
        return self._state(status) if status.boot_id == self._set_in_boot else _UNKNOWN

    def set_flow(self, flow_ml_min: float) -> PumpState:
        """See `ports.Pump`."""
        self._refuse_if_closed()
        if not 0 <= flow_ml_min <= self._full_flow_ml_min:
            self._switch_off_quietly()
            raise InputError(
                "pump flow out of range", expected=f"0 to {self._full_flow_ml_min:g} mL/min", got=f"{flow_ml_min:g} mL/min"
            )
        drive = round(flow_ml_min / self._full_flow_ml_min * FULL_DRIVE)
        # What ran until here is accounted for before it changes.
        self.volume_ml()
        answer = self._obeyed(PacketKind.PUMP, drive)
        if abs(answer.status.pump_drive - drive) > 0.005 * FULL_DRIVE or (drive == 0 and answer.status.pump_drive > 0):
            self._refused(f"{flow_ml_min:g} mL/min", f"{self._state(answer.status).flow_ml_min:g} mL/min in force")
        return self._state(answer.status)

    def set_valve(self, open_: bool) -> PumpState:
        """See `ports.Pump`."""
        self._refuse_if_closed()
        answer = self._obeyed(PacketKind.VALVE, int(open_))
        if answer.status.valve_open != open_:
            self._refused(f"valve {'open' if open_ else 'closed'}", f"{'open' if answer.status.valve_open else 'closed'}")
        return self._state(answer.status)

    def volume_ml(self) -> float:
        """See `ports.Pump`; never more than what is sure where the controller doesn't answer."""
        if not self._closed:
            with contextlib.suppress(HardwareError):
                self._ask(PacketKind.QUERY, tries=1)
        return self._moved_ml

    def close(self) -> None:
        """See `ports.Pump`."""
        if self._closed:
            return
        self._switch_off_quietly()
        self._closed = True
        self._line.close()

    def _obeyed(self, kind: PacketKind, argument: int) -> ControllerReply:
        try:
            answer = self._ask(kind, argument)
        except HardwareError:
            # The controller may have obeyed a question whose answer was lost.
            self._switch_off_quietly()
            raise
        if not answer.acknowledged:
            self._refused(f"{kind.name} {argument}", "a refusal")
        self._set_in_boot = answer.status.boot_id
        return answer

    def _refused(self, expected: str, got: str) -> None:
        self._switch_off_quietly()
        raise HardwareError(
            "the pump controller refused", where=self._line.port, expected=expected, got=got,
            remedy="Check the controller's firmware.",
        )  # fmt: skip

    def _ask(self, kind: PacketKind, *arguments: int, tries: int = 3) -> ControllerReply:
        answer = self._line.ask(kind, *arguments, tries=tries)
        self._account(answer.status)
        return answer

    def _account(self, status: ControllerStatus) -> None:
        """Add what moved since the answer before this one."""
        now_s, last = self._monotonic(), self._last
        same_boot = last is not None and last.boot_id == status.boot_id
        if last is not None and self._meter_ml > 0:
            # The meter counts from 0 at each start of the controller.
            since = last.flow_pulses if same_boot else 0
            self._moved_ml += (status.flow_pulses - since) % 2**32 * self._meter_ml
        elif last is not None and same_boot and status.pump_drive == last.pump_drive:
            self._moved_ml += self._flow_ml_min(last) * (now_s - self._last_s) / 60
        self._last, self._last_s = status, now_s

    def _flow_ml_min(self, status: ControllerStatus) -> float:
        return status.pump_drive / FULL_DRIVE * self._full_flow_ml_min

    def _state(self, status: ControllerStatus) -> PumpState:
        return PumpState(self._flow_ml_min(status), True, status.valve_open)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise HardwareError("the pump is closed", where=self._line.port, remedy="Open it again before using it.")

    def _switch_off_quietly(self) -> None:
        # Whoever calls this already has an error to raise, or is leaving.
        with contextlib.suppress(HardwareError):
            self._ask(PacketKind.PUMP, 0)
        with contextlib.suppress(HardwareError):
            self._ask(PacketKind.VALVE, 0)
