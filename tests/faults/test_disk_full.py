"""The short form of `python -m tests.faults.disk_full`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.disk_full import campaign, unavailable

REASON = unavailable()


@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_a_full_disk_ends_nothing_and_loses_nothing(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, points=2, kind="tmpfs", seed=6)
    assert outcome.points == 2
    assert outcome.committed > 0
    assert not outcome.lost, str(outcome)
    assert not outcome.crashes, str(outcome)
    assert not outcome.faults, str(outcome)
