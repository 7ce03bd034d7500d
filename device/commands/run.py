"""`holonode run`: the service."""

from __future__ import annotations

import argparse

from device.arguments import whole
from device.text import say

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, without touching hardware")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    parser.add_argument(
        "--intervals", type=whole(0, 1_000_000_000), metavar="N", help="stop after N intervals (default: the configuration's)"
    )


def execute(args: argparse.Namespace) -> int:
    """Run until stopped."""
    import json
    import logging
    import os
    import sys

    import msgspec

    from device.app import readiness_of
    from device.config import load_config
    from device.drivers.supervised_camera import CameraStuckError
    from device.service import Service

    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    config = load_config(args.config)
    plan = readiness_of(config).require()
    if args.dry_run:
        if args.json:
            print(json.dumps(plan.to_builtins(), indent=2))
        else:
            say("\n".join(plan.lines()))
        return 0
    if args.intervals is not None:
        sampling = msgspec.structs.replace(config.sampling, max_intervals=args.intervals)
        config = msgspec.structs.replace(config, sampling=sampling)
    try:
        return Service(config, say).run()
    except CameraStuckError as error:
        say(f"holonode run: {error}", sys.stderr)
        # Everything of ours is closed; the exit handlers of a library that is stuck would be stuck as well.
        os._exit(error.exit_status)
