"""`holonode-fleet collect` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass

from tests.services import ROOT


@dataclass
class CollectorProcess:
    """A collector that can be started, ended in order, and killed."""

    database: str
    url: str
    name: str = "one"
    batch: int = 500
    more: tuple[str, ...] = ()
    """Arguments."""
    _process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [
            sys.executable, "-m", "deploy.fleet.cli", "collect", "--database", self.database, "--mqtt", self.url,
            "--name", self.name, "--batch", str(self.batch), "--json", *self.more,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=dict(os.environ, PYTHONPATH=str(ROOT)),
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate(timeout=120)
            self._process = None

    def finish(self, number: int | None = signal.SIGTERM, timeout_s: float = 120) -> tuple[int, str, str]:
        """(exit status, output, errors) after a signal, or after it ends by itself."""
        assert self._process is not None
        if number is not None:
            self._process.send_signal(number)
        output, errors = self._process.communicate(timeout=timeout_s)
        status = self._process.returncode
        self._process = None
        return status, output, errors
