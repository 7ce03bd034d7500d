"""Codes and certificates, in an SQLite file beside the authority; of a code only its digest."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["EnrolmentRegister", "IssuedCertificate"]

_TABLES = """
CREATE TABLE IF NOT EXISTS codes (
    digest TEXT PRIMARY KEY, device_id TEXT NOT NULL, expires_at REAL NOT NULL, used_by TEXT
);
CREATE TABLE IF NOT EXISTS certificates (
    serial TEXT PRIMARY KEY, device_id TEXT NOT NULL, key_digest TEXT NOT NULL, not_after REAL NOT NULL, pem TEXT NOT NULL,
    revoked_at REAL
);
"""


@dataclass(frozen=True)
class IssuedCertificate:
    """One that was given."""

    serial: int
    device_id: str
    not_after: datetime
    revoked_at: datetime | None


class EnrolmentRegister:
    """Safe from any thread."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_TABLES)
        self.lock = threading.RLock()
        """Held over a look and what follows from it."""

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def add_code(self, secret: str, device_id: str, expires_at: datetime) -> None:
        """In place of every earlier code of that device that nobody used."""
        with self.lock:
            self._database.execute("DELETE FROM codes WHERE device_id = ? AND used_by IS NULL", (device_id,))
            row = (_digest(secret), device_id, expires_at.timestamp())
            self._database.execute("INSERT INTO codes (digest, device_id, expires_at) VALUES (?, ?, ?)", row)

    def code(self, secret: str, device_id: str) -> tuple[datetime, str | None] | None:
        """(until when it can be used, digest of the key that used it) of a code; None where there is none."""
        query = "SELECT expires_at, used_by FROM codes WHERE digest = ? AND device_id = ?"
        with self.lock:
            row = self._database.execute(query, (_digest(secret), device_id)).fetchone()
        return None if row is None else (datetime.fromtimestamp(row[0], UTC), row[1])

    def use_code(self, secret: str, key_digest: str) -> None:
        """From here on it is for this key alone."""
        with self.lock:
            self._database.execute("UPDATE codes SET used_by = ? WHERE digest = ?", (key_digest, _digest(secret)))

    def add_certificate(self, serial: int, device_id: str, key_digest: str, not_after: datetime, pem: str) -> None:
        """One that was signed."""
        row = (str(serial), device_id, key_digest, not_after.timestamp(), pem)
        with self.lock:
            self._database.execute("INSERT INTO certificates VALUES (?, ?, ?, ?, ?, NULL)", row)

    def certificate_of(self, device_id: str, key_digest: str) -> str | None:
        """The PEM of what was signed for this key and is not revoked; None where nothing was."""
        query = "SELECT pem FROM certificates WHERE device_id = ? AND key_digest = ? AND revoked_at IS NULL"
        with self.lock:
            row = self._database.execute(query, (device_id, key_digest)).fetchone()
        return None if row is None else str(row[0])

    def is_valid(self, serial: int, device_id: str) -> bool:
        """Whether it was given to this device and not revoked."""
        query = "SELECT 1 FROM certificates WHERE serial = ? AND device_id = ? AND revoked_at IS NULL"
        with self.lock:
            return self._database.execute(query, (str(serial), device_id)).fetchone() is not None

    def revoke(self, device_id: str) -> int:
        """All of a device's certificates; returns how many that were."""
        query = "UPDATE certificates SET revoked_at = ? WHERE device_id = ? AND revoked_at IS NULL"
        with self.lock:
            return self._database.execute(query, (datetime.now(UTC).timestamp(), device_id)).rowcount

    def certificates(self) -> list[IssuedCertificate]:
        """All of them, by device."""
        query = "SELECT serial, device_id, not_after, revoked_at FROM certificates ORDER BY device_id, not_after"
        with self.lock:
            rows = self._database.execute(query).fetchall()
        return [
            IssuedCertificate(
                int(serial), device_id, datetime.fromtimestamp(ends, UTC), None if revoked is None else datetime.fromtimestamp(revoked, UTC)
            )
            for serial, device_id, ends, revoked in rows
        ]  # fmt: skip


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
