"""A box as a container: a clean Debian whose first program is systemd, at this machine's own speed.

Its kernel is this machine's, and a cut of its supply ends every program at once; what a disk forgets then is for `machine`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.install.roots import Outcome, unpack

__all__ = ["SUITE", "Container", "unavailable"]

SUITE = "trixie"
_PACKAGES = "systemd,systemd-sysv,dbus,udev,mosquitto,iproute2"

_ENTER = """
set -e
mount --make-rprivate /
if ! grep -q ' /sys/fs/cgroup cgroup2 ' /proc/mounts; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
fi
group=/sys/fs/cgroup/holonode-test-$$
mkdir "$group"
echo $$ > "$group/cgroup.procs"
systemd-nspawn --quiet --settings=no --register=no --keep-unit --private-network --link-journal=no --timezone=off \\
    --resolv-conf=off --console=pipe --directory="$1" --bind-ro="$2:/media/stick" --boot || true
echo $$ > /sys/fs/cgroup/cgroup.procs
find "$group" -depth -type d -exec rmdir {} +
"""


def unavailable() -> str:
    """Why there can be no such container; empty where there can."""
    if os.geteuid() != 0:
        return "a container with a system of its own takes root's rights"
    missing = [name for name in ("mmdebstrap", "unshare", "nsenter", "systemd-nspawn") if shutil.which(name) is None]
    return f"missing: {', '.join(missing)}; apt-get install mmdebstrap systemd-container" if missing else ""


@dataclass
class Container:
    """Start it, run programs in it, cut its supply; its root goes on."""

    root: Path
    """Its files."""
    stick: Path
    """What it sees as /media/stick."""
    _process: subprocess.Popen[bytes] | None = None
    _began_s: float = 0.0

    @classmethod
    def unpacked(cls, root: Path, stick: Path, *, cache: Path) -> Container:
        """A clean one, not yet started."""
        unpack(SUITE, root, cache=cache, more=_PACKAGES)
        stick.mkdir(parents=True, exist_ok=True)
        return cls(root, stick)

    def start(self) -> None:
        """Supply on; returns when systemd takes commands."""
        assert self._process is None
        command = ["unshare", "--mount", "--cgroup", "sh", "-c", _ENTER, "sh", str(self.root), str(self.stick)]
        self._began_s = time.monotonic()
        with self.root.with_name("console").open("ab") as console:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        self.until(lambda: self.run("systemctl", "is-system-running").text.strip() in ("starting", "running", "degraded"))

    @property
    def on_s(self) -> float:
        """Since the supply is on."""
        return time.monotonic() - self._began_s

    def until(self, holds: Callable[[], bool], timeout_s: float = 1200) -> float:
        """Seconds since the supply is on, once something holds; the limit is for what never comes."""
        end = time.monotonic() + timeout_s
        while not holds():
            assert self._process is not None
            assert self._process.poll() is None, (
                "the container has ended: " + self.root.with_name("console").read_text()[-2000:]
            )
            assert time.monotonic() < end, "it never came about; its journal's end:\n" + self.journal()[-4000:]
            time.sleep(0.1)
        return self.on_s

    def run(self, *command: str, user: str = "root") -> Outcome:
        """A program in it, as somebody at its console would run it."""
        first = self._first_program()
        if first is None:
            return Outcome(1, "it isn't up")
        inside = command if user == "root" else ("runuser", "-u", user, "--", *command)
        enter = ["nsenter", f"--target={first}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", *inside]
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": "/root", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            enter,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout)

    def shown(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).text.strip()

    def journal(self, *words: str) -> str:
        """What its units have said."""
        return self.run("journalctl", "--no-pager", "--output=short-monotonic", *words).text

    def cut(self) -> None:
        """Supply off, this moment: every program in it ends with the first one."""
        if self._process is not None:
            first = self._first_program()
            if first is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(first, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(120)
            self._process = None

    def close(self) -> None:
        """Off, for good."""
        self.cut()

    def _first_program(self) -> int | None:
        """The process that is the container's number one."""
        below = [self._process.pid] if self._process is not None else []
        while below:
            number = below.pop()
            with contextlib.suppress(OSError):
                numbers = re.search(r"^NSpid:(.*)$", Path(f"/proc/{number}/status").read_text(), re.MULTILINE)
                if numbers is not None and numbers[1].split()[1:] == ["1"]:
                    return number
                below += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        return None
