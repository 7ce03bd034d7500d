"""One MQTT message to one row, or to the reason why it can't be one. Pure: no broker, no database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.messaging.topics import ROOT
from device.records import Detection, Event, Interval

__all__ = ["KINDS", "Arrival", "Key", "Kind", "Rejection", "read"]

Kind = Literal["detections", "intervals", "events"]

_RECORDS: dict[str, tuple[type[Struct], str]] = {
    "detections": (Detection, "captured_at"),
    "intervals": (Interval, "started_at"),
    "events": (Event, "since"),
}
KINDS = tuple(_RECORDS)

_TOPIC = re.compile(rf"^{re.escape(ROOT)}/(?P<device>[^/]+)/(?P<kind>{'|'.join(KINDS)})$")

_Name = Annotated[str, Meta(max_length=128, pattern="^[A-Za-z0-9._-]+$")]


class Key(Struct, frozen=True, kw_only=True):
    """What names a record for ever."""

    device_id: _Name
    spool_id: _Name
    seq: Annotated[int, Meta(ge=1, le=2**63 - 1)]


@dataclass(frozen=True)
class Arrival:
    """A record on its way into the database."""

    key: Key
    kind: Kind
    at: datetime
    """captured_at, started_at or since."""
    synchronised: bool
    """Whether the wall clock was; False for events, which don't say."""
    body: str
    """The record as it came."""


@dataclass(frozen=True)
class Rejection:
    """A message that is no record; kept whole."""

    topic: str
    payload: bytes
    reason: str
    key: Key | None = None
    """Where it could be read: the box must not wait for this number for ever."""


def read(topic: str, payload: bytes) -> Arrival | Rejection:
    """The record in a message; fields this version doesn't know are kept."""
    found = _TOPIC.match(topic)
    if found is None:
        return Rejection(topic, payload, "no topic of records")
    try:
        body = payload.decode("utf-8")
        record = msgspec.json.decode(payload, type=dict[str, Any])
        key = msgspec.convert(record, Key)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        return Rejection(topic, payload, f"not a record: {error}")
    if key.device_id != found["device"]:
        return Rejection(topic, payload, f"it says it is from {key.device_id}")
    kind: Any = found["kind"]
    try:
        return _arrival(key, kind, record, body)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return Rejection(topic, payload, str(error), key)


def _arrival(key: Key, kind: Kind, record: dict[str, Any], body: str) -> Arrival:
    known, stamp = _RECORDS[kind]
    schema = str(record.get("schema", ""))
    name = f"holonode.{kind[:-1]}/"
    if not schema.startswith(name):
        raise ValueError(f"schema: expected {name}1, got {schema!r}")
    if schema == f"{name}1":
        # What this version knows must be right; what it doesn't know passes.
        msgspec.convert({field: record[field] for field in known.__struct_fields__ if field in record}, known)
    at = datetime.fromisoformat(str(record.get(stamp)))
    if at.tzinfo is None:
        raise ValueError(f"{stamp}: expected a time in UTC, got {record[stamp]!r}")
    at = at.astimezone(UTC)
    clock = record.get("clock")
    synchronised = isinstance(clock, dict) and clock.get("synchronised") is True
    return Arrival(key, kind, at, synchronised, body)
