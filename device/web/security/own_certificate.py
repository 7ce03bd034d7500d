"""A key and a certificate that the box makes for itself. Nobody vouches for it: people compare its fingerprint once."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
from pathlib import Path

from device.errors import InputError

__all__ = ["FOLDER", "fingerprint_of", "own_certificate", "server_context"]

FOLDER = "web"
"""In the store's folder: key and certificate."""

_DAYS = 36_500
"""A box whose clock stands at 1970 when it makes its certificate must not have one that has expired."""
_TIMEOUT_S = 30.0


def own_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Certificate and key below the store's folder, made where there are none; InputError where they can't be."""
    place = folder / FOLDER
    certificate, key = place / "certificate.pem", place / "key.pem"
    if certificate.is_file() and key.is_file():
        return certificate, key
    program = shutil.which("openssl")
    if program is None:
        raise InputError(
            "there is no openssl to make a key with", where="web.address", expected="TLS beyond loopback",
            remedy="Install it (apt-get install openssl), or name a certificate and its key: web.cert_file, web.key_file.",
        )  # fmt: skip
    place.mkdir(mode=0o700, exist_ok=True)
    made_key, made = place / ".key.pem", place / ".certificate.pem"
    made_key.unlink(missing_ok=True)
    os.close(os.open(made_key, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-sha256",
        "-days", str(_DAYS), "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},DNS:{name}.local",
        "-addext", "extendedKeyUsage=serverAuth", "-keyout", str(made_key), "-out", str(made),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        raise InputError(
            "openssl makes no certificate", where=place, got=said.decode(errors="replace").strip()[-300:]
        ) from error
    # The key first: a certificate without its key would never be made anew.
    made_key.replace(key)
    made.replace(certificate)
    return certificate, key


def fingerprint_of(certificate: Path) -> str:
    """SHA-256 of the first certificate of a PEM file, as browsers show it; InputError where there is none."""
    end = "-----END CERTIFICATE-----"
    try:
        first, found, _ = certificate.read_text(encoding="ascii").partition(end)
        der = ssl.PEM_cert_to_DER_cert(first[first.index("-----BEGIN CERTIFICATE") :] + end) if found else b""
    except (OSError, ValueError) as error:
        raise InputError("the certificate can't be read", where=certificate, got=str(error)) from error
    if not der:
        raise InputError("there is no certificate in it", where=certificate, expected="a PEM file")
    return hashlib.sha256(der).digest().hex(":").upper()


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer; InputError where the files can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password function OpenSSL would ask on the terminal, and wait.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            "the certificate and its key can't be used", where=f"{certificate}, {key}", got=str(error),
            remedy="Both are PEM files, the key belongs to the certificate and has no password.",
        ) from error  # fmt: skip
    return context
