"""The short form of `python -m tests.faults.clock_jumps`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.clock_jumps import Campaign, library


@pytest.mark.skipif(library() is None, reason="libfaketime is not installed: sh deploy/install-faketime.sh")
def test_a_clock_that_jumps_ends_nothing_and_mixes_up_nothing(tmp_path: Path) -> None:
    campaign = Campaign(tmp_path, seed=2)
    campaign.jump(4)
    outcome = campaign.outcome
    assert outcome.committed > 0
    assert not outcome.lost + outcome.out_of_order + outcome.restarts, str(outcome)
    assert not outcome.faults, str(outcome)
