"""The short form of the campaign."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.fleet.database import connect
from deploy.fleet.schema import migrate
from tests.faults.bent_records import offline, through_broker
from tests.postgres import Cluster


@pytest.fixture
def database(cluster: Cluster) -> str:
    address = cluster.new_database()
    with connect(address) as connection:
        migrate(connection)
    return address


def test_bent_records_end_no_intake_and_hold_up_no_other_box(database: str) -> None:
    outcome = offline(database, 4000, seed=3)
    assert outcome.sound, str(outcome)
    assert outcome.stored > 100
    assert outcome.conflicts > 0
    assert outcome.rejected > 1000


def test_bent_records_end_no_collector(database: str, tmp_path: Path) -> None:
    outcome = through_broker(database, tmp_path / "broker", 200, seed=4, megabytes=(20,))
    assert outcome.sound, str(outcome)
