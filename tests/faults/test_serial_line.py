"""A controller on a bad cable."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from device.drivers.serial_lamp import SerialLamp
from device.drivers.serial_line import SerialLine, find_port
from device.drivers.serial_pump import SerialPump
from device.errors import HardwareError
from device.twin.world import SimulatedTime
from tests.controller import Controller


@pytest.fixture
def controller() -> Iterator[Controller]:
    made = Controller()
    yield made
    made.close()


@pytest.fixture
def lamp(controller: Controller) -> Iterator[SerialLamp]:
    made = SerialLamp(SerialLine(controller.port, timeout_s=0.25))
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
    assert lamp._line.resets == 1
    assert lamp.set_current(20.0).is_on
    assert lamp.state.is_on


def test_a_controller_that_never_answers_is_one_clear_error() -> None:
    mute = Controller()
    mute.silent = True
    try:
        with pytest.raises(HardwareError, match=r"doesn't answer .*after 3 tries") as raised:
            SerialLamp(SerialLine(mute.port, timeout_s=0.1))
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
        SerialLamp(SerialLine("/dev/no-such-port", timeout_s=0.05))


def test_a_refusal_leaves_the_lamp_off() -> None:
    weak = Controller(max_microamps=5000)
    lamp = SerialLamp(SerialLine(weak.port, timeout_s=0.25))
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
    lamp = SerialLamp(SerialLine(str(link), timeout_s=0.25))
    lamp.set_current(20.0)
    first.unplug()
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)
    second = Controller()
    second.reset()
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


def test_a_port_that_comes_back_under_another_name_is_found_again(controller: Controller, tmp_path: Path) -> None:
    """As /dev/ttyUSB0 that is ttyUSB1 after a plug: a glob names whichever there is."""
    (tmp_path / "tty0").symlink_to(controller.port)
    lamp = SerialLamp(SerialLine(str(tmp_path / "tty*"), timeout_s=0.25))
    lamp.set_current(20.0)
    (tmp_path / "tty0").unlink()
    controller.unplug()
    with pytest.raises(HardwareError, match="port isn't there"):
        lamp.set_current(10.0)
    controller.plug()
    (tmp_path / "tty1").symlink_to(controller.port)
    # It ran on meanwhile, and says so itself.
    assert lamp.state.current_ma == 20.0
    assert lamp.set_current(15.0).is_on
    lamp.close()


def test_two_ports_that_could_be_the_controllers_are_one_clear_error(tmp_path: Path) -> None:
    for name in ("tty0", "tty1"):
        (tmp_path / name).touch()
    with pytest.raises(HardwareError, match=r"several ports .*tty0, .*tty1"):
        find_port(str(tmp_path / "tty*"))


@dataclass
class UsbPort:
    device: str
    vid: int | None
    pid: int | None
    serial_number: str | None


@pytest.mark.parametrize(
    ("name", "device"),
    [("usb:1a86:7523", "/dev/ttyUSB3"), ("usb:2341:0043:A1", "/dev/ttyACM0"), ("usb:2341:0043:b2", "/dev/ttyACM1")],
)
def test_a_port_is_found_by_its_usb_numbers(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        UsbPort("/dev/ttyS0", None, None, None), UsbPort("/dev/ttyUSB3", 0x1A86, 0x7523, None),
        UsbPort("/dev/ttyACM0", 0x2341, 0x0043, "A1"), UsbPort("/dev/ttyACM1", 0x2341, 0x0043, "B2"),
    ]  # fmt: skip
    monkeypatch.setattr("device.drivers.serial_line.list_ports.comports", lambda: there)
    assert find_port(name) == device
    with pytest.raises(HardwareError, match="several ports"):
        find_port("usb:2341:0043")
    with pytest.raises(HardwareError, match="isn't there"):
        find_port("usb:dead:beef")


def test_answers_cut_in_the_middle_are_asked_for_again(controller: Controller, lamp: SerialLamp) -> None:
    controller.cut_next = 2
    assert lamp.set_current(10.0).is_on


def test_a_pump_that_was_reset_is_unacknowledged_and_its_volume_stays_what_is_sure(controller: Controller) -> None:
    clock = SimulatedTime()
    pump = SerialPump(SerialLine(controller.port, timeout_s=0.25), full_flow_ml_min=6000.0, monotonic=clock.monotonic)
    pump.set_flow(6000.0)
    clock.sleep(10.0)
    assert pump.volume_ml() == pytest.approx(1000.0)
    controller.reset()
    clock.sleep(10.0)
    assert not pump.state.acknowledged
    assert pump.volume_ml() == pytest.approx(1000.0)
    assert pump.set_flow(3000.0).acknowledged
    pump.close()


def test_a_flow_meter_tells_the_volume_across_resets(controller: Controller) -> None:
    controller.pulse_flow(100)
    pump = SerialPump(SerialLine(controller.port, timeout_s=0.25), full_flow_ml_min=6000.0, meter_ml_per_pulse=2.5)
    controller.pulse_flow(4)
    assert pump.volume_ml() == pytest.approx(10.0)
    controller.reset()
    controller.pulse_flow(2)
    assert pump.volume_ml() == pytest.approx(15.0)
    pump.close()


def test_the_line_asks_by_itself_while_something_is_on(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device.drivers.serial_line._KEEP_ALIVE_S", 0.05)
    lamp = SerialLamp(SerialLine(controller.port, timeout_s=0.25))
    lamp.set_current(20.0)
    heard = controller.heard
    until = time.monotonic() + 120
    while controller.heard < heard + 3 and time.monotonic() < until:
        time.sleep(0.02)
    assert controller.heard >= heard + 3
    lamp.off()
    heard = controller.heard
    time.sleep(0.3)
    assert controller.heard == heard
    lamp.close()


def test_the_port_is_closed_with_its_last_user(controller: Controller) -> None:
    line = SerialLine(controller.port, timeout_s=0.25)
    lamp, pump = SerialLamp(line), SerialPump(line, full_flow_ml_min=1000.0)
    lamp.close()
    assert pump.set_flow(500.0).acknowledged
    pump.close()
    assert controller.pump() == 0
    other = SerialLamp(SerialLine(controller.port, timeout_s=0.25))
    other.close()
