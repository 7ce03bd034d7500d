"""The units as they ship: what systemd itself says of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from device.health.watchdog import WATCHDOG_S

_UNITS = Path(__file__).resolve().parents[2] / "deploy/systemd"
_OF_FLEET = _UNITS.parent / "fleet/systemd"
_MOST_EXPOSED = 1.5


def _service() -> ConfigParser:
    unit = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = lambda optionstr: optionstr
    unit.read(_UNITS / "holonode.service")
    return unit


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", sorted([*_UNITS.glob("*.service"), *_OF_FLEET.glob("*.service")]), ids=lambda path: path.name)
def test_no_service_is_more_exposed_than_the_bar_says(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    level = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert level is not None, said
    assert float(level[1]) <= _MOST_EXPOSED


def test_the_service_is_watched_as_it_feeds_its_watchdog_and_never_given_up() -> None:
    unit = _service()
    assert (unit["Service"]["Type"], int(unit["Service"]["WatchdogSec"])) == ("notify", WATCHDOG_S)
    assert (unit["Service"]["Restart"], unit["Unit"]["StartLimitIntervalSec"]) == ("always", "0")


@pytest.mark.parametrize("timer", sorted([*_UNITS.glob("*.timer"), *_OF_FLEET.glob("*.timer")]), ids=lambda path: path.name)
def test_what_a_timer_starts_is_there_runs_once_and_comes_up_by_no_other_way(timer: Path) -> None:
    unit = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.read(timer.with_suffix(".service"))
    assert unit["Service"]["type"] == "oneshot"
    assert not unit.has_section("Install")


def test_no_start_waits_for_a_clock_or_a_network() -> None:
    text = (_UNITS / "holonode.service").read_text(encoding="utf-8")
    assert not re.findall(r"^(?:After|Requires|Wants|BindsTo)=.*(?:time-sync|network-online)", text, re.MULTILINE)


def test_every_program_of_the_units_lies_in_the_tree() -> None:
    programs = [
        program
        for path in _UNITS.glob("*.service")
        for program in re.findall(r"^Exec\w+=(\S+)", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert programs
    assert all(program.startswith("/opt/holonode/") for program in programs)


def test_the_service_has_no_memory_to_write_and_run() -> None:
    for path in _UNITS.glob("*.service"):
        assert re.search(r"^MemoryDenyWriteExecute=yes$", path.read_text("utf-8"), re.MULTILINE), path.name
