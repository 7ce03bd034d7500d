"""`holonode reconstruct`: the object field behind a hologram, as an .npz file and a picture."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from device.subcommands.field_output import result_path, write_field, write_picture
from device.subcommands.geometry_args import add_geometry_arguments
from device.subcommands.hologram_input import add_hologram_arguments
from device.subcommands.tomography_input import add_tomography_arguments, reconstruct_index

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from device.analysis.background import Normalised
    from device.analysis.held_out import Prediction
    from device.analysis.pipeline import Pipeline
    from device.frames import Hologram
    from device.inference.networks import ImageNetwork
    from device.optics.geometry import Geometry

__all__ = ["add_arguments", "execute", "network_pipeline"]

_SINGLE = ("backpropagate", "iterative", "hidef")
"""What makes a field of one frame, the plainest first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_hologram_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE",
        help="result (.npz); of several frames each goes to FILE with its frame's name appended",
    )  # fmt: skip
    parser.add_argument(
        "--method", choices=("auto", *_SINGLE, "transparent", "untrained", "multiheight", "offaxis", "tomography"), default="auto",
        help="of one frame: whichever predicts best what it was not shown; the network; sparse phase retrieval; plain "
        "refocusing, twin image included; transparent: the phase alone of what fills the frame and absorbs nothing; untrained: "
        "a deep prior fitted twice, which also says where the hologram doesn't tell (a minute and more); auto tries neither. One field from several frames of the same object; the order of an off-axis "
        "hologram; tomography: a refractive index in three dimensions of frames at many angles (default auto)",
    )  # fmt: skip
    parser.add_argument(
        "--refine",
        type=int,
        metavar="N",
        help="of the network: iterations of physics on each particle (default: the configuration's)",
    )
    parser.add_argument("--iterations", type=int, default=30, metavar="N", help="of sparse phase retrieval (default 30)")
    parser.add_argument(
        "--distances-um", type=float, nargs="+", metavar="X",
        help="of --method multiheight: object to sensor of each frame, in the order of the files",
    )  # fmt: skip
    parser.add_argument(
        "--rotate", action="store_true", help="of --method multiheight: frames may be turned against each other"
    )
    parser.add_argument(
        "--factor", type=int, choices=(2, 3, 4), metavar="N",
        help="first make one frame, N times as fine, of all frames given: of one object, shifted against each other by parts of "
        "a pixel (four or more for 2); refused where the lamp carries nothing finer",
    )  # fmt: skip
    parser.add_argument(
        "--denoise", action="store_true",
        help="take the speckle of a laser diode's light off the field, by a network: grains of 1 to 7.5 pixels on the background, "
        "others are refused; needs no instrument",
    )  # fmt: skip
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--dense", action="store_true", help="of --method multiheight: the object fills the field (tissue)")
    extent.add_argument(
        "--sparse",
        action="store_true",
        help="of --method multiheight: compact things on a plain background (default: found out)",
    )
    parser.add_argument(
        "--flatten", type=int, choices=(1, 2, 3, 4), metavar="N",
        help="of --method offaxis: order of the aberrations taken off (1: tilt alone, 2: curvature too; default: curvature "
        "where it exceeds a fringe or bends most of the field)",
    )  # fmt: skip
    parser.add_argument(
        "--unwrap", choices=("auto", "quality", "wff", "least-squares"), default="auto",
        help="of --method offaxis: sorting by reliability; the same after a windowed Fourier filter, which takes the noise off "
        "and says where the phase isn't told; least squares (default: the filter where the phase is torn)",
    )  # fmt: skip
    parser.add_argument(
        "--conjugate",
        action="store_true",
        help="of --method offaxis: the other order, phase of opposite sign (default: what stands out delays)",
    )
    add_tomography_arguments(parser)
    parser.add_argument(
        "--range-um", type=float, nargs=2, metavar=("A", "B"),
        help="search range of --distance-um auto (default: from half to twice the instrument's distance; "
        "without an instrument, all that pitch, frame and wavelength can tell)",
    )  # fmt: skip
    parser.add_argument(
        "--view", choices=("brightfield",),
        help="also write a picture as a brightfield microscope, 10x/0.25, would show the field (FILE.brightfield.png): computed, and "
        "marked so; for people to look at, never to count by",
    )  # fmt: skip
    parser.add_argument("--png", action="store_true", help="also write amplitude and phase as a picture beside the result")
    parser.add_argument("--json", action="store_true", help="one JSON object per frame")
    add_geometry_arguments(parser, auto_distance=True)


