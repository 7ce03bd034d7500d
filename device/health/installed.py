"""What an installation must have besides files: rights, a whole store, a controller that answers, a start after power loss."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from device.config import Config
from device.errors import HardwareError
from device.health.watchdog import FEED_EVERY_S, WATCHDOG_S
from device.messaging.payloads import Check
from device.storage.reading import store_reader

__all__ = [
    "NOT_NEEDED", "boot_check", "camera_access_check", "controller_answer_check", "integrity_check", "reachable_check",
    "secrets_check",
]  # fmt: skip

NOT_NEEDED = "not needed here"
_HAS_IT = "the running service has it"
_SYSTEMD = Path("/run/systemd/system")
_UNIT = "holonode.service"
_WATCHED = f"Type=notify, WatchdogSec={WATCHDOG_S}"
_UNIT_WANTED = f"Add {_UNIT} (ExecStart=holonode run, {_WATCHED}, Restart=always), then: sudo systemctl enable --now {_UNIT}"
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def integrity_check(folder: Path, *, busy: bool) -> Check:
    """Whether the store's database is whole."""
    if busy:
        return Check(name="store integrity", status="not evaluated", message=_HAS_IT)
    try:
        with store_reader(folder) as reader:
            if reader is None:
                return Check(name="store integrity", status="not evaluated", message="there is no store yet")
            trouble = reader.trouble()
    except sqlite3.DatabaseError as error:
        trouble = str(error)
    return Check(
        name="store integrity", status="failed" if trouble else "ok", value=str(folder), message=trouble or "",
        remedy="Keep a copy of the folder; `holonode run` salvages it. Look at the card or disk" if trouble else "",
    )  # fmt: skip


def secrets_check(config: Config) -> Check:
    """Whether others on the box can read the broker's password."""
    if not config.mqtt.password_file:
        return Check(name="password file", status="ok", message=NOT_NEEDED)
    path = Path(config.mqtt.password_file).expanduser()
    if not os.access(path, os.R_OK):
        there = path.exists()
        owner = f"sudo chown {_user()} {path}" if there else f"install -m 600 /dev/stdin {path}"
        message = "can't be read" if there else "is not there"
        return Check(name="password file", status="failed", value=str(path), message=message, remedy=owner)
    mode = stat.S_IMODE(path.stat().st_mode)
    open_to_others = bool(mode & 0o077)
    return Check(
        name="password file", status="failed" if open_to_others else "ok", value=str(path),
        message=f"mode {mode:o}: others can read it" if open_to_others else "",
        remedy=f"chmod 600 {path}" if open_to_others else "",
    )  # fmt: skip


def reachable_check(url: str) -> Check:
    """Whether something listens where the broker should."""
    from device.messaging.link import parse_url

    address = parse_url(url)
    try:
        with socket.create_connection((address.host, address.port), timeout=3):
            return Check(name="broker", status="ok", value=url, message="answers; the running service is connected to it")
    except OSError as error:
        return Check(
            name="broker", status="failed", value=url, message=f"no answer: {error}",
            remedy="Check mqtt.url and that the broker runs; records wait meanwhile",
        )  # fmt: skip


def camera_access_check(config: Config, devices: Sequence[Path] | None = None) -> Check:
    """Whether this user may open what libcamera does."""
    if config.camera.driver != "picamera2":
        return Check(name="camera access", status="ok", message=NOT_NEEDED)
    found = sorted(Path("/dev").glob("media*")) if devices is None else list(devices)
    if not found:
        return Check(
            name="camera access", status="failed", message="the kernel knows no camera (no /dev/media*)",
            remedy="Plug the camera in; set camera_auto_detect=1 in /boot/firmware/config.txt; sudo reboot",
        )  # fmt: skip
    closed = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    return Check(
        name="camera access", status="failed" if closed else "ok", value=", ".join(map(str, closed or found)),
        message=f"no permission: {_group_words(closed[0])}" if closed else "",
        remedy=f"sudo usermod -a -G {_group(closed[0])} {_user()}, then log in again" if closed else "",
    )  # fmt: skip


