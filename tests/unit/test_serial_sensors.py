"""What the controller's sensors measure, by the formulae of deploy/firmware/PROTOCOL.md."""

from __future__ import annotations

import math

import pytest

from device.drivers.serial_protocol import ControllerStatus
from device.drivers.serial_sensors import humidity_percent, photodiode_v, pressure_hpa, supply_v, temperature_c


def status(
    photodiode: float = 0.0, thermistor: float = 0.0, humidity: float = 0.0, pressure: float = 0.0, reference: float = 0.5
):
    return ControllerStatus(sensors=(photodiode, thermistor, humidity, pressure, reference))


def thermistor_share(celsius: float) -> float:
    """Of 10 kOhm at 25 degrees, beta 3977 K, to ground below 10 kOhm to the supply."""
    ohm = 10_000 * math.exp(3977 * (1 / (celsius + 273.15) - 1 / 298.15))
    return ohm / (ohm + 10_000)


def test_the_reference_tells_the_supply_and_the_supply_the_photodiode() -> None:
    assert supply_v(status(reference=0.5)) == pytest.approx(5.0)
    assert supply_v(status(reference=2.5 / 3.3)) == pytest.approx(3.3)
    assert photodiode_v(status(photodiode=0.4, reference=0.5)) == pytest.approx(2.0)
    assert photodiode_v(status(photodiode=0.4, reference=0.0)) is None


@pytest.mark.parametrize("celsius", [-20.0, 0.0, 25.0, 60.0])
def test_the_thermistor_tells_the_temperature(celsius: float) -> None:
    assert temperature_c(status(thermistor=thermistor_share(celsius))) == pytest.approx(celsius, abs=0.01)


def test_humidity_is_that_at_the_temperature_there_is() -> None:
    share = 0.16 + 0.0062 * 50 * (1.0546 - 0.00216 * 40)
    assert humidity_percent(status(humidity=share, thermistor=thermistor_share(40.0))) == pytest.approx(50.0, abs=0.01)
    # Without a thermistor it is taken to be 25 degrees.
    assert humidity_percent(status(humidity=0.16 + 0.0062 * 50 * (1.0546 - 0.00216 * 25))) == pytest.approx(50.0, abs=0.01)
    assert humidity_percent(status(humidity=0.1)) is None


def test_pressure_is_absolute() -> None:
    assert pressure_hpa(status(pressure=0.0009 * 1013.25 - 0.095)) == pytest.approx(1013.25)
    assert pressure_hpa(status(pressure=0.0)) is None
