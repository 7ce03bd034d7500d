"""What every lamp promises, asked of every lamp."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device.drivers.ports import Lamp
from device.drivers.serial_lamp import SerialLamp
from device.drivers.twin import TwinLamp
from device.errors import HardwareError, InputError
from tests.controller import Controller
from tests.worlds import small_world


@pytest.fixture(params=["twin", "serial"])
def lamp(request: pytest.FixtureRequest) -> Iterator[Lamp]:
    if request.param == "twin":
        yield TwinLamp(small_world())
        return
    controller = Controller()
    driver = SerialLamp(controller.port, timeout_s=0.3)
    yield driver
    driver.close()
    controller.unplug()


def test_it_is_a_lamp(lamp: Lamp) -> None:
    assert isinstance(lamp, Lamp)


def test_it_is_off_after_construction(lamp: Lamp) -> None:
    assert lamp.state.acknowledged
    assert lamp.state.current_ma == 0
    assert not lamp.state.is_on


def test_it_tells_the_state_that_was_acknowledged(lamp: Lamp) -> None:
    given = lamp.set_current(20.0)
    assert given.is_on
    assert given.current_ma == 20.0
    assert lamp.state.current_ma == 20.0
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


def test_closing_twice_is_safe_and_then_it_refuses(lamp: Lamp) -> None:
    lamp.set_current(20.0)
    lamp.close()
    lamp.close()
    with pytest.raises(HardwareError):
        lamp.set_current(10.0)
