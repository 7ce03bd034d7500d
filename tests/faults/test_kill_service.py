"""The short form of `make test-faults`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.kill_service import campaign


def test_nothing_committed_is_lost_or_doubled_by_kill_9(tmp_path: Path) -> None:
    outcome = campaign(4, tmp_path, seed=3)
    assert outcome.sound, str(outcome)
