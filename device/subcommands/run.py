"""`holonode run`: the service."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from device.arguments import whole
from device.text import say

if TYPE_CHECKING:
    from device.console import Console

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, without touching hardware")
    parser.add_argument("--json", action="store_true", help="with --dry-run: as JSON")
    parser.add_argument(
        "--log-format", choices=("auto", "text", "json"), default="auto",
        help="json: every line a JSON object after its priority, as the system's journal understands it; auto (default): where it "
        "leads there",
    )  # fmt: skip
    parser.add_argument(
        "--intervals", type=whole(0, 1_000_000_000), metavar="N", help="stop after N intervals (default: the configuration's)"
    )


def execute(args: argparse.Namespace) -> int:
    """Run until stopped."""
    from device.allocator import give_back_soon
    from device.console import Console, into_the_journal
    from device.edge import at_the_edge
    from device.stopping import PROGRAM

    if args.dry_run:
        return _dry_run(args)
    give_back_soon()
    try:
        structured = args.log_format == "json" or (args.log_format == "auto" and into_the_journal())
        with Console(structured=structured) as console:
            # Within the console: an error that nobody reads must not hold up the end.
            return at_the_edge("holonode run", lambda: _serve(args, console), debug=args.debug)
    finally:
        PROGRAM.end()


def _serve(args: argparse.Namespace, console: Console) -> int:
    import logging

    from device.stopping import PROGRAM, StoppedError

    logging.raiseExceptions = False
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", handlers=[console.handler()])
    try:
        PROGRAM.check()
        return _run(args, console)
    except StoppedError:
        console.say("stopped before the first interval")
        return 0


def _run(args: argparse.Namespace, console: Console) -> int:
    import os

    import msgspec

    from device.config import load_config
    from device.drivers.supervised_camera import CameraStuckError
    from device.paths import store_elsewhere
    from device.rig.ready import readiness_of
    from device.service import Service
    from device.stopping import PROGRAM

    PROGRAM.check()
    config = load_config(args.config)
    if elsewhere := store_elsewhere(args.config, config.storage.folder):
        console.warn(f"holonode run: {elsewhere}")
    # The service tests its models itself, where its manager hears of it, and goes without one that fails.
    readiness_of(config, tests_models=False).require()
    if args.intervals is not None:
        sampling = msgspec.structs.replace(config.sampling, max_intervals=args.intervals)
        config = msgspec.structs.replace(config, sampling=sampling)
    try:
        return Service(config, console.say, stopping=PROGRAM, console=console).run()
    except CameraStuckError as error:
        console.warn(f"holonode run: {error}")
        console.close()
        # Everything of ours is closed; the exit handlers of a library that is stuck would be stuck as well.
        os._exit(error.exit_status)


def _dry_run(args: argparse.Namespace) -> int:
    import json

    from device.config import load_config, paths_of
    from device.paths import store_elsewhere
    from device.rig.ready import readiness_of

    config = load_config(args.config)
    plan = readiness_of(config).require()
    paths, elsewhere = paths_of(config), store_elsewhere(args.config, config.storage.folder)
    if args.json:
        notes = [*plan.notes, *([elsewhere] if elsewhere else [])]
        print(json.dumps(plan.to_builtins() | {"paths": paths, "notes": notes}, indent=2))
        return 0
    say("\n".join(plan.lines()))
    for name, path in paths.items():
        say(f"path       {name} = {path}")
    if elsewhere:
        say(f"note       {elsewhere}")
    return 0
