"""`holonode export`: data out of the store."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    from device.errors import InputError
    from device.exports import writer
    from device.exports.bundle import ExportBundle
    from device.exports.snapshot import snapshot
    from device.exports.source import Period, RecordSource, moment
    from device.instrument import load_instrument
    from device.storage.review import FOLDER, ReviewFolder

    config = load_config(args.config)
    store = Path(config.storage.folder).expanduser()
    period = Period(
        moment(args.since, "--since") if args.since else None, moment(args.until, "--until") if args.until else None
    )
    if period.since and period.until and period.since >= period.until:
        raise InputError("the period is empty", where="--until", expected=f"after {period.since}", got=period.until)
    write = writer(args.format)
    bundle = ExportBundle(args.out, force=args.force)
    with snapshot(store, args.out) as database:
        source = RecordSource(database, period, config, load_instrument(config.device.instrument), ReviewFolder(store / FOLDER))
        if not (source.survey.detections or source.survey.intervals or source.survey.events):
            raise InputError("nothing to export", where=store, expected="records in the period", got=_words(period))
        with bundle:
            write(source, bundle)
    _tell(args, source, bundle)
    return 0


def _words(period: Any) -> str:
    return f"none from {period.since or 'the beginning'} to {period.until or 'now'}"


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
