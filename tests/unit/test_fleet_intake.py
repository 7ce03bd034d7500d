"""What a collector takes for a record, and what it does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet.intake import MOST_BYTES, Arrival, Key, Rejection, read
from device.frames import Clock
from device.records import to_json
from device.schemas import json_schema
from device.storage.backdate import shifted
from tests.earlier import as_earlier
from tests.faults.bends import record
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
    assert isinstance(read(TOPIC, event(schema="holonode.event/3", severity="puce", message=...)), Arrival)


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


def deep(depth: int) -> bytes:
    return event()[:-1] + b',"more":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        # What the interpreter's own limit ends, in the one place or in the other.
        *[(deep(depth), f"nested {depth + 1} deep, expected at most 32") for depth in (32, 500, 900, 980, 995, 1010, 20_000)],
        (event(message="x" * MOST_BYTES), f"bytes, expected at most {MOST_BYTES}"),
        (event(value="@").replace(b'"@"', b"1e-16000"), "exponent"),
        (event(value="@").replace(b'"@"', b"9" * 400), "48 digits"),
        (event(colour="a\0b"), "zero character"),
        (event(since="9999-12-31T23:59:59.999999Z"), "expected a time from 1900 to before 2262"),
        (event(since="0000-01-01T00:00:00.000000Z"), "expected a time"),
        (event(since="2026-02-30T00:00:00.000000Z"), "expected a time"),
    ],
)
def test_what_nobody_should_have_to_hold_is_refused_and_its_number_counted_as_come(payload: bytes, reason: str) -> None:
    refused = read(TOPIC, payload)
    assert isinstance(refused, Rejection)
    assert reason in refused.reason
    assert refused.key == Key(device_id="box", spool_id="s", seq=7)
    assert refused.size == len(payload)
    assert len(refused.payload) <= MOST_BYTES


@pytest.mark.parametrize(
    "payload",
    [
        deep(31), event(message='[{"' * 2000), event(message="1e99999 " + "9" * 500), event(message="\\u0000"),
        event(message="x" * 16_384), event(since="1970-01-01T00:00:00.000000Z"), event(seq=2**53 - 1),
        b' {"spool_id":"s", "seq":9, "seq":7,' + event()[1:],
    ],
)  # fmt: skip
def test_what_only_looks_as_if_is_taken(payload: bytes) -> None:
    assert isinstance(read(TOPIC, payload), Arrival)


@pytest.mark.parametrize("name", ["box\n", "", "é", "a b", "x" * 200, "'; DROP", "\udcff"])
def test_a_topic_that_names_no_device_is_refused(name: str) -> None:
    payload = event(device_id=name).replace(b"\n", b"\\n") if "\udcff" not in name else event()
    assert isinstance(read(f"holonode/v1/{name}/events", payload), Rejection)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("detections", ("qc",), 10**12), ("detections", ("qc",), 5), ("detections", ("x_um",), 1e300), ("detections", ("frame",), 10**15),
        ("detections", ("bbox_px", 0), 2**40), ("detections", ("features", "area_um2"), 1e31), ("detections", ("label",), "x" * 300),
        ("detections", ("consistency", "flag"), 7), ("detections", ("probabilities",), {str(k): 0.0 for k in range(2000)}),
        ("intervals", ("counts", "birch", "n"), 10**13), ("intervals", ("counts", "birch", "n"), -1), ("intervals", ("volume_m3",), -1e31),
        ("intervals", ("frames", "dropped"), -1), ("intervals", ("ended_at",), "infinity"), ("events", ("message",), "x" * 20_000),
        ("events", ("value",), 1e200), ("events", ("seq",), 2**53),
    ],
)  # fmt: skip
def test_values_that_no_box_has_are_refused(kind: str, path: tuple[Any, ...], value: object) -> None:
    right = record(kind, "box", 3)
    assert isinstance(read(f"holonode/v1/box/{kind}", msgspec.json.encode(right)), Arrival)
    holder: Any = right
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    assert isinstance(read(f"holonode/v1/box/{kind}", msgspec.json.encode(right)), Rejection)
    # As everybody can read in the published schema.
    schema = json_schema(kind[:-1])
    assert not jsonschema.Draft202012Validator(schema).is_valid(right)


def test_a_newer_schema_is_kept_apart_with_the_time_it_came_where_it_says_none() -> None:
    newer = read(TOPIC, event(schema="holonode.event/3", since=..., when=5))
    assert isinstance(newer, Arrival)
    assert newer.unknown_schema == "holonode.event/3"
    assert abs((newer.at - datetime.now(UTC)).total_seconds()) < 60
    for wrong in (
        "holonode.event/0",
        "holonode.event/10000",
        "holonode.detection/3",
        "x" * 5000,
        1,
        None,
        ["holonode.event/1"],
    ):
        assert isinstance(read(TOPIC, event(schema=wrong)), Rejection)


@pytest.mark.parametrize("kind", ["detections", "intervals", "events"])
def test_records_of_both_versions_are_known_and_kept_as_they_came(kind: str) -> None:
    body = msgspec.json.encode(record(kind, "box", 3))
    for payload in (body, as_earlier(body)):
        arrival = read(f"holonode/v1/box/{kind}", payload)
        assert isinstance(arrival, Arrival)
        assert (arrival.unknown_schema, arrival.body.encode()) == ("", payload)


def test_the_digest_is_of_the_content_and_not_of_when_it_was() -> None:
    right = msgspec.json.encode(record("detections", "box", 3))

    def digest(payload: bytes) -> bytes:
        arrival = read("holonode/v1/box/detections", payload)
        assert isinstance(arrival, Arrival)
        return arrival.digest

    corrected = shifted(right, 3_600_000_000_000, Clock(source="ntp", synchronised=True, uncertainty_s=0.5))
    assert corrected != right
    assert digest(corrected) == digest(right)
    assert digest(right.replace(b'"historical":false', b'"historical":true')) == digest(right)
    assert digest(right.replace(b"500.0", b"500.5")) != digest(right)
    assert digest(msgspec.json.encode(record("detections", "box", 3))) != digest(right)  # another id
