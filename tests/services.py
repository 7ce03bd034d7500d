"""`holonode run` as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CONFIG = """
[device]
id = "{device_id}"
[camera]
exposure_us = 2000.0
[twin]
seed = {seed}
realtime = false
[twin.concentration_per_m3]
birch = 12000
dust = 12000
[sampling]
sample_volume_l = 2.0
pause_s = 0.0
max_intervals = {intervals}
[analysis]
reconstruction = "{reconstruction}"
classifier_model = ""
[storage]
folder = "{store}"
min_free_mb = {min_free_mb}
[web]
{web}
[mqtt]
url = "{url}"
{mqtt}
"""


@dataclass
class Service:
    """A configured service that can be started, stopped and killed."""

    config: Path
    _process: subprocess.Popen[bytes] | None = None
    _output: Path | None = None

    @classmethod
    def configured(cls, folder: Path, url: str, **changes: object) -> Service:
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "device_id": "test-box", "seed": 1, "intervals": 0, "reconstruction": "backpropagate", "store": folder / "store",
            "min_free_mb": 0, "url": url, "mqtt": "", "web": "enabled = false",
        } | changes  # fmt: skip
        config = folder / "box.toml"
        config.write_text(CONFIG.format(**values))
        return cls(config)

    def start(self, program: Sequence[str] = ("-m", "device"), **variables: str) -> None:
        command = [sys.executable, *program, "run", "--config", str(self.config)]
        environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONUNBUFFERED="1", PYTHONPATH=str(ROOT), **variables)
        with tempfile.NamedTemporaryFile(dir=self.config.parent, prefix="said-", delete=False) as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
        self._output = Path(output.name)

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return "" if self._output is None else self._output.read_text()

    def until_said(self, text: str, timeout_s: float = 200) -> None:
        """Return once it has printed this."""
        until = time.monotonic() + timeout_s
        while text not in self.said:
            assert self.is_running, self.said
            assert time.monotonic() < until, self.said
            time.sleep(0.1)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(120)
        self._process = None

    def finish(self, number: int | None = signal.SIGINT, timeout_s: float = 200) -> tuple[int, str]:
        """(exit status, output) after a signal, or after the service ends by itself."""
        assert self._process is not None
        if number is not None:
            self._process.send_signal(number)
        status = self._process.wait(timeout_s)
        self._process = None
        return status, self.said

    def run(self, timeout_s: float = 200) -> tuple[int, str]:
        self.start()
        return self.finish(None, timeout_s)

    @contextmanager
    def started(self) -> Iterator[Service]:
        """Running, and not any more afterwards, whatever happens."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self.kill()
