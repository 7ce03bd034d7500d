"""A box with toy releases: real bundles, a real tree, a real service process; only what the service does is a toy.

A release's behaviour is a word in its code: good, silent (never confirms), broken (ends at once), failing (its self-test).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from deploy.signing.described import describe
from deploy.signing.signed_list import SignedList
from device.releases import Layout, Machine, activate, current, read_bundle, stage, this_machine
from device.releases.system import link_system
from device.updates.apply import ReleaseUpdate
from device.updates.ask import UpdateAsk
from device.updates.control import ReleaseTestRun
from device.updates.downloads import DownloadLimits
from device.updates.offers import newest_release
from device.updates.sources import UpdateSource
from device.updates.trials import UpdatePlaces
from device.updates.trust import UpdateTrust

_TOY = """
import json, os, sys, time
BEHAVIOUR, VERSION = {behaviour!r}, {version!r}
if sys.argv[1:3] == ["update", "selftest"]:
    sys.exit("the toy's self-test fails" if BEHAVIOUR == "failing" else 0)
root, name = sys.argv[2], os.path.basename(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))))
with open(root + "/starts", "a") as log:
    log.write(name + " " + BEHAVIOUR + chr(10))
if BEHAVIOUR == "broken":
    sys.exit(1)
with open(root + "/store-note", "a") as note:
    note.write(VERSION + chr(10))
folder = root + "/var/lib/holonode/updates"
os.makedirs(folder, exist_ok=True)
while True:
    try:
        trial = json.load(open(root + "/opt/holonode/updates/trial.json"))
    except (OSError, ValueError):
        trial = None
    if trial and trial["release"] == name and BEHAVIOUR == "good":
        word = {{"trial": trial["id"], "release": name, "proofs": {{"camera": "toy"}}}}
        with open(folder + "/confirmed.json.new", "w") as file:
            json.dump(word, file)
        os.replace(folder + "/confirmed.json.new", folder + "/confirmed.json")
    time.sleep(0.02)
"""


def wheel(version: str, behaviour: str) -> bytes:
    """One of a `device` that is a toy."""
    info = f"holonode-{version}.dist-info"
    files = {
        "device/__init__.py": b"",
        "device/__main__.py": _TOY.format(behaviour=behaviour, version=version).encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: holonode\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [f"{name},sha256={_urlsafe(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def _urlsafe(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def bundle(folder: Path, version: str, behaviour: str = "good", *, arch: str | None = None, store_schema: int = 1) -> Path:
    """The archive of a toy release for this machine, or another processor."""
    machine = this_machine()
    files = {
        f"wheels/holonode-{version}-py3-none-any.whl": wheel(version, behaviour),
        "install.sh": b"#!/bin/sh\n", "units/holonode.service": b"[Service]\n", "units/holonode.toml": b"", "udev/60-holonode.rules": b"",
        "units/journald-holonode.conf": b"",
    }  # fmt: skip
    manifest = {
        "format": 1, "version": version, "arch": arch or machine.arch, "python": machine.python, "glibc": "2.17", "built_from": "0" * 40,
        "store_schema": store_schema, "unpacked_bytes": 20_000,
        "files": {name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"holonode-{version}-{arch or machine.arch}-cp{machine.python.replace('.', '')}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in {"bundle.json": json.dumps(manifest).encode(), **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def toy_machine() -> Machine:
    """This one, by a Python that the service could run."""
    machine = this_machine()
    return Machine(machine.arch, machine.python, os.path.realpath(f"/usr/bin/python{machine.python}"), machine.glibc)


@dataclass
class ToyControl:
    """Starts what `current` leads to, kills it."""

    root: Path
    process: subprocess.Popen[bytes] | None = None
    _restarts: int = 0

    def start(self) -> None:
        self._restarts = 0
        self._start()

    def _start(self) -> None:
        python = self.root / "opt/holonode/current/venv/bin/python"
        # By the release's own path, as the units' programs are.
        command = [str(python.parents[2].resolve() / "venv/bin/python"), "-P", "-m", "device", "run", str(self.root)]
        with contextlib.suppress(OSError):
            self.process = subprocess.Popen(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )

    def stop(self, *, at_once: bool) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restarts(self) -> int:
        """As the units' manager, which starts again what ended."""
        if self.process is not None and self.process.poll() is not None:
            self._restarts += 1
            self._start()
        return self._restarts

    def watch(self) -> None:
        """The test does."""


@dataclass
class ToyBox:
    """A root with 1.0.0 installed, which trusts the owner."""

    root: Path
    control: ToyControl = field(init=False)

    def __post_init__(self) -> None:
        self.control = ToyControl(self.root)
        self.layout = Layout(self.root)
        self.places = UpdatePlaces(self.layout)
        self.limits = DownloadLimits(reserve_bytes=0)

    @classmethod
    def installed(cls, root: Path, signed: SignedList, bundles: Path) -> ToyBox:
        box = cls(root)
        library = root / "usr/lib/toy"
        library.mkdir(parents=True)
        for name in ("libstdc++.so.6", "libgcc_s.so.1"):
            (library / name).touch()
        box.layout.settings.mkdir(parents=True)
        box.layout.data.mkdir(parents=True)
        box.places.pinned.write_bytes((signed.folder / "metadata" / "1.root.json").read_bytes())
        activate(box.layout, stage(read_bundle(bundle(bundles, "1.0.0")), box.layout, toy_machine()))
        link_system(box.layout)
        return box

    def asking(self, source: UpdateSource) -> UpdateAsk:
        """The service's side."""
        trust = UpdateTrust(self.places.service, self.places.pinned, limits=self.limits)
        running = current(self.layout)
        return UpdateAsk(self.places, source, trust, toy_machine(), running and running.version)

    def ask(self, source: UpdateSource) -> bool:
        """Fetch and ask for the newest release, whatever the service would think of it; whether there was one."""
        ask = self.asking(source)
        offer = newest_release(ask.trust.refresh(source), arch=ask.machine.arch, python=ask.machine.python)
        if offer is None or offer.custom.version == ask.running:
            return False
        ask.fetch(offer)
        ask.ask(offer)
        return True

    def update(self, confirm_within_s: float = 60.0) -> ReleaseUpdate:
        return ReleaseUpdate(
            self.layout, self.control, ReleaseTestRun(self.layout), toy_machine(), confirm_within_s, self.limits,
            sleep=lambda _s: time.sleep(0.02),
        )  # fmt: skip

    def starts(self) -> list[str]:
        """Behaviour and name of every release that ever ran here."""
        with contextlib.suppress(FileNotFoundError):
            return (self.root / "starts").read_text().splitlines()
        return []

    def comes_up(self, timeout_s: float = 60.0) -> str:
        """Start the service, and the name of the release that it then is; AssertionError where it doesn't run."""
        before = len(self.starts())
        self.control.stop(at_once=True)
        self.control.start()
        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            if len(self.starts()) > before:
                return self.starts()[-1].split()[0]
            time.sleep(0.01)
        raise AssertionError(f"no service came up; current: {current(self.layout)}")

    def close(self) -> None:
        self.control.stop(at_once=True)


def add_release(signed: SignedList, folder: Path, version: str, behaviour: str = "good", **more: object) -> Path:
    """Bundle and sign it."""
    path = bundle(folder, version, behaviour, **more)  # type: ignore[arg-type]
    signed.add(describe(path))
    return path


def end_toys(root: Path) -> None:
    """Power cut: no process of this root lives on."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if str(root).encode() in words and b"device" in words:
                    os.kill(int(entry.name), signal.SIGKILL)
