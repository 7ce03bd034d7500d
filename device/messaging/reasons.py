"""Every MQTT 5 reason code that ends or refuses something, by its standard name, with what to do about it.

Names: MQTT Version 5.0, OASIS Standard, 2.4 (https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html). MQTT 3.1.1 gives no
reason for a connection that ends; its refusals of a CONNECT are told by the same codes.
"""

from __future__ import annotations

__all__ = [
    "NOT_AUTHORIZED", "NO_MATCHING_SUBSCRIBERS", "PACKET_TOO_LARGE", "PAYLOAD_FORMAT_INVALID", "QOS_NOT_SUPPORTED",
    "RETAIN_NOT_SUPPORTED", "SESSION_TAKEN_OVER", "named", "remedy_of",
]  # fmt: skip

NO_MATCHING_SUBSCRIBERS = 16
NOT_AUTHORIZED = 135
SESSION_TAKEN_OVER = 142
PACKET_TOO_LARGE = 149
PAYLOAD_FORMAT_INVALID = 153
RETAIN_NOT_SUPPORTED = 154
QOS_NOT_SUPPORTED = 155

_OWN_FAULT = "The broker and this program disagree about MQTT; send a support bundle to whoever maintains it"
_WAIT = "Nothing, if it passes; the box calls again, ever later"
_CREDENTIALS = "Check mqtt.username, mqtt.password_file and mqtt.cert_file"
_ELSEWHERE = "Ask who runs the broker for its new address, and set mqtt.url"

_REASONS: dict[int, tuple[str, str]] = {
    0: ("Normal disconnection", _WAIT),
    4: ("Disconnect with Will Message", _WAIT),
    NO_MATCHING_SUBSCRIBERS: ("No matching subscribers", "Start a collector, or whatever is to receive the records"),
    17: ("No subscription existed", _OWN_FAULT),
    24: ("Continue authentication", _OWN_FAULT),
    25: ("Re-authenticate", _OWN_FAULT),
    128: ("Unspecified error", "Look into the broker's log"),
    129: ("Malformed Packet", _OWN_FAULT),
    130: ("Protocol Error", _OWN_FAULT),
    131: ("Implementation specific error", "Look into the broker's log"),
    132: ("Unsupported Protocol Version", "Set mqtt.protocol to what the broker speaks, or leave it at auto"),
    133: ("Client Identifier not valid", "Let the broker accept holonode-<device.id>, or choose another device.id"),
    134: ("Bad User Name or Password", _CREDENTIALS),
    NOT_AUTHORIZED: (
        "Not authorized",
        f"Let this device write and read its topics; {_CREDENTIALS[0].lower()}{_CREDENTIALS[1:]}",
    ),
    136: ("Server unavailable", _WAIT),
    137: ("Server busy", _WAIT),
    138: ("Banned", "Ask who runs the broker why it bans this box"),
    139: ("Server shutting down", _WAIT),
    140: ("Bad authentication method", _CREDENTIALS),
    141: ("Keep Alive timeout", "Check the network; raise mqtt.keepalive_s where it is slow"),
    SESSION_TAKEN_OVER: (
        "Session taken over",
        "Give each box a device.id of its own: another client connects by this one's name",
    ),
    143: ("Topic Filter invalid", _OWN_FAULT),
    144: ("Topic Name invalid", "Let the broker take topics below holonode/v1/<device.id>"),
    145: ("Packet Identifier in use", _OWN_FAULT),
    146: ("Packet Identifier not found", _OWN_FAULT),
    147: ("Receive Maximum exceeded", "Lower delivery.window"),
    148: ("Topic Alias invalid", _OWN_FAULT),
    PACKET_TOO_LARGE: (
        "Packet too large",
        "Raise the broker's largest packet (mosquitto: max_packet_size, message_size_limit)",
    ),
    150: ("Message rate too high", "Lower delivery.history_per_s, or raise the broker's limit"),
    151: ("Quota exceeded", "Raise this device's quota at the broker, or lower delivery.history_per_s"),
    152: ("Administrative action", "Ask who runs the broker"),
    PAYLOAD_FORMAT_INVALID: ("Payload format invalid", "Ask who runs the broker what it checks payloads for"),
    RETAIN_NOT_SUPPORTED: ("Retain not supported", "Let the broker retain messages, or do without status for who comes later"),
    QOS_NOT_SUPPORTED: ("QoS not supported", "Let the broker take QoS 1; without it no record is ever acknowledged"),
    156: ("Use another server", _ELSEWHERE),
    157: ("Server moved", _ELSEWHERE),
    158: ("Shared Subscriptions not supported", "Collectors: --protocol 3.1.1, or another broker"),
    159: ("Connection rate exceeded", _WAIT),
    160: ("Maximum connect time", _WAIT),
    161: ("Subscription Identifiers not supported", _OWN_FAULT),
    162: ("Wildcard Subscriptions not supported", "Nothing: commands are subscribed to one by one"),
}


def named(code: int) -> str:
    """The standard name, with the code."""
    name, _ = _REASONS.get(code, ("Unknown reason", ""))
    return f"{name} ({code})"


def remedy_of(code: int) -> str:
    """What a person can do."""
    return _REASONS.get(code, ("", "Look into the broker's log"))[1]
