"""The lamp on the controller's line. Its state is what the controller acknowledged, never what was asked."""

from __future__ import annotations

import contextlib
import time

from device.drivers.ports import LampReading
from device.drivers.serial_line import SerialLine
from device.drivers.serial_protocol import ControllerReply, ControllerStatus, PacketKind
from device.drivers.serial_sensors import photodiode_v
from device.errors import HardwareError, HolonodeError, InputError
from device.frames import LampState

__all__ = ["SerialLamp"]

_UNKNOWN = LampState(0, 0.0, acknowledged=False)


class SerialLamp:
    """See `ports.Lamp`. Off once it is constructed, off after any error that leaves the line working."""

    def __init__(self, line: SerialLine, *, max_current_ma: float = 50.0) -> None:
        self._line, self._max_current_ma = line.share(), max_current_ma
        self._set_in_boot: int | None = None
        self._strobe_us = (0, 0)
        self._closed = False
        try:
            self.set_strobe(0, 0)
        except HolonodeError:
            # The port is held exclusively: whoever tries again must find it free.
            line.close()
            raise

    @property
    def state(self) -> LampState:
        """What the controller says now; unacknowledged where it doesn't answer or was reset since it was set."""
        if self._closed:
            return _UNKNOWN
        try:
            answer = self._line.ask(PacketKind.QUERY, tries=1)
        except HardwareError:
            return _UNKNOWN
        known = answer.acknowledged and answer.status.boot_id == self._set_in_boot
        return _state(answer.status) if known else _UNKNOWN

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        """See `ports.Lamp`."""
        self._refuse_if_closed()
        if not 0 <= current_ma <= self._max_current_ma:
            self._switch_off_quietly()
            raise InputError(
                "lamp current out of range", expected=f"0 to {self._max_current_ma:g} mA", got=f"{current_ma:g} mA"
            )
        if not 0 <= channel <= 255:
            self._switch_off_quietly()
            raise InputError("no such lamp channel", expected="0 to 255", got=channel)
        try:
            if self._strobe_us != (0, 0):
                # A controller that was reset would light steadily.
                self._line.ask(PacketKind.STROBE, *self._strobe_us)
            answer = self._line.ask(PacketKind.LAMP, channel, round(current_ma * 1000))
        except HardwareError:
            # The controller may have obeyed a question whose answer was lost.
            self._switch_off_quietly()
            raise
        self._check(answer, current_ma, channel)
        self._set_in_boot = answer.status.boot_id
        return _state(answer.status)

    def _check(self, answer: ControllerReply, current_ma: float, channel: int) -> None:
        status = answer.status
        given_ma = status.lamp_microamps / 1000
        # No channel is on at 0 mA, whichever was named. The controller rounds to steps of its own.
        right_channel = given_ma == 0 or status.lamp_channel == channel
        in_force = abs(given_ma - current_ma) <= max(0.005 * self._max_current_ma, 0.25)
        if answer.acknowledged and in_force and right_channel and self._strobe_of(answer) == self._strobe_us:
            return
        self._switch_off_quietly()
        raise HardwareError(
            "the lamp controller refused the current", where=self._line.port, expected=f"{current_ma:g} mA on channel {channel}",
            got=f"{given_ma:g} mA on channel {status.lamp_channel} in force", remedy="Check the channel and the driver's limit.",
        )  # fmt: skip

    def set_strobe(self, delay_us: float, width_us: float) -> LampState:
        """See `ports.Lamp`."""
        self._refuse_if_closed()
        wanted = (round(delay_us), round(width_us))
        if not all(0 <= us <= 0xFFFF for us in wanted):
            self._switch_off_quietly()
            raise InputError("strobe out of range", expected="0 to 65535 us", got=f"{delay_us:g} us, {width_us:g} us")
        answer = self._line.ask(PacketKind.STROBE, *wanted)
        if not answer.acknowledged or self._strobe_of(answer) != wanted:
            self._switch_off_quietly()
            raise InputError(
                "strobe out of range", where=self._line.port, expected="delay and width that the controller knows, 20 to 16000 us",
                got=f"delay {delay_us:g} us, width {width_us:g} us",
            )  # fmt: skip
        self._strobe_us = wanted
        return self.off()

    def off(self) -> LampState:
        """See `ports.Lamp`."""
        self._refuse_if_closed()
        answer = self._line.ask(PacketKind.OFF)
        if not answer.acknowledged or answer.status.lamp_microamps != 0:
            raise HardwareError(
                "the lamp controller says the lamp is still on", where=self._line.port,
                got=f"{answer.status.lamp_microamps / 1000:g} mA", remedy="Unplug the lamp; the controller is faulty.",
            )  # fmt: skip
        self._set_in_boot = answer.status.boot_id
        return _state(answer.status)

    def read(self) -> LampReading:
        """See `ports.Lamp`."""
        self._refuse_if_closed()
        status = self._line.ask(PacketKind.QUERY).status
        return LampReading(photodiode_v(status), status.triggers, status.strobes)

    def close(self) -> None:
        """See `ports.Lamp`."""
        if self._closed:
            return
        self._switch_off_quietly()
        self._closed = True
        self._line.close()

    @staticmethod
    def _strobe_of(answer: ControllerReply) -> tuple[int, int]:
        return answer.status.strobe_delay_us, answer.status.strobe_width_us

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise HardwareError("the lamp is closed", where=self._line.port, remedy="Open it again before using it.")

    def _switch_off_quietly(self) -> None:
        # Whoever calls this already has an error to raise, or is leaving.
        with contextlib.suppress(HardwareError):
            self.off()


def _state(status: ControllerStatus) -> LampState:
    return LampState(
        status.lamp_channel,
        status.lamp_microamps / 1000,
        True,
        time.monotonic_ns(),
        status.strobe_delay_us,
        status.strobe_width_us,
    )
