"""The short form of `python -m tests.faults.store_copies`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.store_copies import campaign
from tests.postgres import Cluster


def test_copies_lose_nothing_double_nothing_and_are_told(tmp_path: Path, cluster: Cluster) -> None:
    outcome = campaign(tmp_path, cluster, copies=5, seed=4)
    assert outcome.sound, str(outcome)
