"""Waiting for the next wake by a clock that may jump, and the plan that `--dry-run` prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device.cli import main
from device.config import load_config
from device.instrument import load_instrument
from device.plan import plan_of
from device.sampling.schedule import FixedInterval
from device.sampling.wakes import Wakes

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clock:
    """A wall clock that goes on when somebody sleeps; `jumps` are added after that many sleeps."""

    def __init__(self, **jumps_s: float) -> None:
        self.moment, self.sleeps, self._jumps_s = NOON, list[float](), jumps_s

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.moment += timedelta(seconds=seconds + self._jumps_s.get(f"after_{len(self.sleeps)}", 0.0))


def test_wakes_come_one_after_the_other_and_none_twice() -> None:
    clock = Clock()
    wakes = Wakes(FixedInterval(600.0), state=None, sleep=clock.sleep, now=clock.now)
    assert [wakes.wait() for _ in range(3)] == [NOON + timedelta(minutes=m) for m in (10, 20, 30)]
    assert max(clock.sleeps) <= 60


def test_a_clock_that_is_set_back_does_not_repeat_a_wake_and_one_set_forward_is_not_slept_through() -> None:
    back = Clock(after_10=-300.0)
    wakes = Wakes(FixedInterval(600.0), state=None, sleep=back.sleep, now=back.now)
    assert wakes.wait() < wakes.wait()
    ahead = Clock(after_2=3600.0)
    Wakes(FixedInterval(600.0), state=None, sleep=ahead.sleep, now=ahead.now).wait()
    assert len(ahead.sleeps) == 2


@pytest.mark.parametrize("years", [30, -30])
def test_a_clock_that_jumps_by_decades_and_back_costs_no_more_than_the_wakes_meanwhile(years: int) -> None:
    jump_s = years * 365.25 * 86400
    clock = Clock(after_3=jump_s, after_25=-jump_s)
    wakes = Wakes(FixedInterval(600.0), state=None, sleep=clock.sleep, now=clock.now)
    taken = [wakes.wait() for _ in range(6)]
    # Six wakes every ten minutes, in sleeps of a minute: nobody waited for a clock that was wrong.
    assert len(clock.sleeps) <= 62
    assert abs((taken[-1] - clock.moment).total_seconds()) < 1


def test_what_was_missed_without_power_is_known() -> None:
    clock = Clock()
    before = Wakes(FixedInterval(600.0), state=(NOON - timedelta(hours=2)).isoformat(), sleep=clock.sleep, now=clock.now)
    assert before.missed() == 12
    assert before.wait() == NOON + timedelta(minutes=10)


def test_a_wake_kept_under_a_clock_that_was_ahead_is_forgotten() -> None:
    clock = Clock()
    wakes = Wakes(FixedInterval(600.0), state=(NOON + timedelta(days=400)).isoformat(), sleep=clock.sleep, now=clock.now)
    assert wakes.missed() == 0
    assert wakes.wait() == NOON + timedelta(minutes=10)


def test_in_simulated_time_the_wakes_go_on_while_the_wall_clock_stands() -> None:
    slept = list[float]()
    wakes = Wakes(FixedInterval(600.0), state=None, sleep=slept.append, now=lambda: NOON, simulated=True)
    assert [wakes.wait() for _ in range(2)] == [NOON + timedelta(minutes=m) for m in (10, 20)]
    assert slept == [600, 600]


def config_file(folder: Path, text: str) -> Path:
    path = folder / "box.toml"
    path.write_text(text)
    return path


def test_the_dry_run_prints_wakes_in_the_zone_and_utc_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(
        tmp_path,
        f"""
[device]
instrument = "flow-imx296-530nm"
[analysis]
classifier_model = "none"
[sampling]
mode = "flow"
[sampling.schedule]
kind = "cron"
cron = "0 6 * * *"
zone = "Europe/Berlin"
[storage]
folder = "{tmp_path / "store"}"
[calibration]
folder = "{tmp_path / "calibration"}"
""",
    )
    assert main(["run", "--dry-run", "--config", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "06:00 CE" in shown
    assert "detection efficiency" in shown
    assert main(["run", "--dry-run", "--json", "--config", str(path)]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert len(plan["wakes"]) == 5
    assert plan["samples_per_day"] == 1
    assert not (tmp_path / "store").exists()


def test_a_schedule_that_can_not_be_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config_file(tmp_path, '[sampling.schedule]\nkind = "cron"\ncron = "often"\n')
    assert main(["run", "--dry-run", "--config", str(path)]) == 2
    assert "cron" in capsys.readouterr().err


def test_the_plan_of_the_sampler_is_what_it_does(tmp_path: Path) -> None:
    from device.calibration import Calibrations

    config = load_config(None)
    plan = plan_of(config, Calibrations(load_instrument(config.device.instrument), None, (), ()), NOON)
    assert plan.wakes == ()
    assert plan.volume == pytest.approx(2e-3 * 0.12)
    assert plan.samples_per_day == pytest.approx(86400 / (plan.duration_s + 1.0))
