"""What the outbox hands out: rows that wait, and figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from device.errors import InputError
from device.records import Detection, Event, Interval, Whole, from_json

__all__ = ["Kind", "Oldest", "OutboxCounters", "Record", "Row", "kind_of", "record_of"]

Record = Detection | Interval | Event
Kind = Literal["detections", "intervals", "events"]


@dataclass(frozen=True)
class Row:
    """A record that waits."""

    seq: int
    """Its place in the store, by which the outbox is told of it: in the first spool, the record's own number too."""
    kind: Kind
    body: bytes
    """The record as JSON."""
    boot: str
    """End of the boot id of the service that made it."""
    historical: bool
    """Whether it was made before `live_from`."""


@dataclass(frozen=True)
class Oldest:
    """The row that has waited longest."""

    place: int
    """As `Row.seq` says it."""
    seq: int
    age_s: float
    """How long it has waited; at least that, where the machine has been off since."""


@dataclass
class OutboxCounters:
    """Since the service started."""

    gaps: Whole = 0
    """Gaps told in an event."""
    refused_records: Whole = 0
    """That a full or failing disk didn't take."""
    resent: Whole = 0
    """Rows published again because nobody confirmed them in time."""
    acks_refused: Whole = 0
    """Of a collector: for what was never published."""
    backdated: Whole = 0
    """Rows whose stamps were corrected when the wall clock was set."""
    failed_reads: Whole = 0
    """Of a disk that couldn't be read."""
    rotten: Whole = 0
    """Records that were damaged while they waited, each told under its own key."""
    salvages: Whole = 0
    """Times that a damaged store was salvaged."""
    spools: Whole = 0
    """Spools that were opened because the store was damaged, copied or put back."""


def kind_of(record: Record) -> Kind:
    """The topic's last part."""
    if isinstance(record, Detection):
        return "detections"
    return "intervals" if isinstance(record, Interval) else "events"


def record_of(kind: str, body: bytes) -> Record | None:
    """The record in a row; None where it is none."""
    try:
        if kind == "detections":
            return from_json(body, Detection)
        return from_json(body, Interval) if kind == "intervals" else from_json(body, Event)
    except InputError:
        return None
