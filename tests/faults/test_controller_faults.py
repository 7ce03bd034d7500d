"""The short form of `python -m tests.faults.controller_faults`, and that it finds what it looks for."""

from __future__ import annotations

from device.drivers.serial_lamp import SerialLamp
from device.errors import HardwareError
from device.frames import LampState
from tests.controller import Controller
from tests.faults.controller_faults import Campaign, campaign
from tests.firmware import Firmware


def test_no_frame_is_accepted_without_an_acknowledged_lamp() -> None:
    outcome = campaign({Controller: 200}, seed=2)
    assert outcome.sound, str(outcome)


def test_nor_under_the_firmware_itself() -> None:
    outcome = campaign({Firmware: 40}, seed=3)
    assert outcome.sound, str(outcome)


class BelievingLamp(SerialLamp):
    """A driver that takes what it was told last for what is."""

    _told = LampState(0, 0.0, acknowledged=False)

    def set_current(self, current_ma: float, channel: int = 0) -> LampState:
        self._told = super().set_current(current_ma, channel)
        return self._told

    @property
    def state(self) -> LampState:
        return self._told


def test_the_campaign_finds_a_driver_that_believes_itself() -> None:
    believing = Campaign(Controller(), 4, lamp=BelievingLamp)
    try:
        outcome = believing.run(60)
    except HardwareError:
        outcome = believing.outcome
    finally:
        believing.close()
    assert outcome.dark > 0
    assert not outcome.sound
