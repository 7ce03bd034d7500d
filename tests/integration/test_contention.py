"""Two boxes of one id: both say so, neither flaps, both go on measuring."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from device.config import MqttConfig
from device.health.delivery import link_checks
from device.messaging.backoff import Contention
from device.messaging.link import MqttLink, parse_url
from device.messaging.payloads import Check
from device.messaging.reasons import SESSION_TAKEN_OVER
from device.storage.outbox import Outbox
from tests.brokers import broker
from tests.integration.test_link import INFO, eventually
from tests.services import Service
from tests.unit.test_outbox import events


class Box:
    """The delivering parts of a service."""

    def __init__(self, folder: Path, url: str, protocol: Any) -> None:
        self.outbox = Outbox(folder, "box")
        self.troubles: list[tuple[str, str]] = []
        self.link = MqttLink(
            MqttConfig(url=url, protocol=protocol), parse_url(url), self.outbox, INFO,
            on_warning=lambda *said: self.troubles.append(said),
        )  # fmt: skip
        self.link.start()

    def identity(self) -> Check:
        return next(check for check in link_checks(self.link.report(), self.outbox) if check.name == "identity")

    def close(self) -> None:
        self.link.stop(0.5)
        self.outbox.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_boxes_of_one_id_both_say_so_and_call_ever_less_often_while_records_are_kept(tmp_path: Path, protocol: str) -> None:
    with broker(tmp_path / "b") as running:
        boxes = [Box(tmp_path / name, running.url, protocol) for name in ("one", "other")]
        try:
            eventually(lambda: all(box.identity().status == "failed" for box in boxes), 60)
            for box in boxes:
                check = box.identity()
                assert "device.id of its own" in check.remedy
                assert check.message.startswith("another client connects by this box's name")
                told = [message for code, message in box.troubles if code == "identity_contended"]
                assert len(told) == 1
                assert "Give each box a device.id of its own" in told[0]
                box.outbox.commit(events(3))  # measuring goes on
            before = sum(box.link.stats()["connections"] for box in boxes)
            time.sleep(10)
            assert sum(box.link.stats()["connections"] for box in boxes) - before <= 6
            boxes[1].close()
            eventually(lambda: boxes[0].outbox.depth() == 0, 60)
        finally:
            for box in boxes:
                box.close()


def test_both_services_publish_it_as_an_event_and_in_health(tmp_path: Path) -> None:
    with broker(tmp_path / "b") as running:
        boxes = [Service.configured(tmp_path / name, running.url, seed=seed) for seed, name in enumerate(("one", "other"), 1)]
        with boxes[0].started(), boxes[1].started():
            for box in boxes:
                box.until_said("Another client connects to the broker as holonode-test-box")
        for name in ("one", "other"):
            kept = Outbox(tmp_path / name / "store", "test-box")
            records = [json.loads(body) for body in kept.ask(lambda store: store.last(500))]
            kept.close()
            assert "identity_contended" in [record.get("code") for record in records]
            assert any(record["schema"] == "holonode.interval/2" for record in records)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_broker_that_restarts_a_few_times_is_no_other_client_and_being_put_out_is_over_after_an_hour() -> None:
    clock = Clock()
    contention = Contention(lambda: 0.5, monotonic=clock)
    assert contention.put_out(None, 3.0, blameless=True) is None
    contention.unreachable()
    assert contention.put_out(None, 3.0, blameless=True) is None
    assert contention.put_out(None, 3600.0, blameless=True) is None
    assert contention.put_out(None, 3.0, blameless=False) is None
    assert not contention.holds
    delays = [contention.put_out(SESSION_TAKEN_OVER, 1.0, blameless=True) for _ in range(12)]
    assert contention.holds
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    clock.now_s = 3601.0
    assert not contention.holds
