"""`holonode replay`: the same analysis over recorded frames."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from device.strict_json import dumps
from device.subcommands.geometry_args import add_geometry_arguments
from device.subcommands.reading_args import add_reading_arguments, reading_options
from device.text import say

if TYPE_CHECKING:
    from device.replay import ReplayResult

__all__ = ["add_arguments", "execute"]


_FLAGS = {2: "not evaluated", 3: "suspect", 4: "fail"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders or globs of recorded holograms")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--background", default="none", metavar="FILE|first|median|none",
        help="divide by a file, by the first frame, by the median of the frames around each, or by each frame's own smooth "
        "illumination (none, the default)",
    )  # fmt: skip
    parser.add_argument("--method", choices=("hidef", "backpropagate"), default="hidef", help="reconstruction (default hidef)")
    parser.add_argument("--panels", action="store_true", help="write a picture of every frame")
    parser.add_argument("--min-esd-um", type=float, metavar="X", help="leave out smaller particles")
    parser.add_argument(
        "--max-esd-um", type=float, metavar="X",
        help="leave out larger particles, and frames that something larger blocks (default: the configuration's, 300)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_reading_arguments(parser)
    add_geometry_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Write detections.jsonl, intervals.jsonl, run.json and pictures."""
    from device.config import load_config
    from device.instrument import load_instrument
    from device.replay import ReplayRequest, replay
    from device.subcommands.geometry_args import geometry_from

    instrument = load_instrument(args.instrument) if args.instrument else None
    request = ReplayRequest(
        inputs=tuple(args.inputs),
        out=args.out,
        background=args.background,
        method=args.method,
        panels=args.panels,
        min_esd_um=args.min_esd_um,
        max_esd_um=args.max_esd_um,
        geometry=geometry_from(args),
        instrument=instrument,
        reading=reading_options(args, instrument.sensor.bayer if instrument else None),
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    result = replay(load_config(args.config), request, say)
    if args.json:
        print(dumps(result.summary))
    else:
        _print_summary(result, args.out)
    return 0


def _print_summary(result: ReplayResult, out: Path) -> None:
    counts = ", ".join(f"{n} {label}" for label, n in sorted(result.counts.items())) or "no particles"
    failed = f"; {result.files_failed} could not be read (run.json says why)" if result.files_failed else ""
    blocked = f"; {result.frames_obstructed} blocked and not analysed" if result.frames_obstructed else ""
    crowded = f"; {result.frames_unchecked} held more than are checked" if result.frames_unchecked else ""
    say(f"{result.frames_analysed} frames: {counts}{blocked}{crowded}{failed}. Results in {out}")
    if result.reasons:
        say(f"quality flag {result.qc} ({_FLAGS[result.qc]}): {'; '.join(result.reasons)}")
