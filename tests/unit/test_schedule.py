"""When the next sample begins."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.config import ScheduleConfig
from device.errors import InputError
from device.sampling.schedule import Cron, FixedInterval, Sun, missed, schedule_of
from device.sampling.sun import sun_time

BERLIN = ZoneInfo("Europe/Berlin")

PLACES = {
    "London": (51.507, -0.128, "Europe/London"),
    "New York": (40.713, -74.006, "America/New_York"),
    "Berlin": (52.520, 13.405, "Europe/Berlin"),
    "Sydney": (-33.868, 151.209, "Australia/Sydney"),
    "Reykjavik": (64.147, -21.940, "Atlantic/Reykjavik"),
}


@pytest.mark.parametrize(
    ("place", "day", "rises", "sets"),
    [
        ("London", date(2024, 6, 21), "04:43", "21:21"),
        ("New York", date(2024, 6, 21), "05:25", "20:31"),
        ("Berlin", date(2023, 12, 21), "08:15", "15:54"),
        ("Sydney", date(2023, 12, 21), "05:41", "20:05"),
        ("Reykjavik", date(2023, 12, 21), "11:22", "15:29"),
    ],
)
def test_the_sun_rises_and_sets_when_almanacs_say(place: str, day: date, rises: str, sets: str) -> None:
    # PyEphem 4.2 (upper limb, horizon -34 arc minutes, no pressure) gives the same minutes.
    latitude, longitude, zone = PLACES[place]
    for event, published in (("sunrise", rises), ("sunset", sets)):
        found = sun_time(day, event, latitude, longitude)  # type: ignore[arg-type]
        assert found is not None
        hour, minute = map(int, published.split(":"))
        expected = datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZoneInfo(zone))
        assert abs((found - expected).total_seconds()) <= 120


@pytest.mark.parametrize("day", [date(2024, 6, 21), date(2024, 12, 21)])
def test_in_polar_day_and_night_the_sun_neither_rises_nor_sets(day: date) -> None:
    assert sun_time(day, "sunrise", 78.2, 15.6) is None


def test_days_without_a_sunrise_are_passed_over() -> None:
    wake = Sun.of(["sunrise"], 69.65, 18.96).next_after(datetime(2024, 6, 1, tzinfo=UTC))
    assert wake is not None
    assert datetime(2024, 7, 20, tzinfo=UTC) < wake < datetime(2024, 8, 1, tzinfo=UTC)


def test_sun_times_come_in_order_whatever_their_offsets() -> None:
    sun = Sun.of(["sunrise+900min", "sunset-30min", "sunrise"], 52.5, 13.4)
    moment, wakes = datetime(2024, 3, 1, tzinfo=UTC), list[datetime]()
    for _ in range(9):
        following = sun.next_after(moment)
        assert following is not None
        moment = following
        wakes.append(moment)
    assert wakes == sorted(set(wakes))
    assert wakes[-1] - wakes[0] < timedelta(days=3.2)


def local(cron: str, after: datetime, count: int) -> list[str]:
    schedule, found = Cron.of(cron, BERLIN), list[str]()
    for _ in range(count):
        wake = schedule.next_after(after)
        assert wake is not None
        after = wake
        found.append(wake.astimezone(BERLIN).strftime("%m-%d %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("*/20 6-7 * * *", datetime(2024, 1, 1, 6, 30, tzinfo=BERLIN), ["01-01 06:40 +0100", "01-01 07:00 +0100"]),
        ("0 12 1 * *", datetime(2024, 1, 2, tzinfo=BERLIN), ["02-01 12:00 +0100", "03-01 12:00 +0100"]),
        ("30 9 * * 1-5", datetime(2024, 5, 3, 10, tzinfo=BERLIN), ["05-06 09:30 +0200"]),
        ("0 0 13 * 5", datetime(2024, 9, 7, tzinfo=BERLIN), ["09-13 00:00 +0200", "09-20 00:00 +0200"]),
        ("0 0 29 2 *", datetime(2025, 1, 1, tzinfo=BERLIN), ["02-29 00:00 +0100"]),
        ("15,45 0 * * 7", datetime(2024, 5, 3, tzinfo=BERLIN), ["05-05 00:15 +0200", "05-05 00:45 +0200"]),
        # Clocks go from 02:00 to 03:00 on 31 March 2024, and from 03:00 back to 02:00 on 27 October.
        ("30 2 * * *", datetime(2024, 3, 31, 0, tzinfo=BERLIN), ["03-31 03:30 +0200", "04-01 02:30 +0200"]),
        ("30 2 * * *", datetime(2024, 10, 27, 0, tzinfo=BERLIN), ["10-27 02:30 +0200", "10-28 02:30 +0100"]),
        ("30 * * * *", datetime(2024, 3, 31, 1, tzinfo=BERLIN), ["03-31 01:30 +0100", "03-31 03:30 +0200"]),
        ("30 * * * *", datetime(2024, 10, 27, 2, tzinfo=BERLIN), ["10-27 02:30 +0200", "10-27 02:30 +0100", "10-27 03:30 +0100"]),
    ],
)  # fmt: skip
def test_cron_wakes_when_the_clock_on_the_wall_says(cron: str, after: datetime, expected: list[str]) -> None:
    assert local(cron, after.astimezone(UTC), len(expected)) == expected


def test_a_day_that_never_comes_has_no_wake() -> None:
    assert Cron.of("0 0 31 2 *", BERLIN).next_after(datetime(2024, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "60 * * * *", "*/0 * * * *", "5-2 * * * *", "a * * * *", "* * 0 * *", "* * * 13 *"]
)
def test_what_is_no_cron_expression_is_refused(cron: str) -> None:
    with pytest.raises(InputError, match="cron"):
        Cron.of(cron, BERLIN)


@given(st.floats(1e9, 2.8e9).map(lambda s: datetime.fromtimestamp(s, UTC)), st.sampled_from([600.0, 5400.0, 86400.0]))
def test_a_restart_does_not_move_an_interval(moment: datetime, every_s: float) -> None:
    wake = FixedInterval(every_s).next_after(moment)
    assert timedelta(0) < wake - moment <= timedelta(seconds=every_s)
    between = moment + (wake - moment) / 2
    assert FixedInterval(every_s).next_after(between) == wake


@pytest.mark.parametrize(("every_s", "wake"), [(600.0, (12, 10)), (3600.0, (13, 0)), (86400.0, (0, 0))])
def test_intervals_are_counted_from_midnight_and_the_full_hour(every_s: float, wake: tuple[int, int]) -> None:
    found = FixedInterval(every_s).next_after(datetime(2026, 5, 4, 12, 3, 7, tzinfo=UTC))
    assert (found.hour, found.minute, found.second, found.microsecond) == (*wake, 0, 0)


def test_wakes_missed_without_power_are_counted() -> None:
    last = datetime(2024, 1, 1, 0, tzinfo=UTC)
    assert missed(FixedInterval(3600.0), last, last + timedelta(hours=5.5)) == 5
    assert missed(FixedInterval(3600.0), last, last + timedelta(minutes=10)) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ScheduleConfig(kind="cron", cron="0 * * * *", zone="Middle/Earth"), "no such time zone"),
        (ScheduleConfig(kind="sun", sun=["sunrise"]), "need a place"),
        (ScheduleConfig(kind="sun", sun=["noon"], latitude_degrees=1, longitude_degrees=1), "not a sun time"),
        (ScheduleConfig(kind="sun", latitude_degrees=1, longitude_degrees=1), "no sun times"),
    ],
)
def test_a_schedule_that_can_not_be_is_refused(settings: ScheduleConfig, message: str) -> None:
    with pytest.raises(InputError, match=message):
        schedule_of(settings)


def test_continuous_sampling_has_no_schedule() -> None:
    assert schedule_of(ScheduleConfig()) is None