def _group(path: Path) -> str:
    try:
        return grp.getgrgid(path.stat().st_gid).gr_name
    except (KeyError, OSError):
        return "video"


def _group_words(path: Path) -> str:
    return f"{path} belongs to group {_group(path)}, {_user()} is not in it"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def controller_answer_check(config: Config, *, busy: bool) -> Check:
    """Whether the controller answers, and by which protocol."""
    name = "controller answers"
    if "serial" not in (config.lamp.driver, config.pump.driver, config.environment.driver):
        return Check(name=name, status="ok", message=NOT_NEEDED)
    if busy:
        return Check(name=name, status="not evaluated", message=_HAS_IT)
    from device.drivers.serial_line import SerialLine
    from device.drivers.serial_protocol import VERSION, PacketKind

    controller = config.controller
    line = SerialLine(controller.port, baud=controller.baud, timeout_s=controller.acknowledge_timeout_s).share()
    try:
        status = line.ask(PacketKind.QUERY).status
    except HardwareError as error:
        return Check(
            name=name, status="failed", value=controller.port, message=str(error),
            remedy=f"Put the firmware of protocol {VERSION} on it: make -C deploy/firmware flash; check controller.baud",
        )  # fmt: skip
    finally:
        line.close()
    return Check(name=name, status="ok", value=f"protocol {VERSION}", message=_last_reset(status.reset_cause))


_CAUSES = ("power", "its reset pin", "a brown-out", "its watchdog")


def _last_reset(cause: int) -> str:
    named = [words for bit, words in enumerate(_CAUSES) if cause >> bit & 1]
    return f"last started by {' and '.join(named)}" if named else ""


def boot_check() -> Check:
    """Whether the service comes back by itself after a power loss, and is watched."""
    name = "start at boot"
    systemctl = shutil.which("systemctl")
    if systemctl is None or not _SYSTEMD.is_dir():
        return Check(name=name, status="not evaluated", message="systemd doesn't run here")
    asked = subprocess.run(
        [systemctl, "show", _UNIT, "--property=LoadState,UnitFileState,Type,NotifyAccess,WatchdogUSec,NRestarts"],
        capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return unit_check({key: value for key, _, value in (line.partition("=") for line in asked.stdout.splitlines())})


def unit_check(properties: dict[str, str]) -> Check:
    """What systemd says of the unit."""
    name = "start at boot"
    if properties.get("LoadState") != "loaded":
        return Check(name=name, status="warning", value=_UNIT, message="no such unit", remedy=_UNIT_WANTED)
    if properties.get("UnitFileState") != "enabled":
        return Check(
            name=name, status="failed", value=_UNIT, message="not enabled: after a power loss nothing samples",
            remedy=f"sudo systemctl enable --now {_UNIT}",
        )  # fmt: skip
    if properties.get("NotifyAccess") == "none" and _watchdog_s(properties):
        return Check(
            name=name, status="failed", value=_UNIT, message="its watchdog hears nobody and restarts the service for ever",
            remedy=f"Set NotifyAccess=main in {_UNIT}",
        )  # fmt: skip
    watchdog_s, restarts = _watchdog_s(properties), properties.get("NRestarts", "0")
    watched = watchdog_s >= 4 * FEED_EVERY_S
    how = "watched" if watched else "with a watchdog that a busy box misses" if watchdog_s else "without a watchdog"
    return Check(
        name=name, status="ok" if watched else "warning", value=_UNIT,
        message=f"enabled, {how}" + (f", restarted {restarts} times" if restarts != "0" else ""),
        remedy="" if watched else f"Set {_WATCHED} in {_UNIT}",
    )  # fmt: skip


def _watchdog_s(properties: dict[str, str]) -> float:
    """Of "1min 30s", as systemctl shows it; 0 where there is none."""
    parts = re.findall(r"([0-9.]+)([a-z]+)", properties.get("WatchdogUSec", ""))
    return sum(float(number) * _UNITS_S.get(unit, 0.0) for number, unit in parts)
