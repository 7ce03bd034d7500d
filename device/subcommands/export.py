"""`holonode export`: data out of the store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from device.strict_json import dumps
from device.text import say

if TYPE_CHECKING:
    from device.exports.bundle import ExportBundle
    from device.exports.source import RecordSource

__all__ = ["add_arguments", "execute"]

FORMATS = ("csv", "parquet", "ecotaxa", "netcdf", "darwincore", "influx")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = (
        "What the store still holds is exported: records that were delivered go as newer ones need the room. The service may "
        "run meanwhile; the store is only read."
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help="see the reference for what each holds")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder; SHA256SUMS in it lists its files")
    parser.add_argument("--since", metavar="TIME", help="intervals and events from then on, e.g. 2026-05-04 (UTC)")
    parser.add_argument("--until", metavar="TIME", help="intervals and events before then")
    parser.add_argument("--force", action="store_true", help="write into a folder that is not empty")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def execute(args: argparse.Namespace) -> int:
    """Copy the store, write the format, read it back."""
    from device.config import load_config
    from device.exports.source import Period, moment
    from device.exports.whole import export

    period = Period(
        moment(args.since, "--since") if args.since else None, moment(args.until, "--until") if args.until else None
    )
    source, bundle = export(load_config(args.config), args.format, period, args.out, force=args.force)
    _tell(args, source, bundle)
    return 0


def _tell(args: argparse.Namespace, source: RecordSource, bundle: ExportBundle) -> None:
    from dataclasses import asdict

    survey = source.survey
    if args.json:
        summary = {
            "format": args.format,
            "out": str(args.out),
            "files": [asdict(one) for one in bundle.written],
            "detections": survey.detections,
            "intervals": survey.intervals,
            "events": survey.events,
            "unreadable": survey.unreadable,
            "left_out": dict(bundle.left_out),
        }
        print(dumps(summary))
        return
    for one in bundle.written:
        say(f"{one.name}  {one.rows} rows, {one.size} bytes, read back")
    say(f"{survey.intervals} intervals, {survey.detections} detections, {survey.events} events in {args.out}")
    for reason, count in bundle.left_out.items():
        say(f"left out: {count} {reason}", file=sys.stderr)
    if survey.unreadable:
        say(f"left out: {survey.unreadable} rows of the store that are no records", file=sys.stderr)
