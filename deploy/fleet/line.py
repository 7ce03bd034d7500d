"""How a collector calls a broker: address, authority of its certificate, password."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from device.errors import InputError

__all__ = ["address", "encrypt", "password"]


def address(url: str) -> tuple[str, int, bool]:
    """(host, port, whether with TLS)."""
    expected = "mqtt://host:port or mqtts://host:port"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputError("not a broker's URL", where="--mqtt", expected=expected, remedy="Look at its port.") from None
    if parts.username or parts.password:
        raise InputError(
            "a broker's URL must not hold credentials", where="--mqtt", remedy="Use --username and --password-file."
        )
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise InputError("not a broker's URL", where="--mqtt", expected=expected, got=url)
    tls = parts.scheme == "mqtts"
    return parts.hostname, port or (8883 if tls else 1883), tls


def encrypt(client: paho.Client, ca_file: str) -> None:
    """Only to a broker whose certificate names its host and comes from the authority."""
    try:
        client.tls_set(ca_certs=ca_file or None, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    except OSError as error:
        raise InputError(
            "the broker's authority can't be read", where="--ca-file", expected="a certificate in PEM", got=error.strerror
        ) from error


def password(path: str) -> str | None:
    """From a file, so that it is in no list of processes."""
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError("the password file can't be read", where="--password-file", got=error.strerror) from error
