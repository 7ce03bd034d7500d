"""`holonode arm`: look at everything before the box is left alone, and say that it was."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from device.arguments import number
from device.strict_json import dumps

if TYPE_CHECKING:
    from pathlib import Path

    from device.config import Config
    from device.health.preflight import Preflight
    from device.messaging.payloads import Check
    from device.storage.outbox import Outbox
    from device.storage.reading import History

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--days", type=number(0, 3660, above=True), default=21.0, metavar="N", help="that it is to last by itself (default: 21)"
    )
    parser.add_argument("--force", metavar="REASON", help="arm although checks fail; the reason is recorded and published")
    parser.add_argument("--by", metavar="NAME", help="who arms it (default: the user)")
    parser.add_argument("--new-baseline", action="store_true", help="take the optics' baseline anew, e.g. with a new lamp")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def execute(args: argparse.Namespace) -> int:
    """0 where the box is armed, else 4."""
    from pathlib import Path

    from device.config import load_config
    from device.errors import InputError
    from device.health.armed import arm

    if args.force is not None and not args.force.strip():
        raise InputError("arming against a failed check needs a reason", where="--force", expected="a sentence")
    config = load_config(args.config)
    folder = Path(config.storage.folder).expanduser()
    with _held(config, folder) as (outbox, history):
        outcome = _looked(config, outbox, history, args.days)
        good = not outcome.failed or args.force is not None
        if good:
            arm(outbox, outcome.armed(args.by or _user(), args.force or ""))
        if good and args.new_baseline:
            _forget_baseline(outbox)
    _print(args, outcome, armed=good)
    return 0 if good else 4


@contextlib.contextmanager
def _held(config: Config, folder: Path) -> Generator[tuple[Outbox, History | None]]:
    """The store, so that no service starts meanwhile, and what its last intervals came to; InputError where a service runs."""
    from device.errors import InputError
    from device.storage.outbox import Outbox
    from device.storage.reading import in_use, store_reader

    if in_use(folder):
        raise InputError(
            "the service is running and has lamp, pump and camera", where=folder,
            remedy="Stop it (sudo systemctl stop holonode, or Ctrl-C where it was started by hand), arm, then start it again.",
        )  # fmt: skip
    with store_reader(folder) as reader:
        history = reader.history() if reader else None
    outbox = Outbox(folder, config.device.id, min_free_bytes=round(config.storage.min_free_mb * 2**20))
    try:
        yield outbox, history
    finally:
        outbox.close()


def _looked(config: Config, outbox: Outbox, history: History | None, days: float) -> Preflight:
    """The preflight, with drivers of its own; without any where the box isn't ready for them."""
    import time
    from pathlib import Path

    from device.calibration import commissioning_record
    from device.clock import BoxClock
    from device.health.endurance import facts_of
    from device.health.preflight import preflight
    from device.instrument import load_instrument
    from device.rig.build import build_rig
    from device.rig.models import model_store
    from device.rig.ready import readiness_of
    from device.rig.records import calibrations

    nominal = load_instrument(config.device.instrument)
    drivers = None if readiness_of(config).errors else build_rig(config, nominal)
    try:
        return preflight(
            config,
            calibrations(config, nominal),
            model_store(config),
            drivers,
            sleep=drivers.time.sleep if drivers else time.sleep,
            facts=facts_of(outbox.get_state, outbox.folder, history),
            days=days,
            clock=BoxClock().quality(),
            broker=lambda checks: _broker(config, outbox.folder, checks),
            commissioned=commissioning_record(Path(config.calibration.folder).expanduser(), nominal),
        )
    finally:
        if drivers is not None:
            drivers.close()


def _broker(config: Config, folder: Path, checks: Sequence[Check]) -> Check:
    """Whether the checks so far get out to the broker, which is the service's own where none is configured."""
    import msgspec

    from device.errors import HolonodeError
    from device.messaging.broker import OwnBroker
    from device.messaging.payloads import Check, Health
    from device.messaging.probe import broker_check

    payload = Health.of(checks)
    if config.mqtt.url:
        return broker_check(config.mqtt, config.device.id, payload)
    try:
        own = OwnBroker.start(folder, config.mqtt.own_broker_port)
    except HolonodeError as error:
        return Check(name="broker", status="failed", message=str(error), remedy=error.remedy or "apt-get install mosquitto")
    try:
        protocol = "3.1.1" if own.kind == "amqtt" else config.mqtt.protocol
        return broker_check(msgspec.structs.replace(config.mqtt, url=own.url, protocol=protocol), config.device.id, payload)
    finally:
        own.stop()


def _forget_baseline(outbox: Outbox) -> None:
    from device.health.trend import forgotten

    outbox.keep(forgotten())


def _user() -> str:
    import getpass
    import os

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def _print(args: argparse.Namespace, outcome: Preflight, *, armed: bool) -> None:
    from device.subcommands.check_lines import check_lines

    if args.json:
        print(dumps({"armed": armed, "reason": args.force, **outcome.to_builtins()}))
        return
    print("\n".join(check_lines(outcome.checks)))
    print(f"next wake   {outcome.next_wake() or 'at once, one sample after the other'}")
    failed = ", ".join(outcome.failed)
    if not failed:
        print(f"armed for {outcome.days:g} days; start the service: holonode run")
    elif armed:
        print(f"armed for {outcome.days:g} days although {failed} failed; the reason is recorded")
    else:
        print(f'not armed: {failed} failed. Mend it, or arm all the same: holonode arm --force "why"')
