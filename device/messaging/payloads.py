"""Payloads beside the records: status, info, health, stats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.records import iso_time

__all__ = ["Ack", "Check", "CheckStatus", "Health", "Info", "Stats", "Status", "to_payload"]


class Status(Struct, frozen=True, kw_only=True):
    """`status`, retained; `offline` is the last will."""

    status: Literal["online", "stopped", "offline"]
    since: str
    boot_id: str

    @classmethod
    def now(cls, status: Literal["online", "stopped", "offline"], boot_id: str) -> Status:
        """A status from this moment."""
        return cls(status=status, since=iso_time(datetime.now(UTC)), boot_id=boot_id)


CheckStatus = Literal["ok", "not evaluated", "warning", "failed"]


class Check(Struct, frozen=True, kw_only=True):
    """One check of `health`; the worst of all wins."""

    name: str
    status: CheckStatus
    value: float | str | None = None
    unit: str | None = None
    message: str = ""
    remedy: str = ""


class Health(Struct, frozen=True, kw_only=True):
    """`health`, retained: the worst check wins."""

    status: Literal["ok", "warning", "failed"]
    at: str
    checks: tuple[Check, ...]
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more: checks that are ok, words, or any."""

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Health:
        """From this moment's checks; what was not evaluated is no worse than ok."""
        found = tuple(checks)
        seen = {check.status for check in found}
        worst = "failed" if "failed" in seen else "warning" if "warning" in seen else "ok"
        return cls(status=worst, at=iso_time(datetime.now(UTC)), checks=found)


class Info(Struct, frozen=True, kw_only=True):
    """`info`, retained: what this box is."""

    device_id: str
    software: dict[str, str] | None
    instrument: dict[str, Any] | None
    instrument_id: str
    calibration_id: str | None
    simulated: tuple[str, ...] = ()
    """Parts of the instrument that are simulated; empty: none."""
    models: dict[str, Any] | None
    pipeline_id: str
    config: dict[str, Any] | None
    config_hash: str
    armed: dict[str, Any] | None = None
    """By whom, when and with what it was armed; None: not armed."""
    settings: dict[str, Any] | None = {}
    """What was changed from afar, by dotted key; `config` holds it already."""
    schemas: tuple[str, ...] = ("holonode.detection/1", "holonode.interval/1", "holonode.event/1")
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more; null above."""


class Stats(Struct, frozen=True, kw_only=True):
    """`stats`: once a minute; further figures may stand beside these."""

    uptime_s: float
    intervals: int
    detections: int
    intervals_lost: int
    frames_unchecked: int
    """Frames with more particles than are checked against the hologram, since the start."""
    outbox_depth: int
    oldest_waiting_s: float | None
    commits_refused: int
    outbox: dict[str, int] | None
    clock: dict[str, Any] | None
    publishes_refused: int
    published: int
    delivery: dict[str, Any] | None
    """What became of records on their way, since the start."""
    last_analysis_s: float
    last_detection_at: str | None
    environment: dict[str, float | None] | None
    review: dict[str, Any] | None
    camera: dict[str, Any] | None
    optics: dict[str, Any] | None
    sampling: Literal["started", "stopped"]
    commands: dict[str, int] | None
    """Requests since the start, by what became of them; None: none are taken."""
    lines_not_printed: int | None
    """Since the start: where stdout and stderr were full, closed or not read."""
    own_broker: dict[str, int] | None
    """How often the service's own broker was started again, or could not be; None: another one is configured."""
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more; null above."""


class Ack(Struct, frozen=True, kw_only=True):
    """`ack`, from a collector: everything of the spool from `first` to `seq` is committed."""

    spool_id: str
    seq: Annotated[int, Meta(ge=1)]
    first: Annotated[int, Meta(ge=1)]


def to_payload(value: Struct | dict[str, Any] | list[Any]) -> bytes:
    """JSON, UTF-8."""
    return msgspec.json.encode(value)