def execute(args: argparse.Namespace) -> int:
    """Write one .npz per frame, and say where and how well it explains the hologram."""
    from device.output import output_folder
    from device.subcommands.hologram_input import normalised_frames

    _check(args)
    # Tried before the work is done; with several frames each has a name of its own beside this one.
    output_folder(args.out.parent)
    if args.method in _OF_SEVERAL:
        _OF_SEVERAL[args.method](args)
        return 0
    if args.factor is not None:
        _reconstruct(args, *_finer(args), several=False)
        return 0
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


def _check(args: argparse.Namespace) -> None:
    """InputError for options that don't go together."""
    from device.errors import InputError

    if args.refine is not None and not 0 <= args.refine <= 20:
        raise InputError("too much or too little refinement", where="--refine", expected="0 to 20", got=args.refine)
    if args.iterations < 1:
        raise InputError("nothing to iterate", where="--iterations", expected="1 or more", got=args.iterations)
    if args.view is not None and args.method in ("offaxis", "tomography"):
        raise InputError(
            "a view is computed of an in-line field",
            where="--view",
            expected="an in-line method",
            got=f"--method {args.method}",
        )
    if args.denoise and args.method == "tomography":
        raise InputError(
            "speckle is taken off a field, not off an index",
            where="--denoise",
            expected="a method that makes a field",
            got="--method tomography",
            remedy="Denoise each frame's field first, and give the .npz files to --method tomography.",
        )
    if args.factor is not None and args.method in _OF_SEVERAL:
        raise InputError("one finer frame is for one frame's methods", where="--factor", got=f"--method {args.method}")


def _finer(args: argparse.Namespace) -> tuple[str, Normalised]:
    """One frame on finer pixels, of all frames; the arguments' pitch becomes theirs."""
    import numpy as np

    from device.errors import InputError
    from device.optics.resolution import light_line_um
    from device.optics.super_resolution import super_resolve
    from device.subcommands.geometry_args import geometry_from
    from device.subcommands.hologram_input import normalised_frames

    geometry = geometry_from(args, distance_um=None if args.distance_um != "auto" else 1.0)
    if args.distance_um != "auto" and (line_um := light_line_um(geometry)) > 0.9 * geometry.object_pitch_um:
        raise InputError(
            "the lamp carries nothing finer than the pixels hold", where="--factor", got=f"lines of {line_um:.3g} um",
            expected=f"well under the pixels' {geometry.object_pitch_um:.3g} um",
            remedy="A narrower band, a smaller source or particles nearer to the sensor: `holonode plan --optics` says which.",
        )  # fmt: skip
    named = list(normalised_frames(args))
    frames = [frame for _, frame in named]
    found = super_resolve([frame.intensity for frame in frames], args.factor)
    args.pitch_um = geometry.pitch_um / args.factor
    shifts = ", ".join(f"{down:+.2f} {right:+.2f}" for down, right in found.shifts_px)
    print(
        f"{len(frames)} frames, shifted by (rows columns) {shifts} pixels, make one {args.factor} times as fine; "
        f"{found.residual:.0%} of their variation is left unexplained", file=sys.stderr,
    )  # fmt: skip
    # A fine pixel is no average: its noise is that of what it was made of, spread over factor squared pixels.
    noise = float(np.mean([frame.noise for frame in frames])) * args.factor / np.sqrt(len(frames))
    saturated = max(frame.saturated for frame in frames)
    return named[0][0], dataclasses.replace(frames[0], intensity=found.frame, noise=noise, saturated=saturated)


def _reconstruct(args: argparse.Namespace, name: str, frame: Normalised, several: bool) -> None:
    import numpy as np

    from device.optics.consistency import agreement
    from device.strict_json import dumps

    geometry, uncertainty_um = _geometry(args, frame)
    hologram = _hologram(frame, geometry)
    more: dict[str, NDArray[np.floating]] = {}
    if args.method == "untrained":
        method = args.method
        field, predictions, more = _untrained(hologram)
    else:
        method, predictions = _method(args, hologram)
        field = _field(method, args, hologram)
    if args.denoise:
        field = _denoise(args)(field)
    found = agreement(field, frame.intensity, geometry, noise=frame.noise)
    out = result_path(args.out, name if several else None)
    confidence, share = predictions[method].confidence, predictions[method].share
    write_field(
        out, field, geometry, method, found, confidence=confidence, predicted=np.nan if share is None else share, **more
    )
    files = [str(out)]
    if args.png:
        files.append(str(write_picture(out, field, geometry, method, confidence, more.get("ambiguity"))))
    if args.view:
        files.append(str(_write_view(args, out, field, geometry)))
    shares = {way: None if p.share is None else round(p.share, 4) for way, p in predictions.items()}
    if args.json:
        answer = {
            "name": name, "files": files, "method": method, "distance_um": geometry.distance_um,
            "distance_uncertainty_um": uncertainty_um, "correlation": found.correlation, "residual": found.residual,
            "chi2": found.chi2, "predicted": shares,
        }  # fmt: skip
        print(dumps(answer), flush=True)
        return
    distance = f"{geometry.distance_um:.6g} um" + (f" +- {uncertainty_um:.3g} um (found)" if uncertainty_um else "")
    told = ", ".join(f"{way} {'nothing to predict' if s is None else f'{s:.0%}'}" for way, s in shares.items())
    print(
        f"{name}: {method} at {distance}; fringes predicted where they were not shown: {told}; propagated back to the sensor: "
        f"correlation {found.correlation:.3f}; {', '.join(files)}", flush=True,
    )  # fmt: skip


