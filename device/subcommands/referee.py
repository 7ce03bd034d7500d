"""`holonode referee`: a second opinion on every particle of a frame, by a method that nobody trained."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from device.strict_json import dumps
from device.subcommands.geometry_args import add_geometry_arguments
from device.subcommands.hologram_input import add_hologram_arguments

if TYPE_CHECKING:
    from device.analysis.background import Normalised

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_hologram_arguments(parser)
    parser.add_argument(
        "--particle", type=int, nargs="+", metavar="N",
        help="judge these alone, as numbered from 1 in the list it prints (default: all; some seconds each)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object per frame")
    add_geometry_arguments(parser)


def execute(args: argparse.Namespace) -> int:
    """Print a line, or an entry of a JSON object, per particle."""
    from device.subcommands.hologram_input import normalised_frames

    print("verdicts: their limit is not calibrated, look at the figures beside them", file=sys.stderr)
    for name, frame in normalised_frames(args):
        _judge(args, name, frame)
    return 0


def _judge(args: argparse.Namespace, name: str, frame: Normalised) -> None:
    from datetime import UTC, datetime

    import numpy as np

    from device.analysis.depth import Depth
    from device.analysis.referee import referee
    from device.analysis.segment import Segment
    from device.errors import InputError
    from device.frames import Hologram
    from device.subcommands.geometry_args import geometry_from
    from device.subcommands.reconstruct import network_pipeline

    geometry = geometry_from(args)
    pipeline = network_pipeline(args.config, None, geometry)
    hologram = Hologram(frame.intensity, geometry, frame.noise, datetime.now(UTC))
    found = pipeline.analyse(hologram).particles
    asked = [n - 1 for n in args.particle] if args.particle else list(range(len(found)))
    if missing := [k + 1 for k in asked if not 0 <= k < len(found)]:
        raise InputError("no such particle", where="--particle", expected=f"1 to {len(found)}", got=missing[0])
    field = np.ones(hologram.intensity.shape, np.complex64)
    parts: list[Segment] = []
    for particle in found:
        left, top, width, height = particle.bbox_px
        box = field[top : top + height, left : left + width]
        box[particle.mask] = particle.field_crop[particle.mask]
        parts.append(Segment(left, top, particle.mask, touches_edge=False))
    depths = [Depth(p.z_um, p.z_uncertainty_um).equivalent(geometry) for p in found]
    amplitude = np.sqrt(np.maximum(hologram.intensity, 0), dtype=np.float32)
    particles: list[dict[str, Any]] = []
    for k in asked:
        (ruling,) = referee(amplitude, field, parts, depths, geometry, noise=frame.noise, asked=[k])
        entry = {
            "particle": k + 1, "x_um": found[k].x_um, "y_um": found[k].y_um, "z_um": found[k].z_um, **dataclasses.asdict(ruling),
        }  # fmt: skip
        particles.append(entry)
        if not args.json:
            print(
                f"{name}: particle {k + 1} at {found[k].x_um:.1f} {found[k].y_um:.1f} um, {found[k].z_um:.6g} um from the sensor: {ruling.verdict}; "
                f"it differs by {ruling.difference:.2f} from a field fitted without it (two such fields by {ruling.ambiguity:.2f}; "
                f"1: nothing in common) and leaves {ruling.given_left:.0%} of the fringes unexplained, the fitted one {ruling.fitted_left:.0%}",
                flush=True,
            )  # fmt: skip
    if args.json:
        print(dumps({"name": name, "particles": particles}), flush=True)
    elif not particles:
        print(f"{name}: no particle to judge", file=sys.stderr)
