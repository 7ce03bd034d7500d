"""Clean Debian systems, unpacked once and copied for each test; commands run in them without a network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PYTHON_OF", "CleanRoot", "Outcome", "unavailable", "unpack"]

PYTHON_OF = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's releases, 12 and 13, and the Python of each."""

_PACKAGES = "python3,libstdc++6,passwd"
_ENTER = 'ip link set lo up 2>/dev/null; mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/dev/shm"; exec chroot "$0" "$@"'

_PIP = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
"""Where this machine's packages come from, as far as its environment says."""


def unavailable() -> str:
    """Why no clean system can be had; empty where one can."""
    if os.geteuid() != 0:
        return "changing the root takes root's rights"
    missing = [name for name in ("mmdebstrap", "unshare", "chroot", "ip") if shutil.which(name) is None]
    return f"missing: {', '.join(missing)}; apt-get install mmdebstrap iproute2" if missing else ""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    """Its exit status."""
    text: str
    """Both its outputs, in order."""

    @property
    def last_line(self) -> str:
        """What a person sees last."""
        return (self.text.strip().splitlines() or [""])[-1]


def unpack(suite: str, folder: Path, *, cache: Path, more: str = "") -> None:
    """A system in a new folder, with more packages than what Holonode needs to be installed."""
    archive = cache / f"{suite}{more and '-' + more.replace(',', '-')}.tar"
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = archive.with_suffix(".part.tar")
        packages = ",".join(filter(None, (_PACKAGES, more)))
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", suite, str(fresh)], check=True)
        fresh.rename(archive)
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)


class CleanRoot:
    """One system of its own."""

    def __init__(self, suite: str, folder: Path, *, cache: Path, more: str = "") -> None:
        self.path = folder
        unpack(suite, folder, cache=cache, more=more)

    def let_out(self) -> None:
        """Have it find names and trust authorities as this machine does, and pip the files that its settings name here."""
        places = {Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/ssl/certs/ca-certificates.crt")}
        for place in places | {Path(value) for value in _PIP.values() if value.startswith("/") and Path(value).is_file()}:
            target = self.path / place.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place, target)

    def run(self, *command: str, user: str = "root", network: bool = False) -> Outcome:
        """Run a command in it: processes of its own, a network of loopback alone or this machine's."""
        inside = command if user == "root" else ("runuser", "-u", user, "--", *command)
        apart = ["--mount", "--pid", "--fork", "--kill-child"] + ([] if network else ["--net"])
        enter = ["unshare", *apart, "sh", "-c", _ENTER, str(self.path)]
        environment = (_PIP if network else {}) | {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "OMP_NUM_THREADS": "1",
            "HOME": "/root",
        }
        done = subprocess.run(
            [*enter, *inside], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return Outcome(done.returncode, done.stdout)

    def shell(self, text: str, *, user: str = "root", network: bool = False) -> Outcome:
        """Run a line of shell in it."""
        return self.run("sh", "-c", text, user=user, network=network)

    def fingerprint(self, *folders: str) -> str:
        """Of names, kinds, modes, owners and contents below some folders; byte code and scratch files apart."""
        digest = hashlib.sha256()
        for path in sorted(path for folder in folders for path in (self.path / folder).rglob("*")):
            facts = path.lstat()
            digest.update(
                f"{path.relative_to(self.path)} {facts.st_mode:o} {facts.st_uid} {facts.st_gid} {facts.st_size}\n".encode()
            )
            if path.is_symlink():
                digest.update(str(path.readlink()).encode())
            elif path.is_file() and facts.st_size < 1 << 20:
                digest.update(path.read_bytes())
        return digest.hexdigest()
