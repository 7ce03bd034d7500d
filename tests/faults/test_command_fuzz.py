"""The short forms of `python -m tests.faults.command_fuzz`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.command_fuzz import offline, through_broker


def test_whatever_is_sent_is_answered_or_ignored_and_nothing_changes_without_an_audit_line(tmp_path: Path) -> None:
    outcome = offline(2000, seed=3, folder=tmp_path)
    assert outcome.good, str(outcome)
    assert outcome.changes > 20
    assert outcome.counts["refused"] > 500
    assert outcome.counts["stale"]
    assert outcome.counts["retained"]
    assert outcome.counts["repeated"]


def test_a_running_service_survives_the_same_through_a_broker(tmp_path: Path) -> None:
    outcome = through_broker(150, seed=4, folder=tmp_path)
    assert outcome.good, str(outcome)
    assert outcome.changes > 5
