"""Where the broker is, and what the device shows it: URL, password, certificates."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from device.config import MqttConfig
from device.errors import InputError

__all__ = ["Address", "Certificates", "parse_url", "password_of"]


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
    return InputError("not a broker's URL", where="mqtt.url", expected="mqtt://host:port or mqtts://host:port", got=url)


def password_of(config: MqttConfig) -> str | None:
    """What the password file holds; None where there is none, InputError where it can't be read."""
    if not config.password_file:
        return None
    try:
        return Path(config.password_file).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InputError("the password file can't be read", where="mqtt.password_file", got=error.strerror) from error


class Certificates:
    """The files of a TLS connection, looked at again when they are replaced."""

    def __init__(self, config: MqttConfig) -> None:
        """InputError where they don't fit together."""
        self._config = config
        self._files = {
            key: Path(name).expanduser()
            for key, name in (("ca_file", config.ca_file), ("cert_file", config.cert_file), ("key_file", config.key_file))
            if name
        }
        self._seen = self._state()
        self.context = self._load()

    def replaced(self) -> bool:
        """Whether other files lie there and were taken up; InputError, once, where they lie there and can't be."""
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        self.context = self._load()
        return True

    def _state(self) -> list[tuple[int, int, int]]:
        """Which files these are; those that are missing, in the middle of a replacement, are none."""
        found: list[tuple[int, int, int]] = []
        for path in self._files.values():
            try:
                state = path.stat()
                found.append((state.st_ino, state.st_mtime_ns, state.st_size))
            except OSError:
                found.append((0, 0, 0))
        return found

    def _load(self) -> ssl.SSLContext:
        """The authority and the name in the broker's certificate are checked, always."""
        certificate, key = self._files.get("cert_file"), self._files.get("key_file")
        if (certificate is None) != (key is None):
            raise InputError("a certificate needs its key", where="mqtt.cert_file, mqtt.key_file", expected="both or neither")
        authority = self._files.get("ca_file")
        try:
            context = ssl.create_default_context(cafile=str(authority) if authority else None)
        except (OSError, ssl.SSLError) as error:
            raise InputError("the authority can't be read", where=f"mqtt.ca_file {authority}", got=_why(error)) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate is not None and key is not None:
            _refuse_open_key(key)
            try:
                context.load_cert_chain(certificate, key, password=_no_password)
            except (OSError, ssl.SSLError) as error:
                raise InputError(
                    "the device's certificate and key can't be used", where=f"mqtt.cert_file {certificate}", got=_why(error),
                    remedy="Both are PEM files, the key belongs to the certificate and has no password.",
                ) from error  # fmt: skip
        return context


def _refuse_open_key(key: Path) -> None:
    try:
        mode = stat.S_IMODE(key.stat().st_mode)
    except OSError as error:
        raise InputError("the device's key can't be read", where=f"mqtt.key_file {key}", got=error.strerror) from error
    if mode & 0o077:
        raise InputError(
            "others can read the device's key", where=f"mqtt.key_file {key}", expected="0600 or 0400", got=f"{mode:04o}",
            remedy=f"chmod 600 {key}; make a new one where somebody may have read it.",
        )  # fmt: skip


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal, and wait.
    return ""


def _why(error: OSError | ssl.SSLError) -> str:
    return str(getattr(error, "reason", None) or error.strerror or error)
