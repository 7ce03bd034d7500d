"""What the controller's sensors measure, from their shares of the supply, and the Environment port made of it.

Parts and formulae are those of deploy/firmware/PROTOCOL.md; None stands where no such sensor is connected.
"""

from __future__ import annotations

import math
from enum import IntEnum

from device.drivers.ports import EnvironmentReading
from device.drivers.serial_line import SerialLine
from device.drivers.serial_protocol import ControllerStatus, PacketKind
from device.errors import HardwareError

__all__ = ["SerialEnvironment", "humidity_percent", "photodiode_v", "pressure_hpa", "supply_v", "temperature_c"]

_REFERENCE_V = 2.5
"""Shunt reference LM4040, 0.5 %."""
_SERIES_OHM = _NTC_25_OHM = 10_000.0
_NTC_BETA_K = 3977.0
"""Vishay NTCLE100E3103, 25 to 85 degrees, data sheet."""
_KELVIN = 273.15


class _Sensor(IntEnum):
    """Places in Status.sensors."""

    PHOTODIODE = 0
    THERMISTOR = 1
    HUMIDITY = 2
    PRESSURE = 3
    REFERENCE = 4


def supply_v(status: ControllerStatus) -> float | None:
    """Of the controller: the reference against it."""
    share = status.sensors[_Sensor.REFERENCE]
    # No supply that the controller runs at makes less than a third or more than all of the reference.
    return _REFERENCE_V / share if 0.3 < share < 1 else None


def photodiode_v(status: ControllerStatus) -> float | None:
    """At the output of the photodiode's amplifier."""
    supply = supply_v(status)
    return None if supply is None else status.sensors[_Sensor.PHOTODIODE] * supply


def temperature_c(status: ControllerStatus) -> float | None:
    """Of the thermistor, -40 to 125 degrees."""
    share = status.sensors[_Sensor.THERMISTOR]
    if not 0 < share < 1:
        return None
    ohm = _SERIES_OHM * share / (1 - share)
    celsius = 1 / (1 / (25 + _KELVIN) + math.log(ohm / _NTC_25_OHM) / _NTC_BETA_K) - _KELVIN
    return celsius if -40 <= celsius <= 125 else None


def humidity_percent(status: ControllerStatus) -> float | None:
    """Relative humidity of a Honeywell HIH-4030, compensated for the thermistor's temperature where there is one."""
    share = status.sensors[_Sensor.HUMIDITY]
    if share < 0.15:
        return None
    celsius = temperature_c(status)
    percent = (share - 0.16) / 0.0062 / (1.0546 - 0.00216 * (25.0 if celsius is None else celsius))
    return min(max(percent, 0.0), 100.0)


def pressure_hpa(status: ControllerStatus) -> float | None:
    """Absolute pressure of an NXP MPXA6115A, 150 to 1150 hPa."""
    hpa = (status.sensors[_Sensor.PRESSURE] + 0.095) / 0.0009
    return hpa if 150 <= hpa <= 1150 else None


class SerialEnvironment:
    """See `ports.Environment`."""

    def __init__(self, line: SerialLine) -> None:
        self._line = line.share()
        self._closed = False

    def read(self) -> EnvironmentReading:
        """See `ports.Environment`."""
        if self._closed:
            raise HardwareError("the environment sensors are closed", where=self._line.port, remedy="Open them again.")
        status = self._line.ask(PacketKind.QUERY).status
        return EnvironmentReading(temperature_c(status), humidity_percent(status), pressure_hpa(status), supply_v(status))

    def close(self) -> None:
        """See `ports.Environment`."""
        if not self._closed:
            self._closed = True
            self._line.close()
