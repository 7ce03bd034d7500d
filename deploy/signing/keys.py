"""Keys of the owner: Ed25519, one PEM file each, encrypted with a passphrase (PKCS #8, RFC 5958)."""

# The package re-exports its names without saying so.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from device.errors import InputError

__all__ = ["Passphrase", "load_signer", "make_key"]

Passphrase = Callable[[str], bytes]
"""Asks for the passphrase of a key by its name."""
_SHORTEST = 8


def make_key(path: Path, passphrase: bytes) -> CryptoSigner:
    """A new key in a file that only its owner reads; InputError where one lies there or the passphrase is too short."""
    if len(passphrase) < _SHORTEST:
        raise InputError("the passphrase is too short", where=path, expected=f"at least {_SHORTEST} characters")
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InputError("a key lies there already", where=path, remedy="Rotate it, or choose another folder.") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return CryptoSigner(key)


def load_signer(path: Path, passphrase: Passphrase) -> CryptoSigner:
    """The key in a file; InputError where it is missing or the passphrase is wrong."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase(path.stem))
    except FileNotFoundError as error:
        raise InputError("this key is not here", where=path, remedy="Bring the medium that holds it.") from error
    except (ValueError, TypeError) as error:
        raise InputError("the key can't be opened", where=path, got=str(error), remedy="Is the passphrase right?") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError("not a key of ours", where=path, expected="Ed25519", got=type(key).__name__)
    return CryptoSigner(key)
