"""`holonode focus`: the distance of the objects in a hologram, with its uncertainty."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from device.strict_json import dumps
from device.subcommands.geometry_args import add_geometry_arguments
from device.subcommands.hologram_input import add_hologram_arguments

if TYPE_CHECKING:
    from device.optics.autofocus import FocusEstimate, TileFocus

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_hologram_arguments(parser)
    parser.add_argument(
        "--range-um",
        type=float,
        nargs=2,
        metavar=("A", "B"),
        help="distances to search, object to sensor (default: all that pitch, frame and wavelength can tell). What is found goes "
        "with the pitch's square over the wavelength: 1 %% of pitch is 2 %% of distance",
    )
    parser.add_argument("--tiles", action="store_true", help="also find the distance of each region")
    parser.add_argument(
        "--box-px", type=int, nargs=4, metavar=("COLUMN", "ROW", "WIDTH", "HEIGHT"), help="focus on what lies in this box alone"
    )
    parser.add_argument("--tile-px", type=int, default=256, metavar="N", help="side of a region in pixels (default 256)")
    parser.add_argument("--json", action="store_true", help="one JSON object per frame, the metric curve included")
    add_geometry_arguments(parser, distance=False)


def execute(args: argparse.Namespace) -> int:
    """Print a line, or a JSON object, per frame."""
    from device.errors import InputError
    from device.optics.autofocus import default_range_um, estimate_distance, estimate_tiles, region
    from device.subcommands.geometry_args import geometry_from
    from device.subcommands.hologram_input import normalised_frames

    if args.range_um and not 0 <= args.range_um[0] < args.range_um[1]:
        raise InputError(
            "the search range is not a range", where="--range-um", expected="0 <= A < B, in micrometres",
            got=f"{args.range_um[0]:g} {args.range_um[1]:g}",
        )  # fmt: skip
    if args.tile_px < 32:
        raise InputError("too small a region", where="--tile-px", expected="32 or more", got=args.tile_px)
    # Of the geometry's distance nothing is asked; it must only lie before a point source.
    stand_in_um = args.range_um[1] if args.range_um else min(1.0, (args.source_distance_um or 1.0) / 2)
    geometry = geometry_from(args, distance_um=stand_in_um)
    for name, frame in normalised_frames(args):
        intensity = region(frame.intensity, tuple(args.box_px)) if args.box_px else frame.intensity
        low_um, high_um = args.range_um or default_range_um(geometry, min(intensity.shape))
        estimate = estimate_distance(intensity, geometry, low_um, high_um)
        tiles: tuple[TileFocus, ...] = ()
        if args.tiles:
            tiles = estimate_tiles(frame.intensity, geometry, low_um, high_um, tile_px=args.tile_px)
        if args.json:
            print(dumps(_as_json(name, estimate, tiles if args.tiles else None)), flush=True)
        else:
            _print(name, estimate, tiles)
    return 0


def _as_json(name: str, estimate: FocusEstimate, tiles: tuple[TileFocus, ...] | None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "name": name,
        **_verdict_as_json(estimate),
        "maxima": [
            {"criterion": m.criterion, "distance_um": round(m.distance_um, 3), "height": round(m.height, 3)}
            for m in estimate.maxima
        ],
        "method": estimate.method,
        "curve": {
            "distance_um": [round(float(d), 3) for d in estimate.distances_um],
            "explained": [round(float(v), 6) for v in estimate.metric],
        },
    }
    if tiles is not None:
        answer["tiles"] = [_tile_as_json(tile) for tile in tiles]
    return answer


def _verdict_as_json(estimate: FocusEstimate) -> dict[str, Any]:
    found = estimate.found
    return {
        "verdict": "found" if found else "not found",
        "reason": estimate.reason or None,
        "distance_um": round(estimate.distance_um, 3) if found else None,
        "uncertainty_um": round(estimate.uncertainty_um, 3) if found else None,
        "interval_um": [round(end_um, 3) for end_um in estimate.interval_um] if found else None,
        "bracketed": found,
    }


def _tile_as_json(tile: TileFocus) -> dict[str, Any]:
    box_px = [tile.column_px, tile.row_px, tile.width_px, tile.height_px]
    if tile.estimate is not None:
        return {"box_px": box_px, **_verdict_as_json(tile.estimate)}
    nothing = {"distance_um": None, "uncertainty_um": None, "interval_um": None, "bracketed": None}
    return {"box_px": box_px, "verdict": "not found", "reason": "nothing to focus on", **nothing}


def _print(name: str, estimate: FocusEstimate, tiles: tuple[TileFocus, ...]) -> None:
    print(f"{name}: {_words(estimate)}", flush=True)
    for tile in tiles:
        last_column, last_row = tile.column_px + tile.width_px - 1, tile.row_px + tile.height_px - 1
        place = f"columns {tile.column_px}-{last_column}, rows {tile.row_px}-{last_row}"
        print(f"  {place}: {_words(tile.estimate) if tile.estimate else 'nothing to focus on'}", flush=True)


def _words(estimate: FocusEstimate) -> str:
    if not estimate.found:
        peaks = ", ".join(f"{m.criterion} {_micrometres(m.distance_um)}" for m in estimate.maxima)
        return f"not found: {estimate.reason} (maxima: {peaks})"
    digits = _digits(estimate.distance_um)
    return f"{estimate.distance_um:.{digits}f} um +- {estimate.uncertainty_um:.{digits}f} um"


def _micrometres(distance_um: float) -> str:
    return f"{distance_um:.{_digits(distance_um)}f} um"


def _digits(distance_um: float) -> int:
    return 0 if distance_um >= 100 else 2