def _write_view(args: argparse.Namespace, out: Path, field: NDArray[np.complex64], geometry: Geometry) -> Path:
    """The view of the field, as a PNG beside the result."""
    from device.analysis.views import brightfield_view, grey_picture, marked_computed
    from device.output import write_image

    view = brightfield_view(field, geometry.wavelength_um, geometry.object_pitch_um)
    target = out.with_suffix(f".{args.view}.png")
    write_image(target, marked_computed(grey_picture(view), f"computed: {args.view} view at {geometry.distance_um:.6g} um"))
    return target


def _untrained(hologram: Hologram) -> tuple[NDArray[np.complex64], dict[str, Prediction], dict[str, NDArray[np.floating]]]:
    """The field, what it predicts of what it was not shown, and where another explains the hologram, too."""
    from device.analysis.held_out import prediction
    from device.analysis.two_fits import fit_twice

    fits = fit_twice(hologram)
    print(
        f"fitted twice as {fits.prior}: what is left is {fits.chi2[0]:.3g} and {fits.chi2[1]:.3g} times the noise; the two fields differ by "
        f"{float(fits.ambiguity.mean()):.2g} of the light, at most {float(fits.ambiguity.max()):.2g}", file=sys.stderr,
    )  # fmt: skip
    return fits.field, {"untrained": prediction(fits.field, hologram, fits.kept)}, {"ambiguity": fits.ambiguity}


def _method(args: argparse.Namespace, hologram: Hologram) -> tuple[str, dict[str, Prediction]]:
    """The way that was asked for or, of all, the one that predicts best what it was not shown; what each predicts."""
    from device.analysis.held_out import best, held_out
    from device.errors import CheckError, InputError

    predictions: dict[str, Prediction] = {}
    for method in _SINGLE if args.method == "auto" else (args.method,):
        try:
            predictions[method] = held_out(hologram, lambda shown, m=method: _field(m, args, shown))
        except (CheckError, InputError) as error:
            if args.method != "auto":
                raise
            print(f"{method} is left out: {error}", file=sys.stderr)
    return (best(predictions) if args.method == "auto" else args.method), predictions


def _hologram(frame: Normalised, geometry: Geometry) -> Hologram:
    from datetime import UTC, datetime

    from device.frames import Hologram

    # Nothing here depends on when a recorded file was taken. Of an unknown sensor, what looks like photon noise is taken for it.
    return Hologram(frame.intensity, geometry, frame.noise, datetime.now(UTC), photon_noise=frame.noise)


