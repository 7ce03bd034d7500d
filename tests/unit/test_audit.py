"""The audit log on a real disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from device.storage.audit import FILE, AuditLine, AuditLog


def line(number: int, phase: str = "begin") -> AuditLine:
    return AuditLine(at="2026-05-04T12:00:00.000000Z", phase=phase, command="stop", transaction=number)  # type: ignore[arg-type]


def test_it_keeps_the_last_lines_in_two_files_of_bounded_size(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, most_bytes=1000)
    for number in range(100):
        log.write(line(number))
    log.close()
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 2000
    kept = [found.transaction for found in AuditLog(tmp_path).read()]
    assert kept == list(range(100 - len(kept), 100))
    assert len(kept) > 9


def test_a_line_cut_short_by_a_power_loss_costs_only_itself(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.write(line(1))
    log.write(line(2))
    log.close()
    os.truncate(tmp_path / FILE, (tmp_path / FILE).stat().st_size - 7)
    log = AuditLog(tmp_path)
    log.write(line(3))
    assert [found.transaction for found in log.read()] == [1, 3]
    log.close()


def test_a_full_file_that_could_not_be_followed_by_a_fresh_one_is_followed_by_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, most_bytes=100)
    log.write(line(1))

    def refused(*_arguments: object) -> int:
        raise OSError(24, "too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("device.storage.audit.os.open", refused)
        with pytest.raises(OSError, match="too many"):
            log.write(line(2))
    log.write(line(3))
    assert [found.transaction for found in log.read()] == [1, 3]
    log.close()
