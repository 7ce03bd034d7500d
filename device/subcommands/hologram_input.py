"""Recorded files to normalised holograms, for the commands that look at single frames."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from device.subcommands.reading_args import add_reading_arguments, reading_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.analysis.background import Normalised
    from device.drivers.recorded import RecordedFrame
    from device.recordings.options import ReadOptions

__all__ = ["add_hologram_arguments", "background_pixels", "normalised_frames", "raw_frames"]


def add_hologram_arguments(parser: argparse.ArgumentParser) -> None:
    """Add HOLOGRAM... and --background."""
    parser.add_argument("holograms", nargs="+", metavar="HOLOGRAM", help="files, folders or globs of recorded holograms")
    parser.add_argument(
        "--background", type=Path, metavar="FILE",
        help="frame or frames without objects to divide by, averaged (default: each frame's own smooth illumination)",
    )  # fmt: skip
    add_reading_arguments(parser)


def background_pixels(args: argparse.Namespace) -> NDArray[np.floating] | None:
    """Mean of the frames --background names, or None."""
    import numpy as np

    from device.drivers.recorded import expand, read_frames

    if args.background is None:
        return None
    # The array that was named is the holograms'; a background file has its own.
    options = replace(_options(args), array=None)
    return np.mean([frame.pixels for path in expand([args.background]) for frame in read_frames(path, options)], axis=0)


def raw_frames(args: argparse.Namespace) -> Iterator[RecordedFrame]:
    """Every frame the arguments name, as recorded; InputError for the first that can't be read."""
    import sys

    from device.drivers.recorded import expand, read_frames

    options = _options(args)
    for path in expand(args.holograms):
        said: tuple[str, ...] = ()
        for frame in read_frames(path, options):
            for note in frame.notes:
                if note not in said:
                    print(f"{frame.name}: {note}", file=sys.stderr)
            said = frame.notes
            yield frame


def _options(args: argparse.Namespace) -> ReadOptions:
    """As the flags say, with the colour filters of the instrument where one is given."""
    from device.instrument import load_instrument

    given = getattr(args, "instrument", None)
    return reading_options(args, load_instrument(given).sensor.bayer if given else None)


def normalised_frames(args: argparse.Namespace) -> Iterator[tuple[str, Normalised]]:
    """Name and normalised intensity of every frame the arguments name; InputError for the first that can't be read."""
    from device.analysis.background import normalise

    background = background_pixels(args)
    for frame in raw_frames(args):
        yield frame.name, normalise(frame.pixels, background, white_counts=frame.white)
