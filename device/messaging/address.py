"""Where the broker is: its URL, and the password for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from device.config import MqttConfig
from device.errors import InputError

__all__ = ["Address", "parse_url", "password_of"]


@dataclass(frozen=True)
class Address:
    """Where the broker is."""

    host: str
    port: int
    tls: bool


def parse_url(url: str) -> Address:
    """The address in mqtt://host:port or mqtts://host:port; InputError where it isn't one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad_url(url) from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in ("", "/"):
        raise _bad_url(url)
    if parts.username or parts.password:
        raise InputError(
            "a broker's URL must not hold credentials", where="mqtt.url", remedy="Use mqtt.username and mqtt.password_file."
        )
    tls = parts.scheme == "mqtts"
    return Address(parts.hostname, port or (8883 if tls else 1883), tls)


def _bad_url(url: str) -> InputError:
    # What stands before an @ may be a password.
    shown = f"...@{url.rpartition('@')[2]}" if "@" in url else url
    return InputError("not a broker's URL", where="mqtt.url", expected="mqtt://host:port or mqtts://host:port", got=shown)


def password_of(config: MqttConfig) -> str | None:
    """What the password file holds; None where there is none, InputError where it can't be read."""
    if not config.password_file:
        return None
    try:
        return Path(config.password_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "the password file can't be read", where=f"mqtt.password_file = {config.password_file!r}",
            got=error.strerror if isinstance(error, OSError) else "not text",
            remedy="Correct mqtt.password_file, or let the service's user read the file (mode 600, owned by that user).",
        ) from error  # fmt: skip
