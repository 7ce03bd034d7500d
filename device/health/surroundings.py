"""What the environment sensors say, and whether a box should be left alone in it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from device.drivers.ports import Environment, EnvironmentReading
from device.errors import HolonodeError
from device.messaging.payloads import Check

__all__ = ["surroundings_checks"]

_HUMID_PERCENT = 85.0
"""Beyond this a window that is a few degrees colder than the air mists over."""
_TEMPERATURE_C = (-20.0, 60.0)
"""What Raspberry Pi, sensor and pump are made for."""
_PRESSURE_HPA = (500.0, 1100.0)
"""Five kilometres up to the Dead Sea."""
_SUPPLY_V = (4.75, 5.25)
"""Five volts within USB's five per cent."""
_LEAST_V = 4.63
"""Where a Raspberry Pi warns of under-voltage."""


def surroundings_checks(environment: Environment) -> list[Check]:
    """One check for each sensor there is."""
    try:
        reading = environment.read()
    except HolonodeError as error:
        return [
            Check(
                name="environment",
                status="failed",
                message=str(error),
                remedy=error.remedy or "Check the controller's cable",
            )
        ]
    checks = list(_checks(reading))
    return checks or [Check(name="environment", status="not evaluated", message="no such sensors")]


def _checks(reading: EnvironmentReading) -> Iterator[Check]:
    if reading.temperature_c is not None:
        yield _within("temperature", reading.temperature_c, "degrees C", _TEMPERATURE_C, "Shade, ventilate or insulate the box")
    if reading.humidity_percent is not None:
        humid = reading.humidity_percent > _HUMID_PERCENT
        yield Check(
            name="humidity", status="warning" if humid else "ok", value=round(reading.humidity_percent), unit="%",
            message="the window may mist over" if humid else "", remedy="Change the desiccant, heat the window" if humid else "",
        )  # fmt: skip
    if reading.pressure_hpa is not None:
        yield _within("pressure", reading.pressure_hpa, "hPa", _PRESSURE_HPA, "Check the pressure sensor")
    if reading.supply_v is not None:
        check = _within("supply", reading.supply_v, "V", _SUPPLY_V, "Check power supply, battery and cable", digits=2)
        yield msgspec.structs.replace(check, status="failed") if reading.supply_v < _LEAST_V else check


def _within(name: str, value: float, unit: str, limits: tuple[float, float], remedy: str, digits: int = 1) -> Check:
    good = limits[0] <= value <= limits[1]
    return Check(
        name=name, status="ok" if good else "warning", value=round(value, digits), unit=unit,
        message="" if good else f"outside of {limits[0]:g} to {limits[1]:g} {unit}", remedy="" if good else remedy,
    )  # fmt: skip
