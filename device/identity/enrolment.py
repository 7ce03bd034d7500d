"""How a box gets its certificate from the fleet's authority.

A one-time code holds a secret and the fingerprint of the server's certificate: nothing is sent before the server has shown that
certificate and its key, so the secret goes to no one else. A renewal shows the certificate that the box has.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from device.errors import CheckError, InputError, TransientError
from device.identity.own_key import OwnKey

__all__ = ["EnrolmentCode", "enrol", "fingerprint", "renew"]

_SECRET_SIGNS = 16
_SILENCE_S = 30.0
_MOST_BYTES = 65_536


def fingerprint(certificate_der: bytes) -> str:
    """Of a certificate: the first 80 bits of its SHA-256 in base 32."""
    return base64.b32encode(hashlib.sha256(certificate_der).digest()[:10]).decode()


@dataclass(frozen=True)
class EnrolmentCode:
    """What a person types into a box."""

    secret: str
    """80 bits in base 32."""
    server: str
    """Fingerprint of the server's certificate."""

    def __str__(self) -> str:
        signs = self.secret + self.server
        return "-".join(signs[at : at + 4] for at in range(0, len(signs), 4))

    @classmethod
    def parsed(cls, text: str) -> EnrolmentCode:
        """InputError where it is none."""
        signs = re.sub(r"[\s-]", "", text).upper()
        if not re.fullmatch(r"[A-Z2-7]{32}", signs):
            raise InputError(
                "this is no enrolment code", expected="8 groups of 4 letters and digits", got=f"{len(signs)} signs"
            )
        return cls(signs[:_SECRET_SIGNS], signs[_SECRET_SIGNS:])


def enrol(key: OwnKey, url: str, code: EnrolmentCode, device_id: str) -> datetime:
    """Get the first certificate; returns until when it holds. CheckError where the server is another or refuses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who it is stands in the code, and is looked at before anything is sent.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with _EnrolmentConnection(url, context) as server:
        if not hmac.compare_digest(fingerprint(server.certificate), code.server):
            raise CheckError(
                "the server is not the one that the code is for", where=url, got=fingerprint(server.certificate),
                remedy="Is the address right? The code was not sent.",
            )  # fmt: skip
        answer = server.ask("/enrol", {"device_id": device_id, "code": code.secret, "request": key.request(device_id)})
    return key.install(answer["certificate"], answer["authority"], device_id)


def renew(key: OwnKey, url: str, device_id: str) -> datetime:
    """Get the next certificate for a new key; the one in use stays until then."""
    if key.certificate() is None:
        raise InputError("this box has no certificate yet", where=key.pair, remedy="holonode identity enrol")
    try:
        context = ssl.create_default_context(cafile=str(key.authority))
        context.load_cert_chain(key.pair)
    except (OSError, ssl.SSLError) as error:
        raise InputError("this box's certificate can't be used", where=key.pair, got=str(error)) from error
    with _EnrolmentConnection(url, context) as server:
        answer = server.ask("/renew", {"device_id": device_id, "request": key.request(device_id)})
    return key.install(answer["certificate"], None, device_id)


class _EnrolmentConnection:
    """One, over TLS; nothing is sent before somebody asks."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise InputError("not the address of an enrolment server", expected="https://host:port", got=url)
        self._url = url
        self._connection = http.client.HTTPSConnection(parts.hostname, parts.port or 8885, context=context, timeout=_SILENCE_S)

    def __enter__(self) -> _EnrolmentConnection:
        try:
            self._connection.connect()
        except ssl.SSLError as error:
            raise CheckError(
                "no safe connection to the enrolment server", where=self._url, got=error.reason or str(error)
            ) from error
        except OSError as error:
            raise TransientError("the enrolment server can't be reached", where=self._url, got=str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def certificate(self) -> bytes:
        """That the server showed, DER."""
        socket = self._connection.sock
        return (socket.getpeercert(binary_form=True) or b"") if isinstance(socket, ssl.SSLSocket) else b""

    def ask(self, path: str, question: dict[str, str]) -> dict[str, str]:
        """What it answers; CheckError where it refuses."""
        try:
            self._connection.request("POST", path, json.dumps(question), {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            said: Any = json.loads(response.read(_MOST_BYTES))
            if response.status == http.client.OK:
                return {"certificate": str(said["certificate"]), "authority": str(said["authority"])}
        except (OSError, http.client.HTTPException) as error:
            raise TransientError("the enrolment server broke off", where=self._url, got=str(error)) from error
        except (ValueError, KeyError, TypeError) as error:
            raise CheckError("the enrolment server answers in another way", where=self._url, got=str(error)) from error
        raise CheckError("the fleet refuses", where=self._url, got=str(said.get("error", response.status)))
