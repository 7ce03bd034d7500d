"""`holonode-calibrate`: measure the instrument; each procedure ends in a record, passed or failed."""

from __future__ import annotations

import argparse
import hashlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from device import __version__
from device.arguments import Parser, number, whole
from device.commands.reading_args import add_reading_arguments, reading_options
from device.edge import at_the_edge, parsed
from device.errors import InputError
from device.text import say

if TYPE_CHECKING:
    from calibration.frames import Shots
    from calibration.procedures.outcome import Outcome
    from device.calibration import CalibrationRecord
    from device.config import Config
    from device.instrument import Instrument
    from device.recordings.options import ReadOptions

__all__ = ["main"]

_PROCEDURES = {
    "dark": ("pedestal, read noise, hot pixels", "Cover the sensor or darken the chamber. The lamp stays off.", 8),
    "flat": ("lamp level, evenness, electrons per count; the baseline", "Put a clean window in, nothing on it.", 8),
    "distance": ("object plane to sensor, from beads of known size", "Put the bead slide in.", 2),
    "tilt": ("tilt of the window against the sensor, from beads", "Put the bead slide in.", 2),
    "pitch": ("pixel pitch at the object, from beads or a ruled target", "Put the bead slide or the ruled target in.", 2),
    "flow": ("volume flow, from two frames a known time apart", "Let water with a few beads run through the channel.", 2),
    "counts": ("detection efficiency, from beads of known concentration", "Let the bead suspension run through.", 20),
    "dose": ("response of the biosensor, from assays of known doses, blanks among them", "Have the samples ready.", 1),
    "transfer": (
        "distance and aberrations, from frames of whatever there is, and a file to adapt a model with",
        "Frames need particles on them that stand apart; name recorded ones.",
        8,
    ),
}
_LENGTH_UM = number(0, 1e6, above=True)
_BEADS = {"distance", "tilt", "pitch", "flow"}


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="holonode-calibrate", description="Measure the instrument; writes a calibration record.")
    parser.add_argument("--version", action="version", version=f"holonode {__version__}")
    commands = parser.add_subparsers(dest="procedure", metavar="PROCEDURE", required=True)
    for name, (text, target, count) in _PROCEDURES.items():
        sub = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}. {target}")
        sub.add_argument("frames", nargs="*", type=Path, help="recorded frames (files, folders, globs); default: live frames")
        sub.add_argument("--config", metavar="FILE", help="configuration (default: the simulated bioaerosol sampler)")
        sub.add_argument("--instrument", metavar="FILE", help="instrument file or name (default: the configuration's)")
        sub.add_argument("--out", type=Path, metavar="DIR", help="folder of records (default: the configuration's)")
        sub.add_argument(
            "--count", type=whole(1, 100_000), default=count, metavar="N", help=f"live frames to take (default {count})"
        )
        sub.add_argument("--operator", default="", help="who measures; goes into the record")
        sub.add_argument(
            "--valid-days",
            type=number(0, 36_600, above=True),
            default=180.0,
            metavar="D",
            help="how long the record holds (default 180)",
        )
        sub.add_argument("--yes", action="store_true", help="don't wait for Enter before measuring")
        sub.add_argument("--json", action="store_true", help="print the record as JSON")
        sub.add_argument("--debug", action="store_true", help="show tracebacks")
        add_reading_arguments(sub)
        _add_target(sub, name)
    return parser


