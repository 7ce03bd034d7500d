"""What every lamp promises, asked of every lamp."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device.drivers.ports import Lamp
from device.drivers.serial_lamp import SerialLamp
from device.drivers.serial_line import SerialLine
from device.drivers.twin import TwinLamp
from device.errors import HardwareError, InputError
from tests.contract.controllers import CONTROLLERS, STEP_MA
from tests.worlds import small_world


@pytest.fixture(params=["twin", *CONTROLLERS])
def lamp(request: pytest.FixtureRequest) -> Iterator[Lamp]:
    if request.param == "twin":
        yield TwinLamp(small_world())
        return
    controller = CONTROLLERS[request.param]()
    # What the sensors see of a lamp: a photodiode at half the supply, the reference.
    controller.set_sensors(0.5, 0.0, 0.0, 0.0, 0.5)
    driver = SerialLamp(SerialLine(controller.port, timeout_s=1.0))
    yield driver
    driver.close()
    controller.close()


def test_it_is_a_lamp(lamp: Lamp) -> None:
    assert isinstance(lamp, Lamp)


def test_it_is_off_after_construction(lamp: Lamp) -> None:
    assert lamp.state.acknowledged
    assert lamp.state.current_ma == 0
    assert not lamp.state.is_on


@pytest.mark.parametrize("channel", [0, 1])
def test_it_tells_the_state_that_was_acknowledged(lamp: Lamp, channel: int) -> None:
    given = lamp.set_current(17.3, channel)
    assert given.is_on
    assert given.channel == channel
    assert given.current_ma == pytest.approx(17.3, abs=STEP_MA)
    assert (lamp.state.channel, lamp.state.current_ma) == (channel, given.current_ma)
    assert not lamp.off().is_on
    assert lamp.state.current_ma == 0


def test_acknowledgements_are_stamped_in_order(lamp: Lamp) -> None:
    first = lamp.set_current(5.0).acknowledged_ns
    assert lamp.set_current(6.0).acknowledged_ns >= first


@pytest.mark.parametrize("current_ma", [-1.0, 51.0, float("nan")])
def test_a_current_out_of_range_is_refused_and_leaves_it_off(lamp: Lamp, current_ma: float) -> None:
    lamp.set_current(20.0)
    with pytest.raises(InputError, match="out of range"):
        lamp.set_current(current_ma)
    assert lamp.state.current_ma == 0


def test_a_strobe_is_part_of_the_state_and_holds_until_it_is_changed(lamp: Lamp) -> None:
    assert not lamp.set_strobe(100.0, 2000.0).is_on
    for _ in range(2):
        given = lamp.set_current(20.0)
        assert (given.strobe_delay_us, given.strobe_width_us) == (100, 2000)
        assert lamp.state.lit_us(10_000.0) == 2000
        lamp.off()
    lamp.set_strobe(0.0, 0.0)
    assert lamp.set_current(20.0).lit_us(10_000.0) == 10_000


@pytest.mark.parametrize("strobe_us", [(10.0, 1000.0), (100.0, 20_000.0), (100.0, 0.0), (-1.0, 100.0), (100.0, 1e9)])
def test_a_strobe_out_of_range_is_refused_and_leaves_it_off(lamp: Lamp, strobe_us: tuple[float, float]) -> None:
    lamp.set_current(20.0)
    with pytest.raises(InputError, match="strobe out of range"):
        lamp.set_strobe(*strobe_us)
    assert lamp.state.acknowledged
    assert lamp.state.current_ma == 0


def test_it_is_measured(lamp: Lamp) -> None:
    lamp.set_current(25.0)
    reading = lamp.read()
    assert reading.photodiode_v == pytest.approx(2.5, abs=0.1)
    assert (reading.triggers, reading.strobes) == (0, 0)


def test_closing_twice_is_safe_and_then_it_refuses(lamp: Lamp) -> None:
    lamp.set_current(20.0)
    lamp.close()
    lamp.close()
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)
