"""What a collector's word settles, and what it doesn't."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from device.config import DeliveryConfig
from device.messaging.connection import Puback
from device.messaging.limits import Limits
from device.messaging.payloads import Ack, to_payload
from device.messaging.sender import Sender
from device.storage.outbox import Outbox
from tests.unit.test_outbox import events

TAKEN = ReasonCode(PacketTypes.PUBACK, identifier=0)


class Wire:
    """Sends rows nowhere; the broker's answers are made by hand."""

    def __init__(self, folder: Path) -> None:
        self.outbox = Outbox(folder, "box")
        self.told: list[str] = []
        self.mids: list[int] = []
        self.sender = Sender(
            self.outbox, DeliveryConfig(confirm="collector", window=100), self._publish,
            raise_warning=lambda code, _message: self.told.append(code), clear_warning=lambda _code: None,
        )  # fmt: skip
        self.sender.up(Limits())

    def _publish(self, _leaf: str, _payload: bytes) -> int:
        self.mids.append(len(self.mids) + 1)
        return self.mids[-1]

    def send(self, count: int) -> None:
        self.outbox.commit(events(count))
        self.sender.work(connected=True)

    def acknowledge(self, *mids: int) -> None:
        self.sender.answered([Puback(mid, TAKEN) for mid in mids])

    def word(self, **said: Any) -> None:
        self.sender.acked(json.dumps({"spool_id": self.outbox.spool_id, **said}).encode(), retained=False)

    def waiting(self) -> list[int]:
        self.outbox.unpublished()
        return [row.seq for row in self.outbox.pending(1000)]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = Wire(tmp_path / "store")
    yield made
    made.outbox.close()


def test_a_word_without_its_first_number_settles_nothing_beyond_what_is_contiguous(wire: Wire) -> None:
    wire.send(20)
    wire.acknowledge(*range(1, 21))
    wire.word(seq=20)
    assert len(wire.waiting()) == 20
    assert wire.sender.counters.acks_ignored == 1
    assert wire.told.count("ack_without_first") == 1


def test_a_word_without_its_first_number_speaks_for_one_record_where_none_waits_before_it(wire: Wire) -> None:
    wire.send(3)
    wire.acknowledge(1, 2, 3)
    wire.word(seq=1)
    assert wire.waiting() == [2, 3]


def test_a_word_settles_only_what_the_broker_acknowledged_and_the_rest_once_it_does(wire: Wire) -> None:
    wire.send(10)
    wire.acknowledge(1, 2, 3, 5)
    wire.word(first=1, seq=10)
    assert wire.outbox.depth() == 6
    wire.acknowledge(4)
    assert wire.outbox.depth() == 5
    assert wire.waiting() == [6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    "word", [{"first": 1, "seq": 999}, {"first": 9, "seq": 3}, {"first": 0, "seq": 5}, {"first": -1, "seq": 5},
             {"first": 1, "seq": "5"}, {"first": 1, "seq": 5, "spool_id": "another"}, {"first": None, "seq": 5}, {}],
)  # fmt: skip
def test_a_word_on_what_was_never_sent_or_that_makes_no_sense_settles_nothing(wire: Wire, word: dict[str, Any]) -> None:
    wire.send(5)
    wire.acknowledge(1, 2, 3, 4, 5)
    wire.word(**word)
    assert len(wire.waiting()) == 5


def test_the_word_is_one_struct_at_both_ends_and_all_of_it_is_required(wire: Wire) -> None:
    wire.send(5)
    wire.acknowledge(1, 2, 3, 4, 5)
    wire.sender.acked(to_payload(Ack(spool_id=wire.outbox.spool_id, first=2, seq=4)), retained=False)
    assert wire.waiting() == [1, 5]
