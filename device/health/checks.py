"""Checks of everything the service needs, each with what mends it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from device.clock import BoxClock
from device.config import Config
from device.drivers.cameras.kinds import camera_kind
from device.errors import HolonodeError
from device.health.clock import clock_check
from device.health.demands import own_mosquitto
from device.health.installed import (
    NOT_NEEDED,
    boot_check,
    camera_access_check,
    controller_answer_check,
    integrity_check,
    reachable_check,
    secrets_check,
)
from device.health.release_files import release_files_check
from device.health.trust import trust_checks
from device.installation import how_to_install
from device.messaging.payloads import Check
from device.storage.reading import in_use

__all__ = ["disk_check", "own_broker_check", "run_checks", "store_check"]

_FREE_MB_WANTED = 500


def run_checks(config: Config, ready: Callable[[], Sequence[Check]]) -> list[Check]:
    """All checks, in the order a person would mend them; what a running service has is left to it.

    `ready` says whether the box can do what its configuration says; it raises where there is no such instrument.
    """
    folder = Path(config.storage.folder).expanduser()
    busy = in_use(folder)
    first: list[Callable[[], Check]] = [_python, release_files_check, _runtime, lambda: _instrument(config)]
    found = [_guarded(check) for check in first]
    if found[-1].status == "ok":
        found += ready()
    checks: list[Callable[[], Check]] = [
        lambda: _calibration(config),
        lambda: store_check(config),
        lambda: integrity_check(folder, busy=busy),
        lambda: disk_check(config),
        lambda: secrets_check(config),
        lambda: _broker(config, busy=busy),
        lambda: _camera(config),
        lambda: camera_access_check(config),
        lambda: _controller(config),
        lambda: controller_answer_check(config, busy=busy),
        lambda: clock_check(BoxClock().quality(), wakes_by_it=config.sampling.schedule.kind in ("cron", "sun")),
        boot_check,
    ]
    return [check for check in [*found, *map(_guarded, checks)] if check.message != NOT_NEEDED] + trust_checks(config)


def _guarded(check: Callable[[], Check]) -> Check:
    try:
        return check()
    except HolonodeError as error:
        return Check(name="check", status="failed", message=str(error), remedy=error.remedy or "")


def _python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check(
        name="python", status="ok" if good else "failed", value=platform.python_version(),
        message="" if good else "Holonode needs Python 3.11 or newer", remedy="" if good else "apt-get install python3.11",
    )  # fmt: skip


def _runtime() -> Check:
    from device.inference.interpreter import runtime_name

    try:
        return Check(name="tflite runtime", status="ok", value=runtime_name())
    except HolonodeError as error:
        return Check(name="tflite runtime", status="failed", message=error.what, remedy=how_to_install("box"))


def _instrument(config: Config) -> Check:
    from device.instrument import load_instrument

    try:
        instrument = load_instrument(config.device.instrument)
    except HolonodeError as error:
        return Check(
            name="instrument", status="failed", message=str(error), remedy="Correct device.instrument or the file it names"
        )
    return Check(name="instrument", status="ok", value=instrument.name, message=f"id {instrument.id}")


def _calibration(config: Config) -> Check:
    from device.calibration import load_calibrations
    from device.instrument import load_instrument

    found = load_calibrations(Path(config.calibration.folder).expanduser(), load_instrument(config.device.instrument))
    if found.refused:
        return Check(
            name="calibration", status="warning", value=f"{len(found.used)} in force", message="; ".join(found.refused),
            remedy=f"Remove the refused records from {config.calibration.folder}, or measure again: holonode-calibrate --help",
        )  # fmt: skip
    if not found.used:
        return Check(
            name="calibration", status="warning", message="none: the instrument file's nominal figures are used",
            remedy="holonode-calibrate dark, flat, distance, pitch",
        )  # fmt: skip
    return Check(
        name="calibration",
        status="ok",
        value=found.id,
        message=", ".join(sorted(r.procedure for r in found.used)) + " in force",
    )


def store_check(config: Config) -> Check:
    """Whether the store's folder can be written to."""
    folder = Path(config.storage.folder).expanduser()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if not os.access(existing, os.W_OK):
        return Check(
            name="store",
            status="failed",
            value=str(folder),
            message="not writable",
            remedy=f"sudo install -d -o $USER {folder}",
        )
    return Check(name="store", status="ok", value=str(folder))


def disk_check(config: Config) -> Check:
    """Free space where the store lies."""
    folder = Path(config.storage.folder).expanduser()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free_mb = shutil.disk_usage(existing).free / 2**20
    if free_mb < config.storage.min_free_mb:
        return Check(
            name="disk", status="failed", value=round(free_mb), unit="MB", message="new records would be refused",
            remedy="Delete what isn't needed, or lower storage.min_free_mb",
        )  # fmt: skip
    status = "ok" if free_mb > _FREE_MB_WANTED else "warning"
    return Check(
        name="disk", status=status, value=round(free_mb), unit="MB", message="free" if status == "ok" else "little space left"
    )


def _broker(config: Config, *, busy: bool) -> Check:
    from device.messaging.probe import broker_check

    if not config.mqtt.url:
        return own_broker_check()
    if not busy:
        return broker_check(config.mqtt, config.device.id)
    # A second connection under its name would throw the service off.
    return reachable_check(config.mqtt.url)


def own_broker_check() -> Check:
    """What the service can start where no broker is configured."""
    if own_mosquitto():
        return Check(name="broker", status="ok", value="own mosquitto on loopback")
    if importlib.util.find_spec("amqtt") is not None:
        return Check(
            name="broker",
            status="warning",
            value="own amqtt on loopback",
            message="keeps no sessions",
            remedy="apt-get install mosquitto",
        )
    return Check(name="broker", status="failed", message="none configured, none installed", remedy="apt-get install mosquitto")


def _camera(config: Config) -> Check:
    look = camera_kind(config.camera.driver).look
    if look is None:
        return Check(name="camera", status="ok", value=config.camera.driver)
    found = look(config.camera)
    status = "ok" if found.good else "failed"
    return Check(name="camera", status=status, value=found.value, message=found.message, remedy=found.remedy)


def _controller(config: Config) -> Check:
    from device.drivers.serial_line import find_port

    drivers = {"lamp": config.lamp.driver, "pump": config.pump.driver, "environment": config.environment.driver}
    if "serial" not in drivers.values():
        return Check(name="controller", status="ok", value="none", message="no part of this box hangs on one")
    try:
        port = Path(find_port(config.controller.port) or "/nowhere")
    except HolonodeError as error:
        return Check(
            name="controller", status="failed", value=config.controller.port, message=str(error), remedy=error.remedy or ""
        )
    if not port.exists():
        return Check(
            name="controller", status="failed", value=config.controller.port, message="no such serial port",
            remedy="Plug the controller in; ls /dev/serial/by-id shows its name for controller.port",
        )  # fmt: skip
    if not os.access(port, os.R_OK | os.W_OK):
        return Check(
            name="controller",
            status="failed",
            value=str(port),
            message="no permission",
            remedy="sudo usermod -a -G dialout $USER, then log in again",
        )
    return Check(name="controller", status="ok", value=str(port))
