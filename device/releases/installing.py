"""A bundle installed on a box: checked, staged, activated, looked over, started; and taken away again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from device.errors import HardwareError, InputError
from device.releases.bundle import check_fits, read_bundle
from device.releases.layout import Layout, Release
from device.releases.links import activate, current, drop
from device.releases.machine import Machine, check_interpreter, this_machine
from device.releases.staging import stage
from device.releases.system import (
    SERVICE,
    SETTINGS,
    USER,
    add_user,
    check_alone,
    check_store,
    link_system,
    make_folders,
    unlink_system,
    write_settings,
)  # fmt: skip

__all__ = ["erase", "install", "look_over", "remove", "runs_systemd", "start"]

_LARGEST_SECRET_BYTES = 2**16


def _say(line: str) -> None:
    print(line, flush=True)


def install(
    bundle: Path,
    layout: Layout,
    machine: Machine | None = None,
    *,
    device_id: str | None = None,
    tell: Callable[[str], None] = _say,
) -> Release:
    """Make the release of a bundle the current one, with user, settings and links; the service is stopped where it ran.

    Safe to do again. An error before the service is stopped leaves the box as it was.
    """
    check_root(layout)
    check_alone(layout)
    tell(f"Reading {bundle}")
    whole = read_bundle(bundle)
    machine = machine or this_machine()
    check_fits(whole, machine)
    check_interpreter(machine)
    check_store(layout, whole.store_schema)
    tell(f"Laying out {whole.release_name}: {whole.unpacked_bytes / 1e6:.0f} MB")
    release = stage(whole, layout, machine)
    add_user(layout)
    make_folders(layout)
    if write_settings(layout, release.path / "units" / SETTINGS, device_id=device_id):
        tell(f"Wrote {layout.settings / SETTINGS}: everything is simulated until the box's parts are named there")
    if runs_systemd(layout) and current(layout) is not None:
        _systemctl("stop", SERVICE)
    activate(layout, release)
    link_system(layout)
    drop(layout)
    return release


def check_root(layout: Layout) -> None:
    """InputError where the tree can't be written."""
    if layout.root == Path("/") and os.geteuid() != 0:
        raise InputError("only root may install", remedy="Put sudo before the command.")


def runs_systemd(layout: Layout) -> bool:
    """Whether this machine's own root is meant, and systemd manages it."""
    return layout.root == Path("/") and Path("/run/systemd/system").is_dir()


def look_over() -> bool:
    """Run `holonode doctor` as the service's user; whether nothing failed."""
    command = ["/opt/holonode/current/venv/bin/holonode", "doctor", "--config", f"/etc/holonode/{SETTINGS}"]
    environment = os.environ | {"HOME": "/var/lib/holonode", "PYTHONNOUSERSITE": "1"}
    return (
        subprocess.run(
            ["runuser", "-u", USER, "--", *command], env=environment, cwd="/var/lib/holonode", check=False
        ).returncode
        == 0
    )


def start() -> None:
    """Start the service and wait until it says that it is ready; HardwareError where it doesn't."""
    _systemctl("daemon-reload")
    for program in (
        ["udevadm", "control", "--reload"],
        ["udevadm", "trigger"],
        ["systemctl", "try-restart", "systemd-journald"],
    ):
        subprocess.run(
            program, check=False, capture_output=True
        )  # names of devices and the journal's limits hold from the next boot at the latest
    for unit in _watchers(Path("/opt/holonode/current/units")):
        _systemctl("start", unit)
    _systemctl("start", SERVICE)


def _watchers(units: Path) -> list[str]:
    """Names of the units that wait for something: a request, an hour."""
    return sorted(path.name for path in units.glob("holonode*") if path.suffix in (".path", ".timer"))


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise HardwareError(
            f"systemctl {' '.join(words)} failed", got=done.stderr.strip(), remedy=f"See: journalctl -u {SERVICE} -n 50"
        )


def remove(layout: Layout) -> None:
    """Take everything away but settings, data and the user that owns them."""
    check_root(layout)
    if runs_systemd(layout):
        for unit in (*_watchers(layout.units), SERVICE):
            subprocess.run(["systemctl", "stop", unit], check=False, capture_output=True)  # one that isn't there can't run
    if not layout.tree.is_dir():
        raise InputError("Holonode isn't installed here", where=layout.tree)
    with layout.locked():
        unlink_system(layout)
        layout.current.unlink(missing_ok=True)
        shutil.rmtree(layout.tree)
    if runs_systemd(layout):
        _systemctl("daemon-reload")


def erase(layout: Layout) -> None:
    """Take settings and data away: records, pictures, calibration, keys, passwords. Their user stays, for files elsewhere name it.

    Keys and passwords are written over first. A card or disk that spreads its writes keeps the old ones somewhere all the same,
    and so does whatever was copied. InputError where Holonode is installed still or a folder is a link; then nothing is done.
    """
    check_root(layout)
    if layout.tree.is_dir():
        raise InputError("Holonode is installed, and may be running", where=layout.tree, remedy="Remove it first.")
    folders = [folder for folder in (layout.settings, layout.data) if os.path.lexists(folder)]
    for folder in folders:
        if folder.is_symlink():
            raise InputError("this folder is a link", where=folder, remedy="Erase what it leads to by hand.")
    for folder in folders:
        for path in folder.rglob("*"):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077 and found.st_size <= _LARGEST_SECRET_BYTES:
                _write_over(path, found.st_size)
        shutil.rmtree(folder)


def _write_over(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.write(bytes(size))
        file.flush()
        os.fsync(file.fileno())
