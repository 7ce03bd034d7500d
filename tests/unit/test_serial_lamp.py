"""The lamp believes what is in force, not what was acknowledged."""

from __future__ import annotations

from typing import Any, cast

import pytest

from device.drivers.serial_lamp import SerialLamp
from device.drivers.serial_line import SerialLine
from device.drivers.serial_protocol import ControllerReply, ControllerStatus, PacketKind
from device.errors import HardwareError


class Agreeable:
    """A line to a controller that says yes to everything and lights `factor` times the current, on `channel`."""

    port = "/dev/agreeable"

    def __init__(self, factor: float, channel: int = 0) -> None:
        self._factor, self._channel = factor, channel
        self.asked: list[tuple[Any, ...]] = []

    def share(self) -> Agreeable:
        return self

    def ask(self, kind: PacketKind, *arguments: int, tries: int = 3) -> ControllerReply:
        self.asked.append((kind, *arguments))
        microamps = round(arguments[1] * self._factor) if kind is PacketKind.LAMP else 0
        return ControllerReply(True, 0, ControllerStatus(boot_id=1, lamp_channel=self._channel, lamp_microamps=microamps))

    def close(self) -> None: ...


def lamp(factor: float = 1.0, channel: int = 0) -> tuple[SerialLamp, Agreeable]:
    line = Agreeable(factor, channel)
    return SerialLamp(cast("SerialLine", line), max_current_ma=50.0), line


def test_the_current_goes_out_in_microamperes() -> None:
    made, line = lamp()
    assert made.set_current(12.5).current_ma == 12.5
    assert line.asked[-1] == (PacketKind.LAMP, 0, 12_500)


@pytest.mark.parametrize(("factor", "channel"), [(0.5, 0), (1.5, 0), (1.0, 3)])
def test_another_current_or_channel_in_force_is_a_refusal_and_the_lamp_goes_off(factor: float, channel: int) -> None:
    made, line = lamp(factor, channel)
    with pytest.raises(HardwareError, match="refused the current"):
        made.set_current(20.0)
    assert line.asked[-1] == (PacketKind.OFF,)


def test_the_steps_of_a_dimmer_are_no_refusal() -> None:
    made, _ = lamp(1.01)
    assert made.set_current(20.0).current_ma == pytest.approx(20.2)
