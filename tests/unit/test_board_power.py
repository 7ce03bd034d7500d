"""What a board says of its supply and its heat."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.health.board_power import BoardPower, Throttled, power_checks, read_throttled


def board(sys: Path, bits: str | None, millidegrees: str | None) -> Path:
    for name, content in (
        ("devices/platform/soc/soc:firmware/get_throttled", bits),
        ("class/thermal/thermal_zone0/temp", millidegrees),
    ):
        if content is not None:
            (sys / name).parent.mkdir(parents=True, exist_ok=True)
            (sys / name).write_text(content)
    return sys


@pytest.mark.parametrize(
    ("bits", "supply", "heat"),
    [
        ("0\n", "ok", "ok"),
        ("50005\n", "failed", "warning"),  # under-voltage and throttled, now and since the start
        ("50000\n", "warning", "ok"),  # both were, and are over
        ("0x20002\n", "ok", "warning"),
        ("8\n", "ok", "warning"),
    ],
)
def test_the_firmwares_bits_are_told(tmp_path: Path, bits: str, supply: str, heat: str) -> None:
    checks = {check.name: check.status for check in BoardPower(board(tmp_path, bits, "51000\n")).checks()}
    assert checks == {"supply": supply, "heat": heat}


@pytest.mark.parametrize(("millidegrees", "status"), [("60000", "ok"), ("76000", "warning"), ("86000", "failed")])
def test_any_board_has_a_temperature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, millidegrees: str, status: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (check,) = BoardPower(board(tmp_path, None, millidegrees)).checks()
    assert (check.name, check.status, check.value) == ("heat", status, int(millidegrees) / 1000)
    assert bool(check.remedy) == (status != "ok")


def test_where_the_kernel_shows_no_bits_the_boards_own_command_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\necho throttled=0x50001\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert read_throttled(tmp_path / "sys") == Throttled(0x50001)
    command.write_text("#!/bin/sh\nexit 255\n")
    assert read_throttled(tmp_path / "sys") is None


def test_a_board_that_tells_nothing_has_no_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert BoardPower(tmp_path).checks() == power_checks(None, None) == []


def test_the_board_is_asked_now_and_then(tmp_path: Path) -> None:
    now_s = [0.0]
    power = BoardPower(board(tmp_path, "0", None), lambda: now_s[0])
    power.checks()
    board(tmp_path, "1", None)
    assert [check.status for check in power.checks()] == ["ok", "ok"]
    now_s[0] = 11.0
    assert power.checks()[0].status == "failed"
