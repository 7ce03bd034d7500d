"""The short form of the campaign."""

from __future__ import annotations

from pathlib import Path

from tests.faults.kill_delivery import campaign
from tests.postgres import Cluster


def test_nothing_a_box_committed_is_lost_or_doubled_in_postgresql(tmp_path: Path, cluster: Cluster) -> None:
    (outcome,) = campaign({"service": 0, "producer": 4, "broker": 1, "collector": 2}, tmp_path, cluster, seed=3)
    assert outcome.sound, str(outcome)
