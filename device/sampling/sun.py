"""Sunrise and sunset: the equations of NOAA's solar calculator (after Meeus, Astronomical Algorithms (1991), chapter 25).

Times are those of the upper limb on a sea horizon, with 34' of refraction: the zenith angle is 90.833 degrees. Between the polar
circles they agree with almanacs to about a minute.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

__all__ = ["SunEvent", "sun_time"]

SunEvent = Literal["sunrise", "sunset"]

_ZENITH_DEGREES = 90.833
_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


def sun_time(day: date, event: SunEvent, latitude_degrees: float, longitude_degrees: float) -> datetime | None:
    """When the sun rises or sets on a day of a place (north and east positive), UTC; None where it doesn't that day.

    The day is that of the place's own noon, whatever its time zone.
    """
    noon = datetime.combine(day, time(12), UTC) - timedelta(minutes=4 * longitude_degrees)
    moment = noon
    # The sun moves on between noon and the event: twice is enough for seconds.
    for _ in range(3):
        declination, equation_minutes = _position(moment)
        hour_angle = _hour_angle(latitude_degrees, declination)
        if hour_angle is None:
            return None
        minutes = 4 * math.degrees(hour_angle) * (1 if event == "sunset" else -1)
        moment = noon + timedelta(minutes=minutes - equation_minutes)
    return moment


def _position(moment: datetime) -> tuple[float, float]:
    """Declination in radians and the equation of time in minutes."""
    century = (moment - _J2000).total_seconds() / 86400 / 36525
    longitude = math.radians((280.46646 + century * (36000.76983 + century * 0.0003032)) % 360)
    anomaly = math.radians(357.52911 + century * (35999.05029 - 0.0001537 * century))
    eccentricity = 0.016708634 - century * (0.000042037 + 0.0000001267 * century)
    centre = (
        math.sin(anomaly) * (1.914602 - century * (0.004817 + 0.000014 * century))
        + math.sin(2 * anomaly) * (0.019993 - 0.000101 * century)
        + math.sin(3 * anomaly) * 0.000289
    )
    node = math.radians(125.04 - 1934.136 * century)
    apparent = longitude + math.radians(centre - 0.00569 - 0.00478 * math.sin(node))
    mean_obliquity = 23 + (26 + (21.448 - century * (46.815 + century * (0.00059 - century * 0.001813))) / 60) / 60
    obliquity = math.radians(mean_obliquity + 0.00256 * math.cos(node))
    declination = math.asin(math.sin(obliquity) * math.sin(apparent))
    y = math.tan(obliquity / 2) ** 2
    equation = (
        y * math.sin(2 * longitude)
        - 2 * eccentricity * math.sin(anomaly)
        + 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * longitude)
        - 0.5 * y * y * math.sin(4 * longitude)
        - 1.25 * eccentricity**2 * math.sin(2 * anomaly)
    )
    return declination, 4 * math.degrees(equation)


def _hour_angle(latitude_degrees: float, declination: float) -> float | None:
    """Radians from noon to the event; None in polar day or night."""
    latitude = math.radians(latitude_degrees)
    cosine = math.cos(math.radians(_ZENITH_DEGREES)) / (math.cos(latitude) * math.cos(declination))
    cosine -= math.tan(latitude) * math.tan(declination)
    return math.acos(cosine) if -1 <= cosine <= 1 else None
