"""`holonode doctor`: what is present, missing, wrong, and the command that mends it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.config import Config
    from device.messaging.payloads import Check

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--no-optics", action="store_true", help="don't look through the camera (it belongs to the service while that runs)"
    )
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def _optics(config: Config) -> list[Check]:
    """Today's view against the commissioning baseline, where there is one."""
    from pathlib import Path

    from device.calibration import commissioning_record
    from device.errors import HolonodeError
    from device.health.optics import compare_optics, measure_baseline
    from device.instrument import load_instrument
    from device.messaging.payloads import Check
    from device.rig.build import build_rig

    try:
        instrument = load_instrument(config.device.instrument)
        record = commissioning_record(Path(config.calibration.folder).expanduser(), instrument)
        if record is None:
            return []
        drivers = build_rig(config, instrument)
        try:
            return compare_optics(measure_baseline(config, instrument, drivers.camera, drivers.lamp), record)
        finally:
            drivers.close()
    except HolonodeError as error:
        return [
            Check(name="optics", status="failed", message=str(error), remedy=error.remedy or "Stop the service, then try again")
        ]


def _resolution(config: Config) -> Check:
    """What limits detail, of the instrument as it is configured."""
    from device.errors import InputError
    from device.instrument import load_instrument
    from device.messaging.payloads import Check
    from device.optics.resolution import resolution

    try:
        instrument = load_instrument(config.device.instrument)
        told = resolution(instrument.geometry, (instrument.sensor.height_px, instrument.sensor.width_px))
    except InputError as error:
        return Check(name="resolution", status="failed", message=str(error), remedy=error.remedy or "")
    wasted = told.nyquist_share < 0.8
    return Check(
        name="resolution", status="warning" if wasted else "ok",
        message=f"{told.line_um:.2f} um lines, limited by {told.limits[0].cause}"
        + (f": the light carries {told.nyquist_share:.0%} of what the pixels could hold" if wasted else ""),
        remedy=f"{told.limits[0].advice.capitalize()} (holonode plan --optics)" if wasted else "",
    )  # fmt: skip


def _trend(config: Config) -> list[Check]:
    """How the optics went since commissioning, as the store tells."""
    import sqlite3
    from pathlib import Path

    from device.health.trend import stored_checks
    from device.storage.reading import store_reader

    try:
        with store_reader(Path(config.storage.folder).expanduser()) as reader:
            return [] if reader is None else stored_checks(reader.state)
    except sqlite3.DatabaseError:
        return []  # the check of the store's integrity tells


def execute(args: argparse.Namespace) -> int:
    """0 where nothing failed, else 4."""
    from pathlib import Path

    import msgspec

    from device.config import load_config
    from device.health.checks import run_checks
    from device.messaging.payloads import Check
    from device.paths import store_elsewhere
    from device.rig.ready import readiness_of
    from device.storage.reading import in_use
    from device.subcommands.check_lines import check_lines

    config = load_config(args.config)
    busy = in_use(Path(config.storage.folder).expanduser())
    checks = (
        run_checks(config, lambda: readiness_of(config).checks)
        + ([] if args.no_optics or busy else _optics(config))
        + [_resolution(config)]
        + _trend(config)
    )
    if elsewhere := store_elsewhere(args.config, config.storage.folder):
        checks.append(Check(
            name="store elsewhere", status="warning", message=elsewhere,
            remedy="Move it there, or name it in storage.folder with its absolute path",
        ))  # fmt: skip
    if args.json:
        print(msgspec.json.encode(checks).decode())
    else:
        print("\n".join(check_lines(checks)))
    return 4 if any(check.status == "failed" for check in checks) else 0
