"""One MQTT message to one row, or to the reason why it can't be one. Pure: no broker, no database."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, Literal

import msgspec
from msgspec import Struct

from device.messaging.topics import ROOT
from device.records import Detection, Event, Interval, Name, Seq
from device.records_1 import upgraded

__all__ = ["KINDS", "MOST_BYTES", "Arrival", "Key", "Kind", "Rejection", "read"]

Kind = Literal["detections", "intervals", "events"]

_RECORDS: dict[str, tuple[type[Struct], str]] = {
    "detections": (Detection, "captured_at"),
    "intervals": (Interval, "started_at"),
    "events": (Event, "since"),
}
KINDS = tuple(_RECORDS)

_TOPIC = re.compile(rf"{re.escape(ROOT)}/(?P<device>[^/]+)/(?P<kind>{'|'.join(KINDS)})")
_VERSIONS = ("1", "2")
"""Of records, that this version knows."""
_SCHEMA = re.compile(r"holonode\.(?P<name>[a-z]+)/(?P<version>[1-9][0-9]{0,3})")

MOST_BYTES = 256 * 1024
"""Of a record: a hundred times a detection, and an interval of a thousand labels."""
_KEPT_BYTES = 4096
"""Of a message that is larger."""
_DEEPEST = 32
"""Objects and lists in each other; a record has four."""
_WILD = (b"0" * 48, b"0e0000", b"0e-0000")
"""In the shape of a number: 48 digits in a row, where a double has 17 that matter; an exponent of four, where it has three."""
_EARLIEST, _LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""No Linux sets its clock beyond 1970 to 2232, and 2262 is where nanoseconds in 64 bits end, in which many readers count."""

_HEAD = re.compile(
    rb'\s*\{\s*"device_id"\s*:\s*"(?P<device_id>[\w.-]{1,128})"\s*,\s*"spool_id"\s*:\s*"(?P<spool_id>[\w.-]{1,128})"'
    rb'\s*,\s*"seq"\s*:\s*(?P<seq>[0-9]{1,16})\s*[,}]'
)
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SHAPES = bytes(
    ord("0") if byte in b"0123456789" else ord("e") if byte in b"eE" else ord("-") if byte in b"+-" else ord(" ")
    for byte in range(256)
)
"""Digits as 0, signs as -."""
_ZERO_CHARACTER = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_ORDERED = msgspec.json.Encoder(order="sorted")
_OBJECT = msgspec.json.Decoder(dict[str, Any])

_STAMPS = frozenset({"captured_at", "started_at", "ended_at", "since", "clock", "historical"})
"""What a box may correct in a record that waits, and says on the way: two records that differ in nothing else are one."""


class Key(Struct, frozen=True, kw_only=True):
    """What names a record for ever."""

    device_id: Name
    spool_id: Name
    seq: Seq


@dataclass(frozen=True)
class Arrival:
    """A record on its way into the database."""

    key: Key
    kind: Kind
    at: datetime
    """captured_at, started_at or since; of an unknown schema without one, when it came."""
    synchronised: bool
    """Whether the wall clock was; False for events, which don't say."""
    body: str
    """The record as it came."""
    digest: bytes
    """Of its content without the stamps, the same after a correction; of another record under this key, another."""
    unknown_schema: str = ""
    """Where it isn't one that this version knows."""


@dataclass(frozen=True)
class Rejection:
    """A message that is no record."""

    topic: str
    payload: bytes
    """Whole; of a very large one its beginning."""
    reason: str
    key: Key | None = None
    """Where it could be read: the box must not wait for this number for ever."""
    cut_from: tuple[int, bytes] | None = None
    """Of a message that is kept in part: its bytes, its SHA-256."""

    @classmethod
    def of(cls, topic: str, payload: bytes, reason: str, key: Key | None = None) -> Rejection:
        """Of a very large message no more is held than its beginning."""
        if len(payload) <= MOST_BYTES:
            return cls(topic, payload, reason, key)
        return cls(topic, payload[:_KEPT_BYTES], reason, key, (len(payload), hashlib.sha256(payload).digest()))

    @property
    def size(self) -> int:
        """Bytes of the message."""
        return len(self.payload) if self.cut_from is None else self.cut_from[0]

    @property
    def sha256(self) -> bytes:
        """Of the message."""
        return hashlib.sha256(self.payload).digest() if self.cut_from is None else self.cut_from[1]


