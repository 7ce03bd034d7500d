"""The flags that say how files are to be read: replay, focus, reconstruct and the calibrations share them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device.recordings.options import ReadOptions

__all__ = ["add_reading_arguments", "reading_options"]


def add_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --array, --frames-axis and --memory-mb."""
    group = parser.add_argument_group("reading", "what a file doesn't say itself")
    group.add_argument("--array", metavar="NAME", help="of files that hold several arrays (MAT, NPZ, HDF5): the hologram's")
    group.add_argument(
        "--frames-axis", default="auto", metavar="AXIS",
        help="axis of an array that counts its frames: first, last, 0, 1, 2; none: it is one colour image (default: as its "
        "shape tells; a shape that doesn't is refused)",
    )  # fmt: skip
    group.add_argument(
        "--memory-mb",
        type=float,
        metavar="X",
        help="what a frame and its analysis may take (default: four fifths of what is free)",
    )


def reading_options(args: argparse.Namespace, bayer: str | None = None) -> ReadOptions:
    """What the flags say; `bayer` as the instrument file has it."""
    from device.recordings.options import ReadOptions

    return ReadOptions(array=args.array, frames_axis=args.frames_axis, memory_mb=args.memory_mb, bayer=bayer)