def _add_target(sub: argparse.ArgumentParser, name: str) -> None:
    if name in _BEADS:
        group = sub.add_argument_group("beads")
        group.add_argument("--diameter-um", type=_LENGTH_UM, default=10.0, metavar="X", help="mean diameter (default 10)")
        group.add_argument(
            "--diameter-uncertainty-um", type=number(0, 1e6), default=0.05, metavar="X", help="one standard deviation of it"
        )
        group.add_argument(
            "--index", type=number(0.5, 5), metavar="N",
            help="refractive index of a bead relative to what is around it, times the instrument's medium_index "
            "(default: polystyrene in an adhesive in air, in water where the instrument holds water)",
        )  # fmt: skip
        group.add_argument(
            "--search-um", type=_LENGTH_UM, default=60.0, metavar="X", help="distances searched around the nominal one"
        )
    if name == "pitch":
        sub.add_argument("--ruling-um", type=_LENGTH_UM, metavar="X", help="period of a ruled target; else beads")
        sub.add_argument(
            "--ruling-uncertainty-um", type=number(0, 1e6), default=0.005, metavar="X", help="one standard deviation of it"
        )
    if name == "flow":
        sub.add_argument(
            "--interval-s", type=number(0, 86_400, above=True), required=True, metavar="T", help="time between the two frames"
        )
        sub.add_argument("--channel-width-um", type=_LENGTH_UM, required=True, metavar="X", help="channel across flow and axis")
        sub.add_argument(
            "--channel-height-um", type=_LENGTH_UM, metavar="X", help="channel along the axis (default: the instrument's)"
        )
        sub.add_argument(
            "--reach-px", type=whole(1, 16_384), default=110, metavar="N", help="farthest a particle may go between the frames"
        )
    if name == "counts":
        sub.add_argument(
            "--concentration-per-ml", type=number(0, 1e15, above=True), required=True, metavar="C", help="of the suspension"
        )
        sub.add_argument(
            "--relative-uncertainty", type=number(0, 1), default=0.05, metavar="U", help="of it, dilution included"
        )
        sub.add_argument(
            "--volume-ml",
            type=number(0, 1e9, above=True),
            required=True,
            metavar="V",
            help="volume seen in all frames together",
        )
        sub.add_argument("--min-esd-um", type=number(0, 1e6), default=4.0, metavar="X", help="smallest particle counted")
        sub.add_argument("--max-esd-um", type=_LENGTH_UM, default=300.0, metavar="X", help="largest particle counted")
        sub.add_argument(
            "--size-class-um", type=whole(0, 1_000_000), nargs=2, metavar=("LOW", "HIGH"),
            help="diameters that the efficiency holds for; one record a class (default: every size)",
        )  # fmt: skip
    if name == "dose":
        sub.add_argument(
            "--doses-per-ul", type=number(0, 1e15), nargs="+", default=[], metavar="D",
            help="one assay each, in this order, 0 for a blank; else name a CSV file with dose_per_ul and bonds_per_bead",
        )  # fmt: skip
    if name == "transfer":
        sub.add_argument("--file", type=Path, metavar="FILE", help="transfer file to write (default: beside the record, .npz)")
        sub.add_argument(
            "--background", type=Path, metavar="FILE", help="frame of the empty field (default: each frame's own light)"
        )
        sub.add_argument(
            "--heights-um", type=_LENGTH_UM, nargs="+", default=[], metavar="Z",
            help="object to sensor of each frame, where all show one object that stands still",
        )  # fmt: skip
        sub.add_argument("--no-aberrations", action="store_true", help="don't look for aberrations: there is no lens")
        sub.add_argument(
            "--rounds", type=whole(1, 1000), default=6, metavar="N", help="rounds of reconstruction and fit (default 6)"
        )


def main(arguments: list[str] | None = None) -> int:
    """Run one procedure; exit status 0 passed, 2 bad input, 3 missing hardware, 4 failed."""
    args = parsed(_parser(), arguments)
    return at_the_edge(f"holonode-calibrate {args.procedure}", lambda: _execute(args), debug=args.debug)


def _execute(args: argparse.Namespace) -> int:
    from device.config import load_config
    from device.instrument import load_instrument
    from device.output import output_folder

    config = load_config(args.config)
    instrument = load_instrument(args.instrument or config.device.instrument)
    # Tried before anybody puts a target in.
    output_folder(args.out or Path(config.calibration.folder))
    if args.procedure == "dose":
        return _dose(args, config, instrument)
    if not args.frames and not args.yes and sys.stdin.isatty():
        input(f"{_PROCEDURES[args.procedure][1]} Press Enter when ready: ")
    shots = _shots(args, config, instrument)
    if args.procedure == "transfer":
        return _transfer(args, config, instrument, shots)
    outcome = _measure(args, config, instrument, shots)
    record, path = _written(args, config, instrument, shots, outcome)
    _report(args, record, path)
    return 0 if outcome.passed else 4


def _options(args: argparse.Namespace, instrument: Instrument) -> ReadOptions:
    """Dark and flat frames are measured as they are; elsewhere the pattern of colour filters is none of the object's."""
    from dataclasses import replace

    options = reading_options(args, instrument.sensor.bayer)
    return replace(options, level_mosaic=args.procedure not in ("dark", "flat"))


