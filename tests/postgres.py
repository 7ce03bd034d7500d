"""A real PostgreSQL of the tests' own: a cluster in a folder, on a free port of loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.brokers import free_port

OWNER = "keeper"


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(name)


def missing() -> str | None:
    """Why there can be no PostgreSQL here; None where there can."""
    return None if _program("initdb") and _program("postgres") else "PostgreSQL is not installed: make postgresql"


@dataclass
class Cluster:
    """Start, kill and start again; as user postgres where the tests run as root, which PostgreSQL refuses."""

    folder: Path
    port: int = field(default_factory=free_port)
    fsync: bool = False
    """Off, what is committed survives processes that are killed, which is what tests do, but no power cut."""
    settings: dict[str, str] = field(default_factory=dict)
    """Beside the tests' own."""
    _process: subprocess.Popen[Any] | None = None

    @classmethod
    def made(cls, *, fsync: bool = False) -> Cluster:
        """An empty one in a folder that its user may enter."""
        folder = Path(tempfile.mkdtemp(prefix="holonode-postgres-"))
        if os.getuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        cluster = cls(folder, fsync=fsync)
        cluster._run("initdb", "--pgdata", str(folder / "data"), "--username", OWNER, "--auth", "trust", "--encoding", "UTF8",
                     "--no-sync", "--locale", "C")  # fmt: skip
        return cluster

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "max_connections": 60,
            "shared_buffers": "32MB", "logging_collector": "off",
            "fsync": "on" if self.fsync else "off", **self.settings,
        }  # fmt: skip
        command = [str(_program("postgres")), "-D", str(self.folder / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "log").open("ab") as log:
            process = self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, **_user())
        for _ in range(600):
            try:
                psycopg.connect(self.address("postgres"), connect_timeout=1).close()
            except psycopg.OperationalError:
                if process.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def stop(self, *, immediate: bool = True) -> None:
        """`immediate`: as a crash, recovered at the next start."""
        if self._process is not None:
            self._process.send_signal(3 if immediate else 2)
            self._process.wait(120)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def address(self, database: str, user: str = OWNER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """The address of an empty one."""
        name = f"fleet_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.address(name)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(_program(program)), *arguments], check=False, capture_output=True, text=True, cwd=self.folder, **_user()
        )
        assert done.returncode == 0, done.stderr


def _user() -> dict[str, Any]:
    return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}


def rows(database: str, query: str, *values: object) -> list[tuple[object, ...]]:
    with psycopg.connect(database, options="-c search_path=holonode", autocommit=True) as connection:
        return connection.execute(query.encode(), values).fetchall()
