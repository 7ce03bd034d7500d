"""The `holonode` command."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

__all__ = ["main"]

_COMMANDS = {
    "run": "the service: capture, analysis, outbox, MQTT",
    "replay": "the same analysis over recorded frames",
    "reconstruct": "one reconstruction of a hologram",
    "referee": "a second opinion on every particle of a hologram: is there another field that explains it?",
    "focus": "distance of the objects in a hologram",
    "plan": "what a configuration will do, and what limits the detail its optics see; touches no hardware",
    "arm": "look at everything before the box is left alone: preflight, endurance, next wake",
    "doctor": "what is present, missing, wrong, and what mends it",
    "twin": "render frames with known truth",
    "review": "crops kept for a person to look at: list, label, export",
    "export": "data out of the store: CSV, Parquet, EcoTaxa, netCDF, Darwin Core",
    "models": "the model store",
    "update": "signed releases and models: check, fetch, apply, status",
    "identity": "this box's key and its certificate for the fleet's broker",
    "window": "tell the service that the impactor has a clean window",
    "web": "the dashboard's one-time code, the fingerprint of its certificate",
    "schema": "the published schemas",
}


def _parser() -> argparse.ArgumentParser:
    import importlib

    from device import __version__
    from device.arguments import Parser

    parser = Parser(prog="holonode", description="Field firmware for holographic particle sensors.")
    parser.add_argument("--version", action="version", version=f"holonode {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text in _COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        importlib.import_module(f"device.subcommands.{name}").add_arguments(sub)
        sub.add_argument(
            "--config",
            metavar="FILE",
            help="configuration file, or a packaged one: simulated-bioaerosol (default), simulated-flow, simulated-assay",
        )
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit status: 2 bad input, 3 missing hardware, 4 a failed check."""
    if arguments is None and sys.argv[1:2] == ["run"]:
        # Asked to stop while it starts, the service stops in order: nothing may come before this.
        from device.stopping import PROGRAM

        PROGRAM.catch()
    import importlib

    from device.edge import at_the_edge, parsed

    args = parsed(_parser(), arguments)
    execute = importlib.import_module(f"device.subcommands.{args.command}").execute
    return at_the_edge(f"holonode {args.command}", lambda: execute(args), debug=args.debug)