def _shots(args: argparse.Namespace, config: Config, instrument: Instrument) -> Shots:
    from calibration.frames import capture, recorded

    if args.frames:
        return recorded(args.frames, _options(args, instrument))
    from calibration.targets import RULING_UM, put_beads, put_ruling
    from device.rig.build import build_rig
    from device.rig.simulated import twin_world

    interval_s = getattr(args, "interval_s", 0.0)
    world = None
    if config.camera.driver == "twin":
        world = twin_world(config, instrument=instrument)
        if args.procedure in {"flow", "counts", "transfer"}:
            raise InputError(
                "the simulated sampler has no such target", where=args.procedure, expected="recorded frames, or a real instrument",
                got="camera.driver = 'twin'", remedy="Name recorded frames on the command line.",
            )  # fmt: skip
        if args.procedure == "pitch":
            # The twin's beads are phase screens; their angular pattern isn't exact enough to tell a pitch from.
            args.ruling_um = args.ruling_um or RULING_UM
            put_ruling(world, instrument, period_um=args.ruling_um)
        elif args.procedure in _BEADS:
            contrast = _index(args, instrument) - instrument.optics.medium_index
            put_beads(world, instrument, diameter_um=args.diameter_um, contrast=contrast, count=24)
    drivers = build_rig(config, instrument, world)
    try:
        return capture(config, instrument, drivers, args.count, lamp=args.procedure != "dark", interval_s=interval_s)
    finally:
        drivers.close()


def _index(args: argparse.Namespace, instrument: Instrument) -> float:
    """A bead's index in the units of the instrument's medium."""
    if args.index is not None:
        return float(args.index)
    return 1.578 - 1.47 + 1.0 if instrument.optics.medium_index < 1.2 else 1.578


def _measure(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots) -> Outcome:
    from calibration.procedures.dark import measure_dark
    from calibration.procedures.flat import measure_flat

    if args.procedure == "dark":
        return measure_dark(shots.frames, instrument.sensor)
    if args.procedure == "flat":
        return measure_flat(shots.frames, instrument.sensor)
    if args.procedure == "counts":
        return _counts(args, config, instrument, shots)
    return _targets(args, instrument, shots)


def _targets(args: argparse.Namespace, instrument: Instrument, shots: Shots) -> Outcome:
    """Procedures that look at a target through the optics."""
    import numpy as np

    from calibration.procedures.beads import BeadTarget, find_beads, measure_distance, measure_pitch, measure_tilt, scan_beads
    from calibration.procedures.flow import ChannelSection, measure_flow
    from calibration.procedures.ruling import measure_ruled_pitch
    from device.analysis.background import normalise

    lit = [np.maximum(f - np.float32(instrument.sensor.dark_level_counts), 0) for f in shots.frames]
    if args.procedure == "flow":
        if len(lit) < 2:
            raise InputError("too few frames", where="flow", expected="2", got=len(lit))
        frames = [normalise(f).intensity for f in lit[:2]]
    else:
        # A slide stands still: its frames are one frame with less noise.
        frames = [normalise(np.mean(lit, axis=0)).intensity]
    if getattr(args, "ruling_um", None):
        return measure_ruled_pitch(frames[0], instrument, args.ruling_um, args.ruling_uncertainty_um)
    target = BeadTarget(args.diameter_um, args.diameter_uncertainty_um, _index(args, instrument), args.search_um)
    beads = (scan_beads if args.procedure == "flow" else find_beads)(frames[0], instrument, target)
    if args.procedure == "distance":
        return measure_distance(beads, instrument, target.diameter_um)
    if args.procedure == "tilt":
        return measure_tilt(beads, instrument)
    if args.procedure == "pitch":
        return measure_pitch(frames[0], instrument, target, beads)
    height_um = args.channel_height_um or instrument.fluidics.channel_height_um
    section = ChannelSection(height_um, args.channel_width_um)
    return measure_flow(frames[0], frames[1], beads, instrument, section, interval_s=args.interval_s, reach_px=args.reach_px)


def _counts(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots) -> Outcome:
    import msgspec
    import numpy as np

    from calibration.procedures.counts import measure_counts
    from device.analysis.background import normalise
    from device.frames import Hologram
    from device.rig.models import build_pipeline, model_store

    settings = msgspec.structs.replace(
        config.analysis,
        classifier_model="",
        min_esd_um=args.min_esd_um,
        max_esd_um=args.max_esd_um,
    )
    pipeline, _ = build_pipeline(model_store(config), settings, instrument.geometry, strict=False)
    per_frame: list[int] = []
    for pixels in shots.frames:
        frame = normalise(np.maximum(pixels - np.float32(instrument.sensor.dark_level_counts), 0))
        hologram = Hologram(frame.intensity, instrument.geometry, frame.noise, datetime.now(UTC))
        per_frame.append(len(pipeline.analyse(hologram).particles))
    return measure_counts(
        sum(per_frame), volume_ml=args.volume_ml, concentration_per_ml=args.concentration_per_ml,
        relative_uncertainty=args.relative_uncertainty, size_class_um=args.size_class_um,
        per_frame=per_frame,
    )  # fmt: skip


