"""The key of a box, made on it, and its certificate: one file, replaced in one step, so that a power cut leaves a pair that fits.

`mqtt.cert_file` and `mqtt.key_file` both name that file. P-256, X.509 (RFC 5280), requests by PKCS #10 (RFC 2986).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from device.errors import CheckError, InputError
from device.updates.files import read_small, remove, write_whole

__all__ = ["OwnKey"]

_RENEWED_SHARE = 1 / 3
"""Of a certificate's time: with less of it left it is renewed, so that a month without the fleet costs nothing."""


@dataclass(frozen=True)
class OwnKey:
    """The folder of a box's key and certificate."""

    folder: Path

    @property
    def pair(self) -> Path:
        """Certificate and key, for the box's user alone."""
        return self.folder / "identity.pem"

    @property
    def authority(self) -> Path:
        """The fleet's authority: `mqtt.ca_file`."""
        return self.folder / "authority.crt"

    @property
    def _pending(self) -> Path:
        return self.folder / "pending.key"

    def request(self, device_id: str) -> str:
        """The PEM of a request for a certificate; its key stays here and is the same until the certificate has come."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device_id)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(self._pending_key(), hashes.SHA256())
        return request.public_bytes(Encoding.PEM).decode()

    def install(self, certificate: str, authority: str | None, device_id: str) -> datetime:
        """Use a certificate from here on; returns until when. CheckError where it is another's, and nothing is changed.

        authority: of the fleet, at the first time; None: the one that is known.
        """
        try:
            known = authority.encode() if authority is not None else read_small(self.authority)
            trusted, given = x509.load_pem_x509_certificate(known or b""), x509.load_pem_x509_certificate(certificate.encode())
            given.verify_directly_issued_by(trusted)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise CheckError("the certificate is not the fleet's", got=str(error) or type(error).__name__) from error
        key = self._pending_key()
        names = [str(one.value) for one in given.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [device_id]:
            raise CheckError("the certificate is another device's", expected=device_id, got=", ".join(names))
        shape = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        if given.public_key().public_bytes(*shape) != key.public_key().public_bytes(*shape):
            raise CheckError("the certificate is for another key than this box's", got=device_id)
        if authority is not None:
            write_whole(self.authority, trusted.public_bytes(Encoding.PEM))
        write_whole(self.pair, given.public_bytes(Encoding.PEM) + _private(key), mode=0o600)
        remove(self._pending)
        return given.not_valid_after_utc

    def certificate(self) -> x509.Certificate | None:
        """The one in use; None where there is none."""
        content = read_small(self.pair)
        return None if content is None else x509.load_pem_x509_certificate(content)

    def is_due(self, now: datetime | None = None) -> bool:
        """Whether it should be renewed."""
        certificate = self.certificate()
        if certificate is None:
            return False
        lasts = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return certificate.not_valid_after_utc - (now or datetime.now(UTC)) < _RENEWED_SHARE * lasts

    def _pending_key(self) -> ec.EllipticCurvePrivateKey:
        content = read_small(self._pending)
        if content is not None:
            key = load_pem_private_key(content, None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise InputError("the key that waits for its certificate is none of ours", where=self._pending)
            return key
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        write_whole(self._pending, _private(key), mode=0o600)
        return key


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
