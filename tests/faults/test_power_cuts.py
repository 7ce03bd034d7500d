"""The short form of `python -m tests.faults.power_cuts`, and that it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.storage import opening
from device.storage.database import Connected
from tests.faults.power_cuts import campaign
from tests.faults.simulated_disk import unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())


def test_nothing_committed_is_lost_or_torn_by_power_cuts(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, steps=60, each=0.2, seed=5)
    assert outcome.sound, str(outcome)


def test_an_outbox_that_does_not_sync_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = opening.connect

    def careless(path: Path) -> Connected:
        connected = connect(path)
        connected.database.execute("PRAGMA synchronous = OFF")
        return connected

    monkeypatch.setattr(opening, "connect", careless)
    outcome = campaign(tmp_path, steps=40, each=0.1, seed=5)
    assert outcome.lost > 0
    assert outcome.faults
