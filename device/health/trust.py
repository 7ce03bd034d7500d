"""Whether a collector's word can be taken for a collector's: a record that is confirmed is forgotten."""

from __future__ import annotations

import ipaddress

from device.config import Config
from device.messaging.address import parse_url
from device.messaging.payloads import Check

__all__ = ["is_loopback", "trust_checks"]

_REMEDY = (
    "Use mqtts:// with a certificate or a user name for each client, and let collectors alone write holonode/v1/+/ack; or set "
    'delivery.confirm = "broker"'
)


def trust_checks(config: Config, *, armed: bool = False) -> list[Check]:
    """Of `delivery.confirm = "collector"`, where it is set; `armed`: before a box is left alone, for which it must hold."""
    if config.delivery.confirm != "collector":
        return []
    found = _doubt(config)
    if found is None:
        return [Check(name="confirmation", status="ok", value="collector")]
    severe, message = found
    return [
        Check(
            name="confirmation", status="failed" if armed and severe else "warning", value="collector", message=message,
            remedy=_REMEDY,
        )
    ]  # fmt: skip


def _doubt(config: Config) -> tuple[bool, str] | None:
    """(whether anybody can speak, why that is so); None where the broker knows who speaks."""
    mqtt = config.mqtt
    address = parse_url(mqtt.url) if mqtt.url else None
    who = "any program on this machine" if address is None or is_loopback(address.host) else "anybody who reaches the broker"
    if address is None or not (mqtt.username or (address.tls and mqtt.cert_file)):
        return True, f"the broker doesn't ask who speaks: {who} can confirm records, and they are forgotten"
    if not address.tls and not is_loopback(address.host):
        return False, "the password goes over the network in plain text: whoever reads it can confirm records"
    return None


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
