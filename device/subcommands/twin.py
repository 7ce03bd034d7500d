"""`holonode twin`: render frames with known truth, for scoring, training and demonstrations."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_arguments", "execute"]


_CONDITIONS = {
    "temperature_c": "temperature of the box: moves wavelength, distance, light, dark current",
    "lamp_ageing": "share of its first light that the lamp still gives, 0 to 1",
    "fouling": "share of the window that is soiled, 0 to 1",
    "fringe_contrast": "of fringes of the cover glass, 0 to 1",
    "flow_um_s": "speed of the sample while a frame is exposed",
    "prnu": "pixel-to-pixel scatter of the response, relative",
    "hot_share": "share of hot pixels",
    "dark_current_e_s": "dark current per pixel at 25 degrees, electrons a second",
    "row_noise_e": "noise that the pixels of a row share, electrons",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the frames (16-bit PNG)")
    parser.add_argument("--truth", type=Path, required=True, metavar="FILE", help="every particle, as JSON lines")
    parser.add_argument("--frames", type=int, default=10, metavar="N", help="fields to render (default 10)")
    parser.add_argument(
        "--particles", type=float, nargs=2, default=(5.0, 40.0), metavar=("LOW", "HIGH"),
        help="expected particles per field, drawn log-uniformly between the two (default 5 40)",
    )  # fmt: skip
    parser.add_argument(
        "--scattering", choices=("thin", "multislice", "lorenz-mie"), help="model of scattering (default: the configuration's)"
    )
    for name, text in _CONDITIONS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=float, metavar="X", help=f"{text} (default: the configuration's)"
        )
    parser.add_argument("--seed", type=int, help="seed (default: the configuration's)")


def execute(args: argparse.Namespace) -> int:
    """Write background.png, frame-NNNN.png and the truth."""
    import msgspec
    import numpy as np

    from device.config import load_config
    from device.errors import InputError
    from device.frames import Exposure
    from device.output import output_file, output_folder, write_image, writing
    from device.rig.simulated import twin_world
    from device.strict_json import dumps

    low, high = args.particles
    if args.frames < 1 or not 0 < low <= high <= 5000:
        raise InputError(
            "nothing to render", where="holonode twin", expected="--frames 1 or more, --particles 0 < LOW <= HIGH <= 5000",
            got=f"--frames {args.frames} --particles {low:g} {high:g}",
        )  # fmt: skip
    config = load_config(args.config)
    given = {name: value for name in (*_CONDITIONS, "scattering") if (value := getattr(args, name)) is not None}
    try:
        # Through the configuration's own type: the same bounds, the same words.
        twin = msgspec.convert(msgspec.to_builtins(config.twin) | given, type(config.twin))
    except msgspec.ValidationError as error:
        raise InputError("a condition is out of range", where="holonode twin", got=str(error)) from error
    config = msgspec.structs.replace(config, twin=twin)
    world = twin_world(config, seed=args.seed)
    out, truth = output_folder(args.out), output_file(args.truth)
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    frames = world.frames_with_truth(args.frames, (low, high), exposure)
    written = 0
    with writing(truth), truth.open("w", encoding="utf-8") as lines:
        for index, (pixels, particles) in enumerate(frames):
            # 16-bit PNG in counts of the sensor's own bit depth; index 0 is the clean window.
            name = "background.png" if index == 0 else f"frame-{index - 1:04d}.png"
            write_image(out / name, np.asarray(pixels))
            for particle in particles:
                lines.write(dumps({"name": name, "frame": index - 1, **particle.truth()}) + "\n")
                written += 1
    conditions = truth.with_name(f"{truth.stem}-conditions.json")
    with writing(conditions):
        conditions.write_text(
            dumps({"scattering": world.model, "seed": world.seed, **world.environment.truth()}) + "\n", encoding="utf-8"
        )
    print(f"{args.frames} frames with {written} particles in {args.out}; truth in {args.truth}")
    return 0
