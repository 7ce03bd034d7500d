"""What every environment promises, asked of every environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from device.drivers.ports import Environment
from device.drivers.serial_line import SerialLine
from device.drivers.serial_sensors import SerialEnvironment
from device.drivers.twin import TwinEnvironment
from device.errors import HardwareError
from tests.contract.controllers import CONTROLLERS
from tests.worlds import small_world

# At 5.1 V, by the data sheets: thermistor at 25 degrees, HIH-4030 at 50 %, MPXA6115A at 1013 hPa, LM4040-2.5.
MILD_DAY = (0.0, 0.5, 0.16 + 0.0062 * 50 * (1.0546 - 0.00216 * 25), 0.0009 * 1013 - 0.095, 2.5 / 5.1)


@pytest.fixture(params=["twin", *CONTROLLERS])
def environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    if request.param == "twin":
        yield TwinEnvironment(small_world(side_px=64))
        return
    controller = CONTROLLERS[request.param]()
    if request.param == "firmware":
        controller.set_sensors(*MILD_DAY, supply_v=5.1)
    else:
        controller.set_sensors(*MILD_DAY)
    driver = SerialEnvironment(SerialLine(controller.port, timeout_s=1.0))
    yield driver
    driver.close()
    controller.close()


def test_it_is_an_environment(environment: Environment) -> None:
    assert isinstance(environment, Environment)


def test_it_reads_a_mild_day(environment: Environment) -> None:
    reading = environment.read()
    assert reading.temperature_c == pytest.approx(25.0, abs=0.2)
    assert reading.humidity_percent == pytest.approx(50.0, abs=0.5)
    assert reading.pressure_hpa == pytest.approx(1013.0, abs=2.0)
    assert reading.supply_v == pytest.approx(5.1, abs=0.02)


def test_closing_twice_is_safe_and_then_it_refuses(environment: Environment) -> None:
    environment.close()
    environment.close()
    with pytest.raises(HardwareError):
        environment.read()
