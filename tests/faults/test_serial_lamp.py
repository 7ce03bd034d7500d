"""A lamp controller on a bad cable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.drivers.serial_lamp import SerialLamp
from device.errors import HardwareError
from tests.controller import Controller


@pytest.fixture
def controller() -> Iterator[Controller]:
    made = Controller()
    yield made
    if made._running:
        made.unplug()


@pytest.fixture
def lamp(controller: Controller) -> Iterator[SerialLamp]:
    made = SerialLamp(controller.port, timeout_s=0.25)
    yield made
    made.close()


def test_one_byte_at_a_time_is_understood(controller: Controller, lamp: SerialLamp) -> None:
    controller.byte_by_byte = True
    assert lamp.set_current(12.5).current_ma == 12.5


def test_lost_questions_are_asked_again(controller: Controller, lamp: SerialLamp) -> None:
    controller.lose_next = 2
    assert lamp.set_current(10.0).is_on


def test_corrupt_answers_are_not_believed(controller: Controller, lamp: SerialLamp) -> None:
    controller.corrupt_next = 2
    assert lamp.set_current(10.0).is_on
    controller.corrupt_next = 99
    with pytest.raises(HardwareError, match="doesn't answer"):
        lamp.set_current(11.0)


@pytest.mark.parametrize("garbage", [b"\xff" * 300, b"\x00\x00\x00", b"boot\r\n", bytes(range(256))])
def test_garbage_is_passed_over(controller: Controller, lamp: SerialLamp, garbage: bytes) -> None:
    # A delimiter ends whatever the garbage began.
    controller.garbage = garbage + b"\x00"
    assert lamp.set_current(10.0).current_ma == 10.0


def test_an_old_acknowledgement_never_counts(controller: Controller, lamp: SerialLamp) -> None:
    lamp.set_current(30.0)
    controller.stale = True
    assert lamp.set_current(10.0).current_ma == 10.0
    assert lamp.off().current_ma == 0


def test_a_reset_makes_the_state_unacknowledged_until_it_is_set_again(controller: Controller, lamp: SerialLamp) -> None:
    lamp.set_current(20.0)
    controller.reset()
    assert not lamp.state.acknowledged
    assert not lamp.state.acknowledged
    assert lamp.resets == 1
    assert lamp.set_current(20.0).is_on
    assert lamp.state.is_on


def test_a_controller_that_never_answers_is_one_clear_error() -> None:
    mute = Controller()
    mute.silent = True
    try:
        with pytest.raises(HardwareError, match=r"doesn't answer .*after 3 tries") as raised:
            SerialLamp(mute.port, timeout_s=0.1)
        assert mute.port in str(raised.value)
        assert "holonode doctor" in str(raised.value)
    finally:
        mute.unplug()


def test_an_unplugged_cable_is_an_error_and_not_a_state(controller: Controller, lamp: SerialLamp) -> None:
    lamp.set_current(20.0)
    controller.unplug()
    assert not lamp.state.acknowledged
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)


def test_a_port_that_does_not_exist_is_one_clear_error() -> None:
    with pytest.raises(HardwareError, match="/dev/no-such-port"):
        SerialLamp("/dev/no-such-port", timeout_s=0.05)


def test_a_refusal_leaves_the_lamp_off() -> None:
    weak = Controller(max_microamps=5000)
    lamp = SerialLamp(weak.port, timeout_s=0.25)
    try:
        with pytest.raises(HardwareError, match="refused"):
            lamp.set_current(20.0)
        assert weak.microamps == 0
    finally:
        lamp.close()
        weak.unplug()


def test_a_current_whose_acknowledgements_are_lost_leaves_the_lamp_off(controller: Controller, lamp: SerialLamp) -> None:
    controller.corrupt_next = 3
    with pytest.raises(HardwareError, match="doesn't answer"):
        lamp.set_current(10.0)
    assert controller.microamps == 0
    assert lamp.state.acknowledged
    assert not lamp.state.is_on


def test_a_cable_that_is_plugged_in_again_works_again(tmp_path: Path) -> None:
    link = tmp_path / "lamp"
    first = Controller()
    link.symlink_to(first.port)
    lamp = SerialLamp(str(link), timeout_s=0.25)
    lamp.set_current(20.0)
    first.unplug()
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)
    second = Controller()
    second.boot_id = first.boot_id + 1
    link.unlink()
    link.symlink_to(second.port)
    try:
        assert not lamp.state.acknowledged
        assert lamp.set_current(15.0).current_ma == 15.0
        assert second.microamps == 15_000
    finally:
        lamp.close()
        second.unplug()


def test_a_closed_lamp_stays_off_the_port(controller: Controller, lamp: SerialLamp) -> None:
    lamp.close()
    heard = controller.heard
    assert not lamp.state.acknowledged
    with pytest.raises(HardwareError, match="closed"):
        lamp.off()
    assert controller.heard == heard
