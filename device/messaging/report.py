"""How the link is, and what it counted: for `health` and `stats`."""

from __future__ import annotations

from dataclasses import dataclass

from device.messaging.connection import LinkState
from device.messaging.limits import Limits
from device.messaging.reasons import named, remedy_of
from device.messaging.sender import DeliveryCounters
from device.messaging.statements import LeftOut
from device.records import Whole

__all__ = ["Ending", "LinkFigures", "LinkReport"]


@dataclass(kw_only=True)
class LinkFigures(DeliveryCounters):
    """Since the start."""

    flooded: Whole
    """Messages from the broker that were dropped: too many at once, or too large."""
    dropped: Whole
    """Of what is said once: stats and answers for which there was no connection, or too many waited."""
    connections: Whole
    """That were tried."""
    losses: Whole
    """Connections that stood and ended unasked."""
    put_out: Whole
    """Times that another client of this name took the connection."""
    faults: Whole
    """Of the link itself; in the log."""


@dataclass(frozen=True)
class Ending:
    """How a connection that stood came to its end."""

    reason: int | None
    """An MQTT 5 reason code; None: none was given."""
    by_broker: bool
    stood_s: float
    at: str
    """RFC 3339."""

    def words(self) -> str:
        """For a person."""
        if self.reason is None:
            return "the connection was cut without a reason"
        who = "the broker ended the connection" if self.by_broker else "the connection was given up"
        return f"{who}: {named(self.reason)}"

    @property
    def remedy(self) -> str:
        """What a person can do."""
        return "Look into the broker's log" if self.reason is None else remedy_of(self.reason)


@dataclass(frozen=True)
class LinkReport:
    """How the link is, for `health`: judged by what is delivered."""

    state: LinkState
    limits: Limits
    limitations: tuple[str, ...]
    """What the broker doesn't take, in words."""
    left_out: tuple[LeftOut, ...]
    """What it can't be told in full."""
    too_large: dict[int, int]
    """Bytes of the packet by seq, of records that it doesn't take for their size."""
    unconfirmable: bool
    """Whether no record can ever count as delivered."""
    stalled_s: float
    """How long records wait and none was delivered."""
    lost: Ending | None
    """The last connection, where it ended not long ago and nobody asked for it."""
    losses: int
    """Such endings since the start."""
    contended: bool
    """Whether another client has this one's name."""
    contention_certain: bool
    put_out: int
    """Times that this client was put out by it."""
    refused: int
    """Publishes, since the start."""
