"""The short form of `python -m tests.faults.store_copies`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import MOSQUITTO
from tests.faults.store_copies import campaign
from tests.postgres import Cluster, missing

pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=str(missing())),
    pytest.mark.skipif(not Path(MOSQUITTO).exists(), reason="mosquitto is not installed"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster.made()
    made.start()
    yield made
    made.remove()


def test_copies_lose_nothing_double_nothing_and_are_told(tmp_path: Path, cluster: Cluster) -> None:
    outcome = campaign(tmp_path, cluster, copies=5, seed=4)
    assert outcome.sound, str(outcome)
