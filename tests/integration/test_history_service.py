"""Whatever becomes of the history, the box samples on: its file is deleted under a running service, garbled before a start."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.storage.history import HistoryReader
from device.storage.history.tables import database_in
from tests.brokers import Subscriber, broker
from tests.recounts import wrong_sums
from tests.services import Service


@pytest.fixture
def box(tmp_path: Path) -> Iterator[tuple[Service, Subscriber]]:
    with broker(tmp_path / "broker") as running:
        listener = Subscriber(running.port)
        service = Service.configured(tmp_path, running.url)
        with service.started():
            yield service, listener
        listener.close()


def test_a_history_that_is_lost_or_garbled_costs_no_sample_and_comes_back(box: tuple[Service, Subscriber]) -> None:
    service, listener = box
    store = service.config.parent / "store"
    first = listener.until("intervals")
    shutil.rmtree(database_in(store).parent)
    assert "its file is gone" in listener.until("events", code="history_rebuilt")["message"]
    listener.until("intervals")
    assert service.finish(signal.SIGTERM)[0] == 0
    with database_in(store).open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(os.fstat(file.fileno()).st_size - 100))
    service.start()
    assert "its file is gone" not in listener.until("events", code="history_rebuilt")["message"]
    last = listener.until("intervals")
    status, output = service.finish(signal.SIGTERM)
    assert status == 0
    assert "interval lost" not in output
    reader = HistoryReader(store)
    told = reader.status()
    assert told.rebuilt_at
    assert len(told.set_aside) == 1
    seqs = {row.seq for row in reader.intervals(first["started_at"], "2100-01-01T00:00:00Z")}
    assert {first["seq"], last["seq"]} <= seqs
    assert not wrong_sums(store)
