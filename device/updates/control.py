"""What an update does to the machine: the service stopped and started, a staged release tested as the service's user."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Protocol

from device.errors import CheckError
from device.releases import Layout, Release

__all__ = ["ReleaseTest", "ReleaseTestRun", "ServiceControl", "Systemd"]

_SERVICE, _TRIAL = "holonode.service", "holonode-trial.service"
_LIMIT_S = 3900.0
"""By the wall: the unit limits the processor's time, and slow is not broken."""


class ServiceControl(Protocol):
    """The service of an installation."""

    def stop(self, *, at_once: bool) -> None:
        """It doesn't run any more; `at_once`: without waiting for it, a kill loses nothing that is committed."""

    def start(self) -> None:
        """As whatever release is current; doesn't wait."""

    def restarts(self) -> int:
        """How often it ended by itself and was started again, since `start` or the machine's own."""
        ...

    def watch(self) -> None:
        """Have the trial watched by the release that was good."""


class Systemd:
    """By systemctl."""

    def stop(self, *, at_once: bool) -> None:
        """Within TimeoutStopSec, or at once."""
        if at_once:
            _systemctl("kill", "--signal=SIGKILL", _SERVICE)
        _systemctl("stop", _SERVICE)

    def start(self) -> None:
        """Queued."""
        _systemctl("daemon-reload")
        _systemctl("reset-failed", _SERVICE)
        # A timer that this release brings runs from now on, not from the machine's next start.
        _systemctl("start", "--no-block", _SERVICE, "timers.target")

    def restarts(self) -> int:
        """As systemd counts them; 0 where it doesn't say."""
        said = _systemctl("show", "--value", "--property=NRestarts", _SERVICE).strip()
        return int(said) if said.isdecimal() else 0

    def watch(self) -> None:
        """Queued, too."""
        _systemctl("start", "--no-block", _TRIAL)


def _systemctl(*words: str) -> str:
    # What isn't loaded or doesn't run can't be stopped; what can't be started is told by the trial that nobody confirms.
    return subprocess.run(
        ["systemctl", *words], check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    ).stdout


class ReleaseTest(Protocol):
    """Tests a staged release; CheckError where it must not run."""

    def __call__(self, release: Release) -> None:
        """Returns where it passes."""


class ReleaseTestRun:
    """The release's own `holonode update selftest`, in a process of its own: its code, this box's settings and models.

    Under systemd by a unit that runs it as the service's user, in the service's sandbox: root runs nothing of a release that it
    need not.
    """

    def __init__(self, layout: Layout) -> None:
        self._config = layout.settings / "holonode.toml"
        self._by_unit = layout.root == Path("/") and Path("/run/systemd/system").is_dir()

    def __call__(self, release: Release) -> None:
        """CheckError with what it said."""
        if self._by_unit:
            # A oneshot unit: `start` waits for its end.
            unit = f"holonode-selftest@{_escaped(release.name)}.service"
            done = _run("systemctl", "start", unit)
            said = f"see journalctl -u '{unit}'; {done.stdout}"
        else:
            config = ["--config", str(self._config)] if self._config.is_file() else []
            done = _run(str(release.python), "-P", "-m", "device", "update", "selftest", *config)
            said = done.stdout.strip()[-500:] or f"exit status {done.returncode}"
        if done.returncode != 0:
            raise CheckError("the release fails its self-test", where=release.name, got=said, remedy="It is not used.")


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    try:
        return subprocess.run(
            command, check=False, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", timeout=_LIMIT_S, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CheckError("the release doesn't finish its self-test", where=command[0], remedy="It is not used.") from error


def _escaped(name: str) -> str:
    """As an instance of a unit (systemd.unit(5)): what isn't a letter, a digit or a full stop by its code."""
    return "".join(sign if sign.isalnum() or sign == "." else f"\\x{ord(sign):02x}" for sign in name)
