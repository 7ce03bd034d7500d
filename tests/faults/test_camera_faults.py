"""The short form of `python -m tests.faults.camera_faults`."""

from __future__ import annotations

import pytest

from tests.faults import camera_faults
from tests.faults.camera_faults import KINDS, Kind, Outcome, campaign, failures, trial


@pytest.mark.parametrize("kind", KINDS)
def test_every_fault_is_found_counted_told_and_mended(kind: Kind) -> None:
    outcome = Outcome()
    for seed in range(12):
        trial(kind, outcome, seed)
    assert outcome.failures(kind) == []


def test_one_of_each_in_real_time() -> None:
    assert failures(campaign(1, real=True), slack=5.0) == []


def test_a_camera_that_is_not_watched_fails_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    # The judge itself is judged: without events nothing counts as found.
    monkeypatch.setattr(camera_faults.SupervisedCamera, "_tell", lambda *_: None)
    outcome = Outcome()
    trial("exception", outcome, 1)
    assert any("found" in text for text in outcome.failures("exception"))
