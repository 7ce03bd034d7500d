"""The short form of `python -m tests.faults.store_rot`, and that it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from device.storage import outbox
from tests.faults.store_rot import campaign


def test_a_damaged_store_gives_out_what_is_whole_and_tells_of_the_rest(tmp_path: Path) -> None:
    outcome = campaign(tmp_path, stores=22, seed=3)
    assert outcome.sound, str(outcome)
    assert outcome.whole > 0
    assert outcome.lost > 0


def test_a_store_that_trusts_what_it_reads_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "is_whole", lambda *_: True)
    outcome = campaign(tmp_path, stores=15, seed=3)
    assert any("altered" in fault for fault in outcome.faults)