def _transfer(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots) -> int:
    """Measure from plain frames; a passed record gets its transfer file."""
    from dataclasses import replace

    import numpy as np

    from calibration.frames import recorded
    from calibration.procedures.transfer import measure_transfer
    from device.analysis.background import normalise
    from device.inference.networks import HidefNetwork
    from device.rig.models import model_store
    from device.rig.records import calibrations
    from device.transfer import write_transfer

    dark = instrument.sensor.dark_level_counts
    empty = (
        np.mean(recorded([args.background], replace(_options(args, instrument), array=None)).frames, axis=0)
        if args.background
        else None
    )
    intensities = [normalise(frame, empty, dark_counts=dark).intensity for frame in shots.frames]
    known = calibrations(config, instrument).instrument
    bundle, interpreter = model_store(config).open(config.analysis.reconstruction_model)
    measured = measure_transfer(
        intensities, known, HidefNetwork(interpreter, bundle.manifest), heights_um=args.heights_um,
        aberrations=not args.no_aberrations, rounds=args.rounds,
    )  # fmt: skip
    record, path = _written(args, config, instrument, shots, measured.outcome)
    _report(args, record, path)
    if not measured.outcome.passed:
        return 4
    target = args.file or path.with_suffix(".npz")
    write_transfer(target, replace(measured.file, instrument_id=instrument.id))
    print(f"holonode-models finetune hidef --frames {target} --version X.Y.Z --out DIR", file=sys.stderr)
    return 0


def _dose(args: argparse.Namespace, config: Config, instrument: Instrument) -> int:
    """Fit known doses, of a table or of assays made on the spot."""
    from calibration.assays import assay_response
    from calibration.frames import Shots
    from calibration.procedures.dose import measure_dose_response, read_table, responses_of
    from device.sampling.assay.settings import assay_settings

    if (len(args.frames) == 1) == bool(args.doses_per_ul):
        raise InputError(
            "no known doses", where="dose", expected="one CSV file, or --doses-per-ul with 0 for each blank",
            got=f"{len(args.frames)} files and {len(args.doses_per_ul)} doses",
        )  # fmt: skip
    digests: list[str] = []

    def run(dose_per_ul: float) -> float | None:
        if not args.yes and sys.stdin.isatty():
            input(f"Put in a fresh chamber and the sample with {dose_per_ul:g} per uL. Press Enter when ready: ")
        number = len(digests)
        response, seen = assay_response(config, instrument, dose_per_ul, number, lambda text: print(text, file=sys.stderr))
        digests.extend(seen)
        return response

    if args.frames:
        known = read_table(args.frames[0])
        digests.append(hashlib.sha256(args.frames[0].read_bytes()).hexdigest())
    else:
        known = responses_of(args.doses_per_ul, run)
    outcome = measure_dose_response(*known, duration_s=assay_settings(config).duration_s)
    record, path = _written(args, config, instrument, Shots([], digests), outcome)
    _report(args, record, path)
    return 0 if outcome.passed else 4


def _written(
    args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots, outcome: Outcome
) -> tuple[CalibrationRecord, Path]:
    from device.calibration import CalibrationRecord, sealed, write_record

    now = datetime.now(UTC)
    record = sealed(
        CalibrationRecord(
            instrument_id=instrument.id,
            made_at=now,
            procedure=args.procedure,
            operator=args.operator,
            values=outcome.values,
            residuals=outcome.residuals,
            verdict="pass" if outcome.passed else "fail",
            reasons=outcome.reasons,
            valid_until=now + timedelta(days=args.valid_days),
            sources=shots.digests,
        )
    )
    folder = args.out or Path(config.calibration.folder).expanduser()
    return record, write_record(folder, record)


def _report(args: argparse.Namespace, record: CalibrationRecord, path: Path) -> None:
    import msgspec

    if args.json:
        print(msgspec.json.encode(record).decode())
        return
    for name, quantity in record.values.items():
        say(f"{name:24} {quantity.value:.6g} +- {quantity.uncertainty:.2g} {quantity.unit}")
    for name, value in record.residuals.items():
        print(f"  {name:22} {value:.4g}")
    print(f"{record.verdict}: {path}")
    for reason in record.reasons:
        say(f"  {reason}")


if __name__ == "__main__":
    sys.exit(main())
