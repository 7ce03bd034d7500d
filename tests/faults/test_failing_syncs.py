"""The short form of `python -m tests.faults.failing_syncs`, and that it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.storage import database, outbox, sound
from tests.faults.failing_syncs import campaign
from tests.faults.simulated_disk import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())


def test_nothing_committed_is_lost_by_syncs_that_fail(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, trials=40, seed=3)
    assert outcome.sound, str(outcome)


def test_an_outbox_that_trusts_its_log_after_a_failed_sync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (database, outbox, sound):
        monkeypatch.setattr(module, "settle", lambda _database: True)
    monkeypatch.setattr(database, "log_frames", lambda _database: 0)
    assert any(campaign(tmp_path, trials=12, seed=seed).lost for seed in (19, 4, 7))
