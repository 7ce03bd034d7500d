"""Passwords: argon2id, as OWASP's cheat sheet has it for little memory (19 MiB, two passes, one lane; RFC 9106)."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from device.errors import InputError

__all__ = ["LONGEST", "SHORTEST", "PasswordKeeper"]

SHORTEST, LONGEST = 10, 256
"""Characters."""

_MEMORY_KIB = 19 * 1024
_PASSES = 2


class PasswordKeeper:
    """Hashes and compares, one at a time: however many ask, the memory of one is used."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1)
        self._lock = threading.Lock()
        self._nobody: str | None = None

    def hashed(self, password: str, where: str = "password") -> str:
        """What is kept of a password; InputError where it is too short or too long."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise InputError(
                "this password can't be used", where=where, expected=f"{SHORTEST} to {LONGEST} characters",
                got=f"{len(password)} characters", remedy="Some words in a row are easy to keep in mind and hard to guess.",
            )  # fmt: skip
        with self._lock:
            return self._hasher.hash(password)

    def agrees(self, kept: str | None, password: str) -> bool:
        """Whether it is the password that is kept; where none is, the same time goes by."""
        with self._lock:
            if kept is None:
                self._nobody = self._nobody or self._hasher.hash("nobody's")
            try:
                return self._hasher.verify(kept or self._nobody or "", password[: LONGEST + 1]) and kept is not None
            except (Argon2Error, InvalidHashError):
                return False
