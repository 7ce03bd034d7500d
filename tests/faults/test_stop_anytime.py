"""The short form of the campaign of stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.stop_anytime import campaign


@pytest.mark.timeout(900)
def test_a_stop_at_any_moment_ends_as_one(tmp_path: Path) -> None:
    outcome = campaign(8, tmp_path, seed=3)
    assert outcome.sound, outcome.faults
