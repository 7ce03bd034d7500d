"""A short part of the campaign on the history's writer; the whole one: `python -m tests.faults.history_kills`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.history_kills import full_disks, kills, power_cuts
from tests.faults.simulated_disk import unavailable


def test_a_writer_that_is_killed_leaves_what_the_next_one_makes_whole(tmp_path: Path) -> None:
    outcome = kills(4, tmp_path)
    assert outcome.sound, outcome


@pytest.mark.skipif(bool(unavailable()), reason=unavailable())
def test_power_cuts_and_full_disks_leave_what_the_next_one_makes_whole(tmp_path: Path) -> None:
    for outcome in (power_cuts(8, tmp_path / "cuts"), full_disks(2, 20, tmp_path / "full")):
        assert outcome.sound, outcome
