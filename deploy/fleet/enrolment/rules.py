"""Who gets a certificate: a box with a one-time code, and one that shows the certificate that it has."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from deploy.fleet.enrolment.register import EnrolmentRegister
from deploy.fleet.enrolment.signer import Signer
from device.errors import CheckError, InputError
from device.identity.enrolment import EnrolmentCode, fingerprint

__all__ = ["EnrolmentRules"]

_RESERVED = ("authority", "broker", "collector")
"""Mean something else at the broker."""
_DEVICE = re.compile(r"[a-z0-9-]{1,64}")


class EnrolmentRules:
    """One fleet's."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the authority."""
        self.signer = Signer(folder)
        self.signer.certificate()
        self.register = EnrolmentRegister(folder / "enrolment.sqlite")
        if not self.signer.revoked_file.exists():
            self._write_revoked()

    def new_code(self, device_id: str, host: str, lasts: timedelta) -> EnrolmentCode:
        """A code for one box, once; an earlier one that nobody used is worth nothing any more."""
        _require_device(device_id)
        self.signer.make_server(host)
        secret = base64.b32encode(secrets.token_bytes(10)).decode()
        self.register.add_code(secret, device_id, datetime.now(UTC) + lasts)
        der = ssl.PEM_cert_to_DER_cert(_first(self.signer.server_pair.read_text(encoding="ascii")))
        return EnrolmentCode(secret, fingerprint(der))

    def enrol(self, device_id: str, secret: str, request: str) -> str:
        """PEM of the certificate; CheckError where the code isn't good. The same request again gets the same answer.

        What the device had before is revoked: a code is for a box that is new or was lost.
        """
        with self.register.lock:
            known, key_digest = self.register.code(secret, device_id), _key_digest(request)
            if known is None:
                raise CheckError("this code is not good", remedy="holonode-fleet enrol code DEVICE makes one.")
            expires_at, used_by = known
            if used_by is not None:
                if used_by == key_digest and (pem := self.register.certificate_of(device_id, key_digest)):
                    return pem
                raise CheckError("this code was used", remedy="Somebody has its certificate: revoke it if that wasn't you.")
            if datetime.now(UTC) > expires_at:
                raise CheckError("this code has expired", remedy="holonode-fleet enrol code DEVICE makes another.")
            certificate = self.signer.sign(request, device_id)
            self.register.use_code(secret, key_digest)
            self.revoke(device_id)
            return self._given(certificate, device_id, key_digest)

    def renew(self, device_id: str, serial: int, request: str) -> str:
        """PEM of the next certificate for who showed the one of this serial; CheckError where that is revoked or another's."""
        with self.register.lock:
            if not self.register.is_valid(serial, device_id):
                raise CheckError("the certificate that was shown is revoked, or another device's", got=device_id)
            key_digest = _key_digest(request)
            if pem := self.register.certificate_of(device_id, key_digest):
                return pem
            return self._given(self.signer.sign(request, device_id), device_id, key_digest)

    def sign_file(self, device_id: str, request: str) -> str:
        """The same for a request that a person brought on a stick, and vouches for."""
        _require_device(device_id)
        with self.register.lock:
            certificate = self.signer.sign(request, device_id)
            self.revoke(device_id)
            return self._given(certificate, device_id, _key_digest(request))

    def revoke(self, device_id: str) -> int:
        """All of a device's certificates, in the broker's list too; returns how many that were."""
        with self.register.lock:
            count = self.register.revoke(device_id)
            self._write_revoked()
            return count

    def _given(self, certificate: x509.Certificate, device_id: str, key_digest: str) -> str:
        pem = certificate.public_bytes(Encoding.PEM).decode()
        self.register.add_certificate(certificate.serial_number, device_id, key_digest, certificate.not_valid_after_utc, pem)
        return pem

    def _write_revoked(self) -> None:
        revoked = [(one.serial, one.revoked_at) for one in self.register.certificates() if one.revoked_at is not None]
        self.signer.write_revoked(revoked)


def _require_device(device_id: str) -> None:
    if device_id in _RESERVED or not _DEVICE.fullmatch(device_id):
        raise InputError("not a device's id", expected="lower-case letters, digits, hyphens", got=device_id)


def _key_digest(request: str) -> str:
    try:
        key = x509.load_pem_x509_csr(request.encode()).public_key()
    except ValueError as error:
        raise InputError("not a request for a certificate", got=str(error)) from error
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _first(pem: str) -> str:
    end = "-----END CERTIFICATE-----"
    return pem.partition(end)[0] + end
