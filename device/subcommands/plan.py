"""`holonode plan`: what a configuration will do, and what its optics let it see."""

from __future__ import annotations

import argparse
from dataclasses import asdict

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--optics", action="store_true", help="only what limits resolution: lamp, pixels or frame, each in um")
    parser.add_argument(
        "--instrument", metavar="FILE", help="with --optics: another instrument file (TOML), or a reference instrument's name"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")


def execute(args: argparse.Namespace) -> int:
    """Print it; touches no hardware."""
    from device.config import load_config
    from device.errors import InputError
    from device.instrument import load_instrument
    from device.optics.resolution import resolution
    from device.rig.ready import readiness_of
    from device.strict_json import dumps

    if args.instrument and not args.optics:
        raise InputError("only optics can be planned for another instrument", where="--instrument", remedy="Add --optics.")
    config = load_config(args.config)
    instrument = load_instrument(args.instrument or config.device.instrument)
    found = resolution(instrument.geometry, (instrument.sensor.height_px, instrument.sensor.width_px))
    plan = None if args.optics else readiness_of(config).require()
    if args.json:
        optics = {"instrument": instrument.name} | asdict(found)
        print(dumps(optics if plan is None else plan.to_builtins() | {"optics": optics}))
        return 0
    print("\n".join([f"instrument {instrument.name}"] if plan is None else plan.lines()))
    print("\n".join(found.lines()))
    return 0
