"""That somebody checked the box and left it to itself: kept in the store, told as an event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from device.identifiers import record_ulid
from device.messaging.payloads import Armed, Check
from device.records import Event, iso_time
from device.storage.outbox import Outbox

__all__ = ["STATE_KEY", "arm", "armed_check", "armed_of"]

STATE_KEY = "armed"


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
