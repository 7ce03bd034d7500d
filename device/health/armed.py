"""That somebody checked the box and left it to itself: kept in the store, told as an event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from device.identifiers import record_ulid
from device.messaging.payloads import Check
from device.records import Event, Stamp, iso_time
from device.storage.outbox import Outbox

__all__ = ["STATE_KEY", "Armed", "arm", "armed_check", "armed_of"]

STATE_KEY = "armed"


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


def armed_of(state: str | None) -> Armed | None:
    """What the store holds under STATE_KEY; None where it isn't armed."""
    if state is None:
        return None
    try:
        return msgspec.json.decode(state, type=Armed)
    except msgspec.DecodeError:
        # Another version's: whoever armed that didn't check this one.
        return None


def arm(outbox: Outbox, armed: Armed) -> None:
    """Keep it, and the event that tells it, together."""
    now = datetime.now(UTC)

    def event(seq: int) -> Sequence[Event]:
        return [
            Event(
                device_id=outbox.device_id,
                spool_id=outbox.spool_id,
                seq=seq,
                id=record_ulid(now, outbox.device_id, outbox.spool_id, seq),
                code="armed",
                severity="warning" if armed.failed else "info",
                message=f"{armed.words()}; config {armed.config_hash}, instrument {armed.instrument_id}, "
                f"calibration {armed.calibration_id or 'none'}",
                value=armed.reason or None,
                since=iso_time(now),
            )
        ]

    outbox.commit(event, {STATE_KEY: msgspec.json.encode(armed).decode()})


def armed_check(armed: Armed | None, config_hash: str, *, simulated: bool) -> Check:
    """Whether the box was armed as it is; a simulated one needn't be."""
    if armed is None:
        return Check(
            name="armed", status="ok" if simulated else "warning", message="not armed: nobody checked that it lasts",
            remedy="" if simulated else "holonode arm",
        )  # fmt: skip
    if armed.config_hash != config_hash:
        return Check(
            name="armed", status="ok" if simulated else "warning", value=armed.at, message=f"{armed.words()}, with another configuration",
            remedy="holonode arm",
        )  # fmt: skip
    return Check(name="armed", status="warning" if armed.failed else "ok", value=armed.at, message=armed.words())
