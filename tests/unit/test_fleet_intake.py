"""What a collector takes for a record, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet.intake import Arrival, Rejection, read
from device.records import to_json
from tests.unit.test_outbox import events

TOPIC = "holonode/v1/box/events"


def event(**changes: Any) -> bytes:
    record = msgspec.json.decode(to_json(events(1)(7)[0])) | changes
    return msgspec.json.encode({name: value for name, value in record.items() if value is not ...})


def test_a_record_keeps_its_key_its_time_and_every_byte() -> None:
    arrival = read(TOPIC, event(colour="green"))
    assert isinstance(arrival, Arrival)
    assert (arrival.key.device_id, arrival.key.spool_id, arrival.key.seq, arrival.kind) == ("box", "s", 7, "events")
    assert arrival.at == datetime(2026, 5, 4, tzinfo=UTC)
    assert arrival.body.encode() == event(colour="green")


def test_a_newer_schema_passes_with_whatever_it_holds() -> None:
    assert isinstance(read(TOPIC, event(schema="holonode.event/2", severity="puce", message=...)), Arrival)


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "counts"),
    [
        (TOPIC, b"\xff\xfe", "not a record", False),
        (TOPIC, b"[1, 2]", "not a record", False),
        (TOPIC, b"[" * 100_000, "not a record", False),
        (TOPIC, event(seq=0), "not a record", False),
        (TOPIC, event(seq=2**63), "not a record", False),
        (TOPIC, event(spool_id="a\0b"), "not a record", False),
        (TOPIC, event(device_id="neighbour"), "neighbour", False),
        ("holonode/v1/box/health", event(), "no topic", False),
        ("holonode/v1/box/detections", event(), "schema", True),
        (TOPIC, event(severity="puce"), "severity", True),
        (TOPIC, event(message=...), "message", True),
        (TOPIC, event(since="yesterday"), "since", True),
        (TOPIC, event(since="2026-05-04T00:00:00"), "since", True),
        (TOPIC, event(since="0001-01-01T00:00:00+14:00"), "", True),
    ],
)
def test_what_is_no_record_is_refused_with_the_reason(topic: str, payload: bytes, reason: str, counts: bool) -> None:
    refused = read(topic, payload)
    assert isinstance(refused, Rejection)
    assert reason in refused.reason
    assert refused.payload == payload
    # The box waits for a number that can be read: it must be counted as come.
    assert (refused.key is not None) == counts


@given(
    st.binary() | st.recursive(st.none() | st.floats() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(repr)
)
def test_nothing_that_comes_stops_a_collector(payload: bytes | str) -> None:
    assert isinstance(read(TOPIC, payload.encode("utf-8", "replace") if isinstance(payload, str) else payload), Rejection)
