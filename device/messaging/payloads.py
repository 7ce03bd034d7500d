"""Payloads beside the records: status, info, health, stats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from device.records import Stamp, Whole, iso_time

__all__ = ["Ack", "Armed", "Check", "CheckStatus", "Health", "Info", "Stats", "Status", "to_payload"]

_Duration = Annotated[float, Meta(ge=0)]


class Status(Struct, frozen=True, kw_only=True):
    """`status`, retained; `offline` is the last will."""

    status: Literal["online", "stopped", "offline"]
    """online: it is there; stopped: somebody ended it; offline: it went without a word."""
    since: Stamp
    """When this began; of offline, when the connection was made that ended."""
    boot_id: str
    """Of this run of the service, a ULID."""

    @classmethod
    def now(cls, status: Literal["online", "stopped", "offline"], boot_id: str) -> Status:
        """A status from this moment."""
        return cls(status=status, since=iso_time(datetime.now(UTC)), boot_id=boot_id)


class Armed(Struct, frozen=True, kw_only=True):
    """Who armed the box, when, and as what."""

    at: Stamp
    """When."""
    by: str
    """Who."""
    days: float
    """That it is to last by itself."""
    config_hash: str
    """Of the configuration that was checked: 16 hex digits of its SHA-256."""
    instrument_id: str
    """Content id of the instrument that was checked."""
    calibration_id: str | None = None
    """Of the calibration records that were in use; None: none."""
    reason: str = ""
    """Why it was armed although checks failed; empty where none did."""
    failed: tuple[str, ...] = ()
    """Names of the checks that failed."""

    def words(self) -> str:
        """For a person."""
        forced = f", although {', '.join(self.failed)} failed: {self.reason}" if self.failed else ""
        return f"armed by {self.by} on {self.at[:16]}Z for {self.days:g} days{forced}"


CheckStatus = Literal["ok", "not evaluated", "warning", "failed"]


class Check(Struct, frozen=True, kw_only=True):
    """One check of `health`; the worst of all wins."""

    name: str
    """What was checked."""
    status: CheckStatus
    """ok, or how bad it is; not evaluated is no worse than ok."""
    value: float | str | None = None
    """What was found; None: no figure."""
    unit: str | None = None
    """Of the value."""
    message: str = ""
    """What was found, for people."""
    remedy: str = ""
    """What to do about it; empty: nothing."""


class Health(Struct, frozen=True, kw_only=True):
    """`health`, retained: the worst check wins."""

    status: Literal["ok", "warning", "failed"]
    """Of the worst check."""
    at: Stamp
    """When it was looked at."""
    checks: tuple[Check, ...]
    """All of them."""
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
    """The box."""
    software: dict[str, str] | None
    """Versions."""
    instrument: dict[str, Any] | None
    """As its file describes it, with what was measured in place of what was nominal."""
    instrument_id: str
    """Content id of `instrument`: 16 hex digits of its SHA-256."""
    calibration_id: str | None
    """Of the calibration records in use; None: none."""
    simulated: tuple[str, ...] = ()
    """Parts of the instrument that are simulated; empty: none."""
    models: dict[str, Any] | None
    """In use, by role."""
    pipeline_id: str
    """Of the analysis in use, its code, models and settings: 16 hex digits of a SHA-256."""
    config: dict[str, Any] | None
    """In use; what is secret is shown as set."""
    config_hash: str
    """Of the configuration in use: 16 hex digits of its SHA-256."""
    armed: dict[str, Any] | None = None
    """By whom, when and with what it was armed; None: not armed."""
    settings: dict[str, Any] | None = {}
    """What was changed from afar, by dotted key; `config` holds it already."""
    dashboard_fingerprint: str | None = None
    """SHA-256 of the dashboard's certificate, as browsers show it; None: it is served on loopback alone, or not at all."""
    schemas: tuple[str, ...] = ("holonode.detection/2", "holonode.interval/2", "holonode.event/2")
    """Of the records that it makes; what waited through an update goes out as it was made."""
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more; null above."""


class Stats(Struct, frozen=True, kw_only=True):
    """`stats`: once a minute; further figures may stand beside these."""

    uptime_s: _Duration
    """Since the service started."""
    intervals: Whole
    """Made since the start."""
    detections: Whole
    """Made since the start."""
    intervals_lost: Whole
    """That came to nothing since the start: hardware or store failed."""
    frames_unchecked: Whole
    """Frames with more particles than are checked against the hologram, since the start."""
    outbox_depth: Whole
    """Records that wait to be delivered."""
    oldest_waiting_s: _Duration | None
    """How long the first of them has waited; None: none waits."""
    commits_refused: Whole
    """By the store, since the last that went through."""
    outbox: dict[str, Whole] | None
    """What became of records in the store, since the start."""
    clock: dict[str, Any] | None
    """Quality of the wall clock."""
    publishes_refused: Whole
    """By the broker, since the start."""
    published: Whole
    """Records delivered since the start."""
    delivery: dict[str, Any] | None
    """What became of records on their way, since the start."""
    last_analysis_s: _Duration
    """That the last interval's frames took."""
    last_detection_at: Stamp | None
    """End of the last interval with a particle in it; None: none yet."""
    environment: dict[str, float | None] | None
    """What surrounds the instrument; None: the sensors don't answer."""
    review: dict[str, Any] | None
    """What became of crops worth a look; None: none are kept."""
    camera: dict[str, Any] | None
    """How a real camera does; None: it is simulated."""
    optics: dict[str, Any] | None
    """How far the optics are from their baseline."""
    sampling: Literal["started", "stopped"]
    """Whether samples are taken, as `start` and `stop` said last."""
    commands: dict[str, Whole] | None
    """Requests since the start, by what became of them; None: none are taken."""
    lines_not_printed: Whole | None
    """Since the start: where stdout and stderr were full, closed or not read."""
    own_broker: dict[str, Whole] | None
    """How often the service's own broker was started again, or could not be; None: another one is configured."""
    shortened: tuple[str, ...] = ()
    """What was left out because the broker takes no more; null above."""


class Ack(Struct, frozen=True, kw_only=True):
    """`ack`, from a collector: everything of the spool from `first` to `seq` is committed."""

    spool_id: str
    """Of the records."""
    seq: Annotated[int, Meta(ge=1)]
    """The last number that is committed."""
    first: Annotated[int, Meta(ge=1)]
    """The first number that is."""


def to_payload(value: Struct | dict[str, Any] | list[Any]) -> bytes:
    """JSON, UTF-8."""
    return msgspec.json.encode(value)
