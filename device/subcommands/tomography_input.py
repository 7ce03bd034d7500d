"""`holonode reconstruct --method tomography`: fields, or holograms, at many angles to a refractive index in three dimensions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device.subcommands.field_output import result_path

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from device.optics.geometry import Geometry

__all__ = ["add_tomography_arguments", "reconstruct_index"]


def add_tomography_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the method."""
    group = parser.add_argument_group(
        "tomography",
        "frames of one particle that turns about the frames' rows' axis (y): holograms, or .npz files with complex `field` [height, width] "
        "or `fields` [n, height, width], the incident wave divided out, and, if it likes, `angles_deg` [n]",
    )
    group.add_argument(
        "--angles-deg",
        type=float,
        nargs="+",
        metavar="A",
        help="of every frame: what lies towards +z turns towards +x (columns)",
    )
    group.add_argument(
        "--less-dense", action="store_true", help="the particle's index is below the medium's (default: above, nowhere below)"
    )


def reconstruct_index(args: argparse.Namespace) -> None:
    """Write one .npz with the index [z, y, x], and say how much of the spectrum the angles hold."""
    import sys

    import numpy as np

    from device.errors import InputError
    from device.optics.tomography import tomogram
    from device.output import write_image, writing
    from device.strict_json import dumps
    from device.subcommands.geometry_args import geometry_from

    if args.distance_um == "auto":
        raise InputError(
            "tomography searches no distance", where="--distance-um", expected="a number, 0 for focused fields", got="auto"
        )
    geometry = geometry_from(args, distance_um=0.0)
    fields, stored = _fields(args, geometry)
    angles_deg = args.angles_deg or stored
    if len(angles_deg) != len(fields):
        raise InputError(
            "frames and angles don't match", where="--angles-deg", expected=f"{len(fields)}, one per frame", got=len(angles_deg),
            remedy="Give each frame's angle in the order of the files, or `angles_deg` beside `fields` in the file.",
        )  # fmt: skip
    found = tomogram(
        fields, np.deg2rad(angles_deg).tolist(), pitch_um=geometry.object_pitch_um, wavelength_um=geometry.wavelength_um,
        medium_index=geometry.medium_index, denser=not args.less_dense,
    )  # fmt: skip
    out = result_path(args.out, None)
    with writing(out):
        np.savez_compressed(
            out, index=found.index, rytov=found.rytov, pitch_um=geometry.object_pitch_um, wavelength_um=geometry.wavelength_um,
            medium_index=geometry.medium_index, angles_deg=np.asarray(angles_deg), method=args.method, measured=found.measured,
            unexplained=found.unexplained,
        )  # fmt: skip
    files = [str(out)]
    if args.png:
        from device.analysis.field_picture import index_picture

        title = f"refractive index from {len(fields)} angles; {found.measured:.0%} of what light carries was measured"
        write_image(out.with_suffix(".png"), index_picture(found.index, geometry.object_pitch_um, title))
        files.append(str(out.with_suffix(".png")))
    low, high = float(found.index.min()), float(found.index.max())
    if args.json:
        answer: dict[str, Any] = {
            "files": files, "method": args.method, "angles": len(fields), "index_least": low, "index_most": high,
            "measured": found.measured, "unexplained": found.unexplained,
        }  # fmt: skip
        print(dumps(answer), flush=True)
        return
    print(
        f"refractive index {low:.4f} to {high:.4f} from {len(fields)} angles, which hold {found.measured:.0%} of the frequencies that light "
        f"carries; of what was measured {found.unexplained:.1%} is left over; {', '.join(files)}", flush=True,
    )  # fmt: skip
    print(
        "what no angle measured is filled with even bodies: a preference, no measurement (`rytov` in the file is without)",
        file=sys.stderr,
    )


def _fields(args: argparse.Namespace, geometry: Geometry) -> tuple[list[NDArray[np.complexfloating]], list[float]]:
    """Fields in the particle's plane, in the order of the files, and the angles that the files name, in degrees."""
    from device.drivers.recorded import expand
    from device.optics.phase_retrieval import retrieve_single_shot
    from device.optics.propagation import propagate
    from device.subcommands.hologram_input import normalised_frames

    paths = [Path(name) for name in args.holograms]
    if not all(path.suffix == ".npz" for path in paths):
        return [retrieve_single_shot(frame.intensity, geometry) for _, frame in normalised_frames(args)], []
    fields: list[NDArray[np.complexfloating]] = []
    angles_deg: list[float] = []
    for path in expand(paths):
        given, told = _stored(path)
        fields += given
        angles_deg += told
    if geometry.distance_um > 0:
        fields = [
            propagate(
                field, pitch_um=geometry.object_pitch_um, wavelength_um=geometry.wavelength_medium_um, distance_um=-geometry.propagation_um
            )
            for field in fields
        ]  # fmt: skip
    return fields, angles_deg


def _stored(path: Path) -> tuple[list[NDArray[np.complexfloating]], list[float]]:
    import numpy as np

    from device.errors import InputError

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("field", "fields", "angles_deg") if name in file}
    except (OSError, ValueError) as error:
        raise InputError("the file can't be read", where=path, expected="an .npz file", got=str(error)) from error
    fields = arrays.get("fields", arrays["field"][None] if "field" in arrays else None)
    if fields is None or not np.iscomplexobj(fields) or fields.ndim != 3:
        raise InputError(
            "no fields in the file", where=path, expected="complex `field` [height, width] or `fields` [n, height, width]",
            got="none" if fields is None else f"{fields.dtype} {fields.shape}",
        )  # fmt: skip
    return list(fields), [float(angle) for angle in arrays.get("angles_deg", [])]
