"""`holonode run`: the service."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--intervals", type=int, metavar="N", help="stop after N intervals (default: the configuration's)")


def execute(args: argparse.Namespace) -> int:
    """Run until stopped."""
    import logging
    import os
    import sys

    import msgspec

    from device.config import load_config
    from device.drivers.supervised_camera import CameraStuckError
    from device.service import Service

    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    config = load_config(args.config)
    if args.intervals is not None:
        sampling = msgspec.structs.replace(config.sampling, max_intervals=args.intervals)
        config = msgspec.structs.replace(config, sampling=sampling)
    try:
        return Service(config, lambda text: print(text, flush=True)).run()
    except CameraStuckError as error:
        print(f"holonode run: {error}", file=sys.stderr, flush=True)
        # Everything of ours is closed; the exit handlers of a library that is stuck would be stuck as well.
        os._exit(error.exit_status)