def read(topic: str, payload: bytes) -> Arrival | Rejection:
    """The record in a message; fields this version doesn't know are kept. Never raises."""
    try:
        return _read(topic, payload)
    except Exception as error:  # noqa: BLE001 - the edge to whatever anybody publishes: it must not end a collector
        return Rejection.of(topic, payload, f"not a record: {type(error).__name__}: {error}")


def _read(topic: str, payload: bytes) -> Arrival | Rejection:
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return Rejection.of(topic, payload, "no topic of records")
    if fault := _too_much(payload):
        return Rejection.of(topic, payload, f"not a record: {fault}", _key_at_head(found["device"], payload))
    try:
        body = payload.decode("utf-8")
        record = _OBJECT.decode(payload)
        key = msgspec.convert(record, Key)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        return Rejection.of(topic, payload, f"not a record: {error}", _key_at_head(found["device"], payload))
    if key.device_id != found["device"]:
        return Rejection.of(topic, payload, f"it says it is from {key.device_id}")
    kind: Any = found["kind"]
    try:
        _must_hold(payload)
        return _arrival(key, kind, record, body)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return Rejection.of(topic, payload, str(error), key)


def _too_much(payload: bytes) -> str | None:
    """What no reader should be made to parse: found before anything is made of it."""
    if len(payload) > MOST_BYTES:
        return f"{len(payload)} bytes, expected at most {MOST_BYTES}"
    # Few records look as if: only then is it worth telling apart what is in a string and what is not.
    if payload.count(b"{") + payload.count(b"[") > _DEEPEST and (depth := _depth(payload)) > _DEEPEST:
        return f"nested {depth} deep, expected at most {_DEEPEST}"
    return None


def _key_at_head(device_id: str, payload: bytes) -> Key | None:
    """Of a record that can't be parsed, as boxes write it: theirs must not wait for this number for ever."""
    if (found := _HEAD.match(payload)) is None:
        return None
    try:
        key = msgspec.convert({name: text.decode() for name, text in found.groupdict().items()}, Key, strict=False)
    except msgspec.ValidationError:
        return None
    return key if key.device_id == device_id else None


def _must_hold(payload: bytes) -> None:
    """Refuse what JSON can say and PostgreSQL, or who reads from it, can't hold."""
    if _wild(payload) and _wild(_STRING.sub(b"", payload)):
        raise ValueError("a number of 48 digits or more, or with more than three digits of exponent")
    if b"\\u0000" in payload and _ZERO_CHARACTER.search(payload):
        raise ValueError("a zero character (\\u0000) in a string")


def _depth(payload: bytes) -> int:
    brackets = _STRING.sub(b"", payload).translate(None, _NO_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _wild(text: bytes) -> bool:
    shapes = text.translate(_SHAPES)
    return any(shape in shapes for shape in _WILD)


def _arrival(key: Key, kind: Kind, record: dict[str, Any], body: str) -> Arrival:
    known, stamp = _RECORDS[kind]
    schema = record.get("schema")
    expected = kind[:-1]
    named = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    if named is None or named["name"] != expected:
        raise ValueError(f"schema: expected holonode.{expected}/2, got {schema!r}")
    clock = record.get("clock")
    synchronised = isinstance(clock, dict) and clock.get("synchronised") is True
    if named["version"] not in _VERSIONS:
        at = _sound(record.get(stamp)) or datetime.now(UTC)
        return Arrival(key, kind, at, synchronised, body, _digest(kind, record), named[0])
    # What this version knows must be right; what it doesn't know passes.
    today = upgraded(record)
    msgspec.convert({name: today[name] for name in known.__struct_fields__ if name in today}, known)
    at = _sound(record[stamp])
    if at is None:
        raise ValueError(f"{stamp}: expected a time from {_EARLIEST:%Y} to before {_LATEST:%Y}, got {record[stamp]!r}")
    return Arrival(key, kind, at, synchronised, body, _digest(kind, record))


def _sound(stamp: object) -> datetime | None:
    """The time that a stamp says, if there is such a time and every reader can hold it."""
    try:
        at = datetime.fromisoformat(str(stamp)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if _EARLIEST <= at < _LATEST else None


def _digest(kind: str, record: Mapping[str, Any]) -> bytes:
    content = {name: value for name, value in record.items() if name not in _STAMPS}
    return hashlib.blake2b(_ORDERED.encode(content), digest_size=16, person=kind.encode()).digest()
