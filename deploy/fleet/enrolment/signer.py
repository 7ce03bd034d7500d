"""The fleet's authority, as deploy/fleet/mosquitto/certificates.sh makes it: what it signs and revokes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from device.errors import InputError

__all__ = ["Signer"]

_BOX_LASTS = timedelta(days=90)
_SERVER_LASTS = timedelta(days=825)
_SLOW_CLOCKS = timedelta(days=1)
"""A box's clock may be behind."""


@dataclass(frozen=True)
class Signer:
    """A folder with authority.crt and authority.key."""

    folder: Path

    @property
    def revoked_file(self) -> Path:
        """The list that the broker reads: `crlfile`."""
        return self.folder / "authority.crl"

    @property
    def server_pair(self) -> Path:
        """Certificate and key of the enrolment server."""
        return self.folder / "enrolment.pem"

    def certificate(self) -> x509.Certificate:
        """The authority's own."""
        return x509.load_pem_x509_certificate(_read(self.folder / "authority.crt"))

    def sign(self, request_pem: str, device_id: str, lasts: timedelta = _BOX_LASTS) -> x509.Certificate:
        """A box's certificate; InputError where the request is none for it. Nothing of the request but its key is taken over."""
        try:
            request = x509.load_pem_x509_csr(request_pem.encode())
        except ValueError as error:
            raise InputError("not a request for a certificate", got=str(error)) from error
        names = [one.value for one in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        key = request.public_key()
        if not request.is_signature_valid or names != [device_id]:
            raise InputError("the request is not this device's", expected=device_id, got=", ".join(map(str, names)))
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size < 256:
            raise InputError("the request's key is of another kind", expected="P-256", got=type(key).__name__)
        return self._signed(key, device_id, lasts, ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def make_server(self, host: str) -> None:
        """Certificate and key of the enrolment server, unless they are there for that host and last."""
        if self.server_pair.exists():
            known = x509.load_pem_x509_certificate(self.server_pair.read_bytes())
            names = [one.value for one in known.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
            if names == [host] and known.not_valid_after_utc - datetime.now(UTC) > timedelta(days=30):
                return
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            alternative: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            alternative = x509.DNSName(host)
        certificate = self._signed(key.public_key(), host, _SERVER_LASTS, ExtendedKeyUsageOID.SERVER_AUTH, alternative)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _put(self.server_pair, certificate.public_bytes(Encoding.PEM) + private, 0o600)

    def write_revoked(self, serials: list[tuple[int, datetime]]) -> None:
        """The list of what is revoked.

        It holds as long as the authority: a broker refuses every box once its list is out of date, and reads no newer one by
        itself.
        """
        authority = self.certificate()
        builder = x509.CertificateRevocationListBuilder().issuer_name(authority.subject)
        builder = builder.last_update(datetime.now(UTC) - _SLOW_CLOCKS).next_update(authority.not_valid_after_utc)
        for serial, at in serials:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at).build()
            )
        _put(self.revoked_file, builder.sign(self._key(), hashes.SHA256()).public_bytes(Encoding.PEM), 0o644)

    def _signed(
        self, key: ec.EllipticCurvePublicKey, name: str, lasts: timedelta, use: x509.ObjectIdentifier, alternative: x509.GeneralName | None
    ) -> x509.Certificate:  # fmt: skip
        authority, now = self.certificate(), datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(authority.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLOW_CLOCKS)
            .not_valid_after(min(now + lasts, authority.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        if alternative is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        return builder.sign(self._key(), hashes.SHA256())

    def _key(self) -> ec.EllipticCurvePrivateKey:
        try:
            key = load_pem_private_key(_read(self.folder / "authority.key"), None)
            self.certificate().verify_directly_issued_by(self.certificate())
        except (ValueError, TypeError, InvalidSignature) as error:
            raise InputError("the authority's key can't be used", where=self.folder, got=str(error)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InputError(
                "the authority's key is of another kind", where=self.folder, expected="P-256", got=type(key).__name__
            )
        return key


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            "the authority can't be read", where=path, got=error.strerror,
            remedy="deploy/fleet/mosquitto/certificates.sh authority FOLDER makes one.",
        ) from error  # fmt: skip


def _put(path: Path, content: bytes, mode: int) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
