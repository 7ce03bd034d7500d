"""`holonode schema`: the published JSON Schemas, and the whole MQTT contract as AsyncAPI."""

from __future__ import annotations

import argparse

__all__ = ["add_arguments", "execute"]

_NAMES = (
    "config", "detection", "interval", "event", "instrument", "manifest", "calibration", "asyncapi", "detection/1", "interval/1", "event/1",
)  # fmt: skip
"""/1: records of before, which stores may hold and boxes may still send."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("name", choices=_NAMES, help="which schema")


def execute(args: argparse.Namespace) -> int:
    """Print one schema."""
    import json

    if args.name == "asyncapi":
        from device.messaging.contract import asyncapi

        print(json.dumps(asyncapi(), indent=2))
        return 0
    from device.schemas import json_schema

    print(json.dumps(json_schema(args.name), indent=2))
    return 0
