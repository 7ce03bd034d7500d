"""Passwords, sessions and one-time codes: a small SQLite file beside the records, for its owner alone.

No secret is in it: of a password stands its argon2id, of a session's token and of a code their SHA-256, which is enough for
128 and 50 random bits that live for days and for minutes. There is no default password: until one is set there is none.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Literal, get_args

from msgspec import Struct

from device.errors import InputError, TransientError
from device.web.security.passwords import PasswordKeeper

__all__ = ["FILE", "ROLES", "AccessStore", "Role", "Session", "csrf_token"]

log = logging.getLogger("holonode")

FILE = "web.sqlite"
"""In the store's folder."""

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
"""From the one who may less to the one who may more."""

_IDLE_S, _LONGEST_S = 7 * 86_400.0, 30 * 86_400.0
"""A session that nobody uses ends, and so does the longest one."""
_MOST_SESSIONS = 64
"""The one that was used longest ago makes room."""
_NOTED_EVERY_S = 3600.0
"""That a session is in use is written down this often: flash wears."""
_CODE_S = 900.0
_CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CODE_LENGTH = 10

_TABLES = """
CREATE TABLE IF NOT EXISTS passwords (role TEXT PRIMARY KEY, hash TEXT NOT NULL, changed_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS codes (hash BLOB PRIMARY KEY, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (
    id TEXT PRIMARY KEY, token_hash BLOB NOT NULL UNIQUE, role TEXT NOT NULL, made_at REAL NOT NULL, used_at REAL NOT NULL,
    address TEXT NOT NULL, agent TEXT NOT NULL
);
"""


class Session(Struct, frozen=True, kw_only=True):
    """Somebody who gave a password."""

    id: str
    """To name it by; it opens nothing."""
    role: Role
    """What may be done in it."""
    made_at: float
    """Unix time, seconds."""
    used_at: float
    """Unix time, seconds; some minutes old at most."""
    address: str
    """Where it was begun from."""
    agent: str
    """What the browser calls itself."""


