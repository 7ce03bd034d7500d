"""When the next sample begins.

continuous  one after the other
interval    every so many seconds, counted from the Unix epoch
cron        a cron expression in a time zone
sun         sunrise and sunset at a place, with offsets

A wake depends on the schedule and the time alone, so that a box that was without power goes on as if it had not been.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol, cast
from zoneinfo import ZoneInfo

from device.config import ScheduleConfig
from device.errors import InputError
from device.sampling.sun import SunEvent, sun_time

__all__ = ["Cron", "FixedInterval", "Schedule", "Sun", "missed", "schedule_of", "zone_of"]

_FARTHEST_DAYS = 366 * 9
"""A day that comes at all comes within this: 29 February may take eight years."""
_MOST_COUNTED = 10_000


class Schedule(Protocol):
    """Wakes in order."""

    def next_after(self, moment: datetime) -> datetime | None:
        """The first wake after a moment, both aware, UTC; None where there is none for years."""
        ...


@dataclass(frozen=True)
class FixedInterval:
    """Every so many seconds."""

    every_s: float

    def next_after(self, moment: datetime) -> datetime:
        """See Schedule."""
        return datetime.fromtimestamp((math.floor(moment.timestamp() / self.every_s) + 1) * self.every_s, UTC)


@dataclass(frozen=True)
class Cron:
    """A cron expression: minute, hour, day of month, month, day of week (0 and 7 are Sunday).

    Where day of month and day of week are both restricted either will do, as cron has it. When clocks change, hours that are
    named run once: at the time after the jump where they are skipped, the first time where they come twice; with every hour
    (`*` or `*/n`) the wakes follow the clock on the wall.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool
    any_hour: bool
    zone: ZoneInfo

    @classmethod
    def of(cls, expression: str, zone: ZoneInfo) -> Cron:
        """From its five fields; InputError where they are none."""
        fields = expression.split()
        if len(fields) != 5:
            raise InputError(
                "not a cron expression",
                where="sampling.schedule.cron",
                expected='five fields, e.g. "*/30 6-20 * * *"',
                got=repr(expression),
            )
        limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
        minutes, hours, days, months, weekdays = (
            _field(text, low, high) for text, (low, high) in zip(fields, limits, strict=True)
        )
        either = not fields[2].startswith("*") and not fields[4].startswith("*")
        return cls(minutes, hours, days, months, frozenset(d % 7 for d in weekdays), either, fields[1].startswith("*"), zone)

    def next_after(self, moment: datetime) -> datetime | None:
        """See Schedule."""
        # A day early: an hour that was skipped may belong to the day before.
        first = moment.astimezone(self.zone).date() - timedelta(days=1)
        for k in range(_FARTHEST_DAYS):
            day = first + timedelta(days=k)
            if self._matches(day):
                later = [wake for wake in self._wakes(day) if wake > moment]
                if later:
                    return min(later)
        return None

    def _matches(self, day: date) -> bool:
        in_month, in_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        return day.month in self.months and (in_month or in_week if self.either_day else in_month and in_week)

    def _wakes(self, day: date) -> Iterator[datetime]:
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=self.zone)
                wake = local.astimezone(UTC)
                if not self.any_hour:
                    yield wake
                elif wake.astimezone(self.zone).replace(fold=0) == local:
                    yield wake
                    yield local.replace(fold=1).astimezone(UTC)


def _field(text: str, low: int, high: int) -> frozenset[int]:
    """Values of one field of a cron expression."""
    values: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", part)
        if match is None:
            raise _bad_field(text, low, high)
        first, last, step = match.groups()
        begin = low if first is None else int(first)
        end = int(last) if last else high if first is None or step else begin
        if not (low <= begin <= end <= high) or step == "0":
            raise _bad_field(text, low, high)
        values.update(range(begin, end + 1, int(step or 1)))
    return frozenset(values)


def _bad_field(text: str, low: int, high: int) -> InputError:
    return InputError(
        "a field of the cron expression can't be read", where="sampling.schedule.cron",
        expected=f"*, values, ranges or steps of {low} to {high}, e.g. {low}, {low}-{high}, */5", got=repr(text),
    )  # fmt: skip


@dataclass(frozen=True)
class Sun:
    """Sunrises and sunsets at a place, each with an offset."""

    events: tuple[tuple[SunEvent, timedelta], ...]
    latitude_degrees: float
    longitude_degrees: float

    @classmethod
    def of(cls, texts: list[str], latitude_degrees: float, longitude_degrees: float) -> Sun:
        """From texts like sunrise, sunset-30min; InputError where one is neither."""
        events: list[tuple[SunEvent, timedelta]] = []
        for text in texts:
            match = re.fullmatch(r"(sunrise|sunset)(?:([+-]\d{1,3})min)?", text)
            if match is None:
                raise InputError(
                    "not a sun time",
                    where="sampling.schedule.sun",
                    expected="sunrise, sunset, sunrise+30min, sunset-90min",
                    got=repr(text),
                )
            events.append((cast("SunEvent", match[1]), timedelta(minutes=int(match[2] or 0))))
        if not events:
            raise InputError("no sun times", where="sampling.schedule.sun", expected='e.g. ["sunrise", "sunset-30min"]')
        return cls(tuple(events), latitude_degrees, longitude_degrees)

    def next_after(self, moment: datetime) -> datetime | None:
        """See Schedule; days without the event, in polar day or night, are passed over."""
        days = (moment.date() + timedelta(days=k) for k in range(-2, _FARTHEST_DAYS))
        before: list[datetime] = []
        for day in days:
            times = [(sun_time(day, event, self.latitude_degrees, self.longitude_degrees), o) for event, o in self.events]
            here = [found + offset for found, offset in times if found is not None and found + offset > moment]
            # Offsets of hours can put an event of one day before that of the day before it.
            if before:
                return min(before + here)
            before = here
        return None


def schedule_of(settings: ScheduleConfig) -> Schedule | None:
    """The schedule that is configured; None for continuous. InputError where it can't be."""
    if settings.kind == "continuous":
        return None
    if settings.kind == "interval":
        return FixedInterval(settings.every_s)
    if settings.kind == "cron":
        return Cron.of(settings.cron, zone_of(settings))
    if settings.latitude_degrees is None or settings.longitude_degrees is None:
        raise InputError("sun times need a place", where="sampling.schedule", expected="latitude_degrees and longitude_degrees")
    return Sun.of(settings.sun, settings.latitude_degrees, settings.longitude_degrees)


def zone_of(settings: ScheduleConfig) -> ZoneInfo:
    """The time zone; InputError where there is none of that name."""
    try:
        return ZoneInfo(settings.zone)
    except (KeyError, ValueError, OSError) as error:
        raise InputError(
            "no such time zone", where="sampling.schedule.zone", expected="a name of the IANA database, e.g. Europe/Berlin",
            got=repr(settings.zone), remedy="Install tzdata if no zone is known.",
        ) from error  # fmt: skip


def missed(schedule: Schedule, last: datetime, now: datetime) -> int:
    """Wakes between the last one that was kept and now."""
    count, wake = 0, schedule.next_after(last)
    while wake is not None and wake <= now and count < _MOST_COUNTED:
        count, wake = count + 1, schedule.next_after(wake)
    return count