def _multiheight(args: argparse.Namespace) -> None:
    """One field from all frames; the first frame's is the one compared and named."""
    import numpy as np

    from device.errors import InputError
    from device.optics.consistency import agreement
    from device.optics.multiheight import retrieve_multi_height
    from device.strict_json import dumps
    from device.subcommands.geometry_args import geometry_from
    from device.subcommands.hologram_input import normalised_frames

    frames = [frame for _, frame in normalised_frames(args)]
    distances_um: list[float] = args.distances_um or []
    if len(distances_um) != len(frames):
        raise InputError(
            "frames and distances don't match", where="--distances-um", expected=f"{len(frames)}, one per frame",
            got=len(distances_um), remedy="Give each frame's object to sensor distance in the order of the files.",
        )  # fmt: skip
    geometries = [geometry_from(args, distance_um=d).at(d) for d in distances_um]
    sparse = True if args.sparse else False if args.dense else None
    found = retrieve_multi_height([f.intensity for f in frames], geometries, rotate=args.rotate, sparse=sparse)
    field = _denoise(args)(found.field) if args.denoise else found.field
    first = geometries[0].at(found.placements[0].distance_um)
    agrees = agreement(field, frames[0].intensity, first, noise=frames[0].noise)
    out = result_path(args.out, None)
    places = np.array([(p.distance_um, *p.shift_px, p.rotation_rad, p.gain, p.residual) for p in found.placements])
    write_field(out, field, first, args.method, agrees, placements=places)
    files = [str(out)] + ([str(write_picture(out, field, first, args.method))] if args.png else [])
    if args.view:
        files.append(str(_write_view(args, out, field, first)))
    if args.json:
        placements = [dataclasses.asdict(p) for p in found.placements]
        answer = {
            "files": files,
            "method": args.method,
            "sparse": found.sparse,
            "unexplained": found.unexplained,
            "placements": placements,
        }
        print(dumps(answer), flush=True)
        return
    for number, place in enumerate(found.placements, start=1):
        down, right = place.shift_px
        turned = f", turned {np.rad2deg(place.rotation_rad):+.2f} degrees" if args.rotate else ""
        print(
            f"frame {number}: {place.distance_um:.6g} um, shifted {down:+.2f} rows {right:+.2f} columns{turned}; "
            f"unexplained {place.residual:.0%} of the fringes"
        )
    taken = "sparse" if found.sparse else "dense"
    if found.unexplained is not None:
        as_sparse, as_dense = found.unexplained
        taken += f" (one frame leaves {as_sparse:.0%} of another unexplained when retrieved as sparse, {as_dense:.0%} as dense)"
    print(f"one field from {len(frames)} frames, taken for {taken}: {', '.join(files)}", flush=True)


def _offaxis(args: argparse.Namespace) -> None:
    """The field and unwrapped phase of each frame; --background is a hologram without the object, divided out."""
    import numpy as np

    from device.optics.consistency import Agreement
    from device.optics.offaxis_reconstruction import Focus, reconstruct_offaxis
    from device.strict_json import dumps
    from device.subcommands.geometry_args import geometry_from
    from device.subcommands.hologram_input import background_pixels, raw_frames

    geometry = geometry_from(args, distance_um=0.0)
    focus = None
    if geometry.distance_um > 0:
        focus = Focus(-geometry.propagation_um, geometry.wavelength_medium_um, geometry.object_pitch_um)
    background = background_pixels(args)
    frames = list(raw_frames(args))
    for frame in frames:
        found = reconstruct_offaxis(
            frame.pixels, background, conjugate=args.conjugate, order=args.flatten, focus=focus, unwrapping=args.unwrap,
            denoise=_denoise(args) if args.denoise else None,
        )  # fmt: skip
        out = result_path(args.out, frame.name if len(frames) > 1 else None)
        nothing = Agreement(correlation=float("nan"), residual=float("nan"), chi2=None)  # one frame holds no second opinion
        write_field(out, found.field, geometry, args.method, nothing, phase_rad=found.phase_rad, determined=found.determined)
        files = [str(out)] + ([str(write_picture(out, found.field, geometry, args.method))] if args.png else [])
        carrier, quality = found.carrier, found.quality
        told = found.phase_rad[found.determined] if found.determined.any() else np.array([np.nan], np.float32)
        span_rad = float(np.percentile(told, 99.9) - np.percentile(told, 0.1))
        if args.json:
            answer = {
                "name": frame.name, "files": files, "method": args.method, "carrier_rows": carrier.rows,
                "carrier_columns": carrier.columns, "phase_span_rad": span_rad, "unwrapping": found.unwrapping, "delaying": found.delaying, **dataclasses.asdict(quality),
            }  # fmt: skip
            print(dumps(answer), flush=True)
            continue
        print(
            f"{frame.name}: carrier at {carrier.rows:+.4f} rows, {carrier.columns:+.4f} columns (cycles per pixel), "
            f"{quality.prominence:.0f} times its surroundings, fringe visibility {quality.visibility:.2f}; phase spans "
            f"{span_rad:.2f} rad, noise {quality.phase_noise_rad:.3f} rad, unwrapped by {found.unwrapping}"
            f"{f', not told in {quality.undetermined:.1%} of the pixels' if quality.undetermined else ''}; {_sign(found.delaying)}; {', '.join(files)}",
            flush=True,
        )


_OF_SEVERAL = {"multiheight": _multiheight, "offaxis": _offaxis, "tomography": reconstruct_index}


def _sign(delaying: float) -> str:
    if delaying >= 0.6:
        return f"sign such that {delaying:.0%} of what stands out delays the light"
    return "sign not told by what is seen (--conjugate for the other)"