class AccessStore:
    """Safe to share between threads; a second process may leave a code meanwhile."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """InputError where the file can't be used."""
        self._path, self._clock, self._lock = folder / FILE, clock, threading.Lock()
        self._keeper = PasswordKeeper()
        try:
            self._open(folder)
            self._hashes = dict(self._database.execute("SELECT role, hash FROM passwords"))
            rows = self._database.execute("SELECT token_hash, id, role, made_at, used_at, address, agent FROM sessions")
            self._sessions = {bytes(row[0]): _session(row[1:]) for row in rows}
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                "passwords and sessions can't be read", where=self._path, got=str(error),
                remedy="Delete the file to set passwords anew: `holonode web code` lets you.",
            ) from error  # fmt: skip
        self._written = {key: session.used_at for key, session in self._sessions.items()}

    def _open(self, folder: Path) -> None:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        if os.geteuid() == 0:
            # `holonode web code` as root must not shut the service out of its own file.
            owner = folder.stat()
            os.chown(self._path, owner.st_uid, owner.st_gid)
        self._database = sqlite3.connect(self._path, timeout=5, isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)

    def close(self) -> None:
        """Release the file; safe to call twice."""
        with self._lock:
            self._database.close()

    # -- passwords --------------------------------------------------------------------------------------------------------

    @property
    def is_set_up(self) -> bool:
        """Whether an operator's password is set."""
        return "operator" in self._hashes

    def has_password(self, role: Role) -> bool:
        """Whether anybody can be this."""
        return role in self._hashes

    def hashed(self, passwords: Mapping[Role, str]) -> dict[Role, str]:
        """What `keep_passwords` keeps of them; InputError where one can't be used."""
        if len(set(passwords.values())) < len(passwords):
            raise InputError("two roles have one password", where="viewer_password", expected="another than the operator's")
        return {role: self._keeper.hashed(password, f"{role}_password") for role, password in passwords.items()}

    def keep_passwords(self, hashes: Mapping[Role, str]) -> None:
        """Those of these roles from now on; every session ends."""
        now = self._clock()
        with self._writing() as database:
            for role, kept in hashes.items():
                database.execute("INSERT OR REPLACE INTO passwords VALUES (?, ?, ?)", (role, kept, now))
            database.execute("DELETE FROM sessions")
            self._hashes |= hashes
            self._sessions.clear()

    def agrees(self, role: Role, password: str) -> bool:
        """Whether it is the password of a role."""
        return self._keeper.agrees(self._hashes.get(role), password)

    # -- one-time codes ---------------------------------------------------------------------------------------------------

    def new_code(self) -> str:
        """A code that sets passwords once, within a quarter of an hour; one that was made before holds no more."""
        code = "".join(secrets.choice(_CODE_LETTERS) for _ in range(_CODE_LENGTH))
        with self._writing() as database:
            database.execute("DELETE FROM codes")
            database.execute("INSERT INTO codes VALUES (?, ?)", (_digest(code), self._clock() + _CODE_S))
        return f"{code[:5]}-{code[5:]}"

    def use_code(self, code: str) -> bool:
        """Whether it is the one that was made; it holds no more."""
        plain = code.upper().replace("-", "").replace(" ", "").replace("O", "0").replace("I", "1").replace("L", "1")
        now = self._clock()
        with self._writing() as database:
            # Made before the clock was set back, it would hold for as long as that.
            fresh = "hash = ? AND expires_at BETWEEN ? AND ?"
            found = database.execute(f"DELETE FROM codes WHERE {fresh}", (_digest(plain), now, now + _CODE_S))  # noqa: S608
            return found.rowcount == 1

    # -- sessions ---------------------------------------------------------------------------------------------------------

    def begin(self, role: Role, address: str, agent: str) -> str:
        """A new session's token, which is nowhere else."""
        token, now = secrets.token_urlsafe(32), self._clock()
        session = Session(id=secrets.token_hex(6), role=role, made_at=now, used_at=now, address=address[:64], agent=agent[:200])
        key = _digest(token)
        row = (session.id, key, session.role, now, now, session.address, session.agent)
        try:
            with self._writing() as database:
                while len(self._sessions) >= _MOST_SESSIONS:
                    self._forget(database, min(self._sessions, key=lambda known: self._sessions[known].used_at))
                database.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        except TransientError as error:
            # Whoever comes to mend a full disk must get in; this session ends with the process.
            log.warning("a session is held in memory alone: %s", error)
        self._sessions[key], self._written[key] = session, now
        return token

    def session(self, token: str) -> Session | None:
        """The session of a token; None where there is none, or it has ended."""
        key = _digest(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock()
        if now - session.used_at > _IDLE_S or now - session.made_at > _LONGEST_S:
            self.end(session.id)
            return None
        with self._lock:
            if key not in self._sessions:
                return None
            self._sessions[key] = session = _used(session, now)
            if now - self._written[key] > _NOTED_EVERY_S:
                self._written[key] = now
                # Of no consequence where the disk is full.
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("UPDATE sessions SET used_at = ? WHERE token_hash = ?", (now, key))
        return session

    def end(self, session_id: str) -> bool:
        """Whether there was one of this id."""
        with self._writing() as database:
            key = next((key for key, session in self._sessions.items() if session.id == session_id), None)
            if key is not None:
                self._forget(database, key)
            return key is not None

    def sessions(self) -> list[Session]:
        """All, the one that was used last first."""
        return sorted(self._sessions.copy().values(), key=lambda session: -session.used_at)

    def _forget(self, database: sqlite3.Connection, key: bytes) -> None:
        database.execute("DELETE FROM sessions WHERE token_hash = ?", (key,))
        self._sessions.pop(key, None)
        self._written.pop(key, None)

    @contextlib.contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction; TransientError, and nothing changed, where the disk refuses."""
        with self._lock:
            sessions, written, hashes = self._sessions.copy(), self._written.copy(), self._hashes.copy()
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._database.execute("COMMIT")
            except BaseException as error:
                self._sessions, self._written, self._hashes = sessions, written, hashes
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise TransientError(
                        "passwords and sessions can't be written", where=self._path, got=str(error), remedy="Free disk space."
                    ) from error
                raise


def csrf_token(token: str) -> str:
    """What a page of this session says with every write, and no other page can know."""
    return hashlib.sha256(b"csrf " + token.encode()).hexdigest()[:32]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _session(row: tuple[str, Role, float, float, str, str]) -> Session:
    session_id, role, made_at, used_at, address, agent = row
    return Session(id=session_id, role=role, made_at=made_at, used_at=used_at, address=address, agent=agent)


def _used(session: Session, now: float) -> Session:
    if 0 <= now - session.used_at < 60.0:
        return session
    return Session(
        id=session.id, role=session.role, made_at=session.made_at, used_at=now, address=session.address, agent=session.agent
    )
