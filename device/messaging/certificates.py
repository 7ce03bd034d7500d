"""What the device shows a broker and what it trusts: the files of a TLS connection, looked at again when they are replaced."""

from __future__ import annotations

import ssl
import stat
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from device.config import MqttConfig
from device.errors import InputError
from device.messaging.der import children, text, time_of

__all__ = ["Certificates", "Identity", "certificates_of", "read_identity"]

_COMMON_NAME = bytes.fromhex("550403")
"""2.5.4.3, as in a certificate."""


@dataclass(frozen=True)
class Identity:
    """Who a certificate is for, and when it holds."""

    common_name: str
    not_before: datetime
    not_after: datetime


def read_identity(pem: str) -> Identity:
    """The first certificate of a PEM file; ValueError where there is none."""
    end = "-----END CERTIFICATE-----"
    first, found, _ = pem[max(pem.find("-----BEGIN"), 0) :].partition(end)
    if not found:
        raise ValueError("no certificate in it")
    (_, certificate), *_ = children(ssl.PEM_cert_to_DER_cert(first + end))
    (_, signed), *_ = children(certificate)
    # Version (where it is told), serial number, algorithm, issuer, validity, subject.
    fields = [content for tag, content in children(signed) if tag != 0xA0]
    starts, ends = (time_of(tag, content) for tag, content in children(fields[3]))
    names = [attribute for _, group in children(fields[4]) for _, attribute in children(group)]
    found_names = [text(value) for (_, key), (_, value) in map(children, names) if key == _COMMON_NAME]
    return Identity(found_names[-1] if found_names else "", starts, ends)


class _ClosedUnlessSafe(ssl.SSLSocket):
    """paho leaves a connection whose handshake failed open until it is collected."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def certificates_of(config: MqttConfig, device_id: str, *, tls: bool) -> Certificates | None:
    """None without TLS; InputError where files for it are named all the same: nothing goes out in plain text by mistake."""
    if tls:
        return Certificates(config, device_id)
    if config.ca_file or config.cert_file or config.key_file:
        raise InputError(
            "certificates are named and the connection would be plain text", where="mqtt.url", expected="mqtts://host:port",
            got=config.url, remedy="Correct mqtt.url, or leave out ca_file, cert_file and key_file.",
        )  # fmt: skip
    return None


class Certificates:
    """The authority, the device's certificate and its key."""

    context: ssl.SSLContext | None = None
    """What connections are made with; None: the files were never sound."""
    identity: Identity | None = None
    """Of the device's certificate in use; None: it shows none."""

    def __init__(self, config: MqttConfig, device_id: str) -> None:
        """InputError where one is named without the other; the files themselves are looked at by `replaced`."""
        if bool(config.cert_file) != bool(config.key_file):
            raise InputError("a certificate needs its key", where="mqtt.cert_file, mqtt.key_file", expected="both or neither")
        self._device_id = device_id
        self._files = {
            key: Path(name).expanduser()
            for key, name in (("ca_file", config.ca_file), ("cert_file", config.cert_file), ("key_file", config.key_file))
            if name
        }
        self._seen: list[tuple[int, int, int]] | None = None
        self._fresh: list[tuple[int, int, int]] = []

    def replaced(self) -> bool:
        """Whether other files lie there and were taken up; InputError, once, where they lie there and can't be."""
        state = self._state()
        if state == self._seen:
            return False
        if self._seen is not None and state != self._fresh:
            # Key and certificate are put there one after the other: what lies there the second time is whole.
            self._fresh = state
            return False
        self._seen = state
        certificate = self._files.get("cert_file")
        identity = None if certificate is None else self._identity_in(certificate)
        self.context, self.identity = self._load(), identity
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
        authority = self._files.get("ca_file")
        try:
            context = ssl.create_default_context(cafile=str(authority) if authority else None)
        except (OSError, ssl.SSLError) as error:
            raise InputError("the authority can't be read", where=f"mqtt.ca_file {authority}", got=_why(error)) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.sslsocket_class = _ClosedUnlessSafe
        certificate, key = self._files.get("cert_file"), self._files.get("key_file")
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

    def _identity_in(self, certificate: Path) -> Identity:
        """A broker knows the device by this name alone; under another's, records would be another device's."""
        where = f"mqtt.cert_file {certificate}"
        try:
            identity = read_identity(certificate.read_text(encoding="ascii"))
        except (OSError, ValueError, IndexError) as error:
            got = error.strerror if isinstance(error, OSError) else str(error)
            raise InputError("the device's certificate can't be read", where=where, expected="a PEM file", got=got) from error
        if identity.common_name != self._device_id:
            raise InputError(
                "the certificate is another device's", where=where,
                expected=f"common name '{self._device_id}', as device.id", got=f"'{identity.common_name}'",
            )  # fmt: skip
        return identity


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