def _geometry(args: argparse.Namespace, frame: Normalised) -> tuple[Geometry, float | None]:
    """The geometry with the distance given, or found with its uncertainty."""
    from device.errors import InputError
    from device.subcommands.geometry_args import geometry_from

    if args.distance_um != "auto":
        return geometry_from(args), None
    from device.optics.autofocus import default_range_um, estimate_distance

    if args.instrument and args.range_um is None:
        nominal = geometry_from(args, distance_um=None)
        low_um, high_um = nominal.distance_um / 2, nominal.distance_um * 2
    else:
        # Of the geometry's distance nothing is asked; it must only lie before a point source.
        stand_in_um = args.range_um[1] if args.range_um else min(1.0, (args.source_distance_um or 1.0) / 2)
        nominal = geometry_from(args, distance_um=stand_in_um)
        low_um, high_um = args.range_um or default_range_um(nominal, min(frame.intensity.shape))
    estimate = estimate_distance(frame.intensity, nominal, low_um, high_um)
    if not estimate.found:
        raise InputError(
            "the hologram doesn't tell its distance", where="--distance-um auto", got=estimate.reason,
            expected=f"one plane of focus from {low_um:g} to {high_um:g} um",
            remedy="Give --distance-um, or a --range-um around what you know; `holonode focus` lists the maxima.",
        )  # fmt: skip
    return nominal.at(estimate.distance_um), estimate.uncertainty_um


def _denoise(args: argparse.Namespace) -> Callable[[NDArray[np.complex64]], NDArray[np.complex64]]:
    """What takes coherent noise off a field, and tells of it."""
    from device.analysis.denoise import denoise

    network = _denoiser(args.config)

    def cleaned(field: NDArray[np.complex64]) -> NDArray[np.complex64]:
        clean, speckle = denoise(field, network)
        if clean is field:
            print("no speckle on the background: the field is left as it is", file=sys.stderr)
            return clean
        print(
            f"speckle of {speckle.grain_px:.1f} pixels a grain, {speckle.noise:.2f} of the light's amplitude on the background, taken off by "
            f"{network.manifest.name} {network.manifest.version}", file=sys.stderr,
        )  # fmt: skip
        return clean

    return cleaned


@lru_cache(maxsize=1)
def _denoiser(config_file: Path | None) -> ImageNetwork:
    from device.config import load_config
    from device.inference.networks import ImageNetwork
    from device.rig.models import model_store

    bundle, interpreter = model_store(load_config(config_file)).open("denoise")
    return ImageNetwork(interpreter, bundle.manifest)


def _field(method: str, args: argparse.Namespace, hologram: Hologram) -> NDArray[np.complex64]:
    if method == "backpropagate":
        from device.optics.propagation import backpropagate

        return backpropagate(hologram.intensity, hologram.geometry)
    if method == "iterative":
        from device.optics.phase_retrieval import retrieve_single_shot

        return retrieve_single_shot(hologram.intensity, hologram.geometry, iterations=args.iterations)
    if method == "transparent":
        from device.optics.phase_retrieval import retrieve_transparent

        return retrieve_transparent(hologram.intensity, hologram.geometry)
    from device.optics.photon_noise import equivalent_photons

    pipeline = network_pipeline(args.config, args.refine, hologram.geometry)
    if (lit := pipeline.lit_as(hologram)) is not pipeline:
        use = lit.models["reconstruction"]
        photons = equivalent_photons(hologram.noise)
        print(f"few photons, {photons:.2g} a pixel by the noise: {use.name} {use.version} reconstructs them", file=sys.stderr)
    return pipeline.whole_field(hologram)


@lru_cache(maxsize=1)
def network_pipeline(config_file: Path | None, iterations: int | None, geometry: Geometry) -> Pipeline:
    """The configured network's pipeline without a classifier; CheckError where it doesn't load."""
    import msgspec

    from device.config import load_config
    from device.errors import CheckError
    from device.rig.models import build_pipeline, model_store

    config = load_config(config_file)
    refine = config.analysis.refine_iterations if iterations is None else iterations
    settings = msgspec.structs.replace(config.analysis, reconstruction="hidef", classifier_model="", refine_iterations=refine)
    pipeline, _ = build_pipeline(model_store(config), settings, geometry)
    if pipeline.binning_note:
        print(pipeline.binning_note, file=sys.stderr)
    if pipeline.network is None:
        raise CheckError("the reconstruction network did not load", where=settings.reconstruction_model)
    return pipeline
