"""What a broker says in its CONNACK that it takes: it binds whoever is connected, and the client library leaves it to us.

MQTT Version 5.0, OASIS Standard, 3.2.2.3. MQTT 3.1.1 announces nothing: what its broker takes is learned from how it answers.
Topic aliases are for the client to use, up to the maximum announced; this one sends none. No session is kept, whatever expiry
the broker sets: every connection starts clean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from paho.mqtt.properties import Properties

__all__ = ["Limits"]

QoS = Literal[0, 1]

_MOST_IN_FLIGHT = 65_535
"""Receive Maximum where none is announced (3.2.2.3.3)."""
_FOR_STATEMENTS = 8
"""Of what may be unacknowledged, left to status, info, health, discovery and answers."""


@dataclass(frozen=True)
class Limits:
    """Of one connection."""

    modern: bool = True
    """MQTT 5, whose packets have properties."""
    most_bytes: int | None = None
    """The largest packet; None: no limit is known."""
    receive_maximum: int = _MOST_IN_FLIGHT
    """Publishes of QoS 1 that may be unacknowledged."""
    qos: QoS = 1
    """The highest that may be published with."""
    retains: bool = True
    """Whether a message may be published to be kept."""
    wildcards: bool = True
    """Whether a subscription may hold + or #."""
    shared_subscriptions: bool = True
    """For collectors; the box uses none."""
    topic_aliases: int = 0
    """That the broker would take; none are sent."""
    keepalive_s: int | None = None
    """That the broker imposes; None: ours holds."""
    session_expiry_s: int | None = None
    """That the broker imposes; None: ours (0) holds."""
    client_id: str | None = None
    """That the broker gave in the place of ours."""

    @classmethod
    def of(cls, props: Properties | None, *, modern: bool = True) -> Limits:
        """From a CONNACK."""
        if not modern or props is None:
            return cls(modern=modern)
        return cls(
            most_bytes=getattr(props, "MaximumPacketSize", None),
            receive_maximum=getattr(props, "ReceiveMaximum", _MOST_IN_FLIGHT),
            qos=1 if getattr(props, "MaximumQoS", 2) >= 1 else 0,
            retains=bool(getattr(props, "RetainAvailable", 1)),
            wildcards=bool(getattr(props, "WildcardSubscriptionAvailable", 1)),
            shared_subscriptions=bool(getattr(props, "SharedSubscriptionAvailable", 1)),
            topic_aliases=getattr(props, "TopicAliasMaximum", 0),
            keepalive_s=getattr(props, "ServerKeepAlive", None),
            session_expiry_s=getattr(props, "SessionExpiryInterval", None),
            client_id=getattr(props, "AssignedClientIdentifier", None),
        )

    def narrowed(self, learned: Limits) -> Limits:
        """With what was learned from refusals: some brokers don't announce what they don't take."""
        return replace(self, qos=min(self.qos, learned.qos), retains=self.retains and learned.retains)

    @property
    def statements_in_flight(self) -> int:
        """Of QoS 1, beside the records; 0: they go by QoS 0, which the broker doesn't count."""
        return 0 if self.qos == 0 else min(_FOR_STATEMENTS, self.receive_maximum // 2)

    @property
    def records_in_flight(self) -> int:
        """Records that the broker takes unacknowledged."""
        return self.receive_maximum - self.statements_in_flight

    def packet_bytes(self, topic: str, payload: bytes, qos: int, properties: Properties | None = None) -> int:
        """The size of a PUBLISH (3.3)."""
        after = 2 + len(topic.encode()) + (2 if qos else 0) + len(payload)
        if self.modern:
            after += 1 if properties is None else len(properties.pack())
        return 1 + _length_bytes(after) + after

    def fits(self, topic: str, payload: bytes, qos: int, properties: Properties | None = None) -> bool:
        """Whether the broker takes a message of this size."""
        return self.most_bytes is None or self.packet_bytes(topic, payload, qos, properties) <= self.most_bytes

    @property
    def hinders(self) -> bool:
        """Whether a person should know at once; what doesn't fit is told by itself."""
        return self.qos == 0 or not self.retains or self.statements_in_flight == 0

    def restrictions(self, device_client_id: str) -> list[str]:
        """What a person should know of, in words."""
        few = self.qos == 1 and self.statements_in_flight == 0
        return [
            words
            for words, holds in (
                ("QoS 1 is not supported: no record is ever acknowledged", self.qos == 0),
                ("messages are not retained: who comes later doesn't see status, info and health", not self.retains),
                (f"packets of at most {self.most_bytes} bytes", self.most_bytes is not None),
                (f"{self.receive_maximum} unacknowledged at a time", self.receive_maximum <= _FOR_STATEMENTS),
                ("status, info and health go by QoS 0 to leave that to records", few),
                ("no wildcard subscriptions: commands are subscribed to one by one", not self.wildcards),
                (f"keep-alive {self.keepalive_s} s", self.keepalive_s is not None),
                (f"this box is called {self.client_id} there", self.client_id not in (None, device_client_id)),
            )
            if holds
        ]


def _length_bytes(length: int) -> int:
    """Of a variable byte integer (1.5.5)."""
    return 1 if length < 128 else 2 if length < 16_384 else 3 if length < 2_097_152 else 4
