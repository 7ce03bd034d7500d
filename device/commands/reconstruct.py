"""`holonode reconstruct`: the object field behind a hologram, as an .npz file and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from device.commands.geometry_args import add_geometry_arguments
from device.commands.hologram_input import add_hologram_arguments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.analysis.background import Normalised
    from device.optics.consistency import Agreement
    from device.optics.geometry import Geometry

__all__ = ["add_arguments", "execute"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_hologram_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="result (.npz); of several frames each goes to FILE with its frame's name appended",
    )  # fmt: skip
    parser.add_argument(
        "--method", choices=("hidef", "backpropagate", "iterative"), default="hidef",
        help="the network; plain refocusing, twin image included; sparse phase retrieval (default hidef)",
    )  # fmt: skip
    parser.add_argument("--iterations", type=int, default=30, metavar="N", help="of --method iterative (default 30)")
    parser.add_argument(
        "--range-um", type=float, nargs=2, metavar=("A", "B"),
        help="search range of --distance-um auto (default: from half to twice the instrument's distance)",
    )  # fmt: skip
    parser.add_argument("--png", action="store_true", help="also write amplitude and phase as a picture beside the result")
    parser.add_argument("--json", action="store_true", help="one JSON object per frame")
    add_geometry_arguments(parser, auto_distance=True)


def execute(args: argparse.Namespace) -> int:
    """Write one .npz per frame, and say where and how well it explains the hologram."""
    from device.commands.hologram_input import normalised_frames

    if args.iterations < 1:
        from device.errors import InputError

        raise InputError("nothing to iterate", where="--iterations", expected="1 or more", got=args.iterations)
    held: tuple[str, Normalised] | None = None
    several = False
    for name, frame in normalised_frames(args):
        if held is not None:
            several = True
            _reconstruct(args, *held, several)
        held = (name, frame)
    if held is not None:
        _reconstruct(args, *held, several)
    return 0


def _reconstruct(args: argparse.Namespace, name: str, frame: Normalised, several: bool) -> None:
    import json

    from device.optics.consistency import agreement

    geometry, uncertainty_um = _geometry(args, frame)
    field = _field(args, frame, geometry)
    found = agreement(field, frame.intensity, geometry, noise=frame.noise)
    out = _out(args.out, name if several else None)
    _write(out, field, geometry, args.method, found)
    files = [str(out)]
    if args.png:
        files.append(str(_picture(out, field, geometry, args.method)))
    if args.json:
        answer = {
            "name": name, "files": files, "method": args.method, "distance_um": geometry.distance_um,
            "distance_uncertainty_um": uncertainty_um, "correlation": found.correlation, "residual": found.residual,
            "chi2": found.chi2,
        }  # fmt: skip
        print(json.dumps(answer), flush=True)
        return
    distance = f"{geometry.distance_um:.6g} um" + (f" +- {uncertainty_um:.3g} um (found)" if uncertainty_um else "")
    agrees = f"correlation {found.correlation:.3f}, unexplained {found.residual:.0%} of the fringes"
    print(f"{name}: {args.method} at {distance}; propagated back to the sensor: {agrees}; {', '.join(files)}", flush=True)


def _geometry(args: argparse.Namespace, frame: Normalised) -> tuple[Geometry, float | None]:
    """The geometry with the distance given, or found with its uncertainty."""
    from device.commands.geometry_args import geometry_from
    from device.errors import InputError

    if args.distance_um != "auto":
        return geometry_from(args), None
    from device.optics.autofocus import estimate_distance

    if args.range_um is None and not args.instrument:
        raise InputError(
            "no range to search the distance in", where="--distance-um auto", expected="--range-um A B, or --instrument FILE",
            got="neither",
        )  # fmt: skip
    nominal = geometry_from(args, distance_um=args.range_um[1] if args.range_um else None)
    low_um, high_um = args.range_um or (nominal.distance_um / 2, nominal.distance_um * 2)
    estimate = estimate_distance(frame.intensity, nominal, low_um, high_um)
    return nominal.at(estimate.distance_um), estimate.uncertainty_um


def _field(args: argparse.Namespace, frame: Normalised, geometry: Geometry) -> NDArray[np.complex64]:
    if args.method == "backpropagate":
        from device.optics.propagation import backpropagate

        return backpropagate(frame.intensity, geometry)
    if args.method == "iterative":
        from device.optics.phase_retrieval import retrieve_single_shot

        return retrieve_single_shot(frame.intensity, geometry, iterations=args.iterations)
    return _network_field(args, frame, geometry)


def _network_field(args: argparse.Namespace, frame: Normalised, geometry: Geometry) -> NDArray[np.complex64]:
    from datetime import UTC, datetime

    import msgspec

    from device.analysis.reconstruct import reconstruct_field
    from device.app import build_pipeline, model_store
    from device.config import load_config
    from device.errors import CheckError
    from device.frames import Hologram

    config = load_config(args.config)
    settings = msgspec.structs.replace(config.analysis, reconstruction="hidef", classifier_model="")
    pipeline, _ = build_pipeline(model_store(config), settings, geometry)
    if pipeline.network is None:
        raise CheckError("the reconstruction network did not load", where=settings.reconstruction_model)
    # Nothing here depends on when a recorded file was taken.
    hologram = Hologram(frame.intensity, geometry, frame.noise, datetime.now(UTC))
    return reconstruct_field(hologram, pipeline.network)


def _out(out: Path, frame_name: str | None) -> Path:
    target = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    if frame_name is None:
        return target
    return target.with_name(f"{target.stem}-{frame_name.replace('#', '-')}.npz")


def _write(out: Path, field: NDArray[np.complex64], geometry: Geometry, method: str, found: Agreement) -> None:
    import numpy as np

    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        out,
        field=field,
        distance_um=geometry.distance_um,
        pitch_um=geometry.object_pitch_um,
        wavelength_um=geometry.wavelength_um,
        method=method,
        consistency=found.correlation,
        consistency_residual=found.residual,
        consistency_chi2=np.nan if found.chi2 is None else found.chi2,
    )


def _picture(out: Path, field: NDArray[np.complex64], geometry: Geometry, method: str) -> Path:
    import cv2

    from device.analysis.field_picture import field_picture
    from device.errors import InputError

    target = out.with_suffix(".png")
    title = f"{method} at {geometry.distance_um:.6g} um, {geometry.wavelength_um:g} um light"
    if not cv2.imwrite(str(target), field_picture(field, geometry.object_pitch_um, title)):
        raise InputError("the picture could not be written", where=target)
    return target
