"""`holonode-calibrate`: measure the instrument; each procedure ends in a record, passed or failed."""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from device import __version__
from device.arguments import Parser, number, whole
from device.edge import at_the_edge, parsed
from device.errors import InputError
from device.subcommands.reading_args import add_reading_arguments, reading_options
from device.text import say

if TYPE_CHECKING:
    from calibration.frames import Shots
    from calibration.procedures.outcome import ProcedureOutcome
    from calibration.rehearsal import AnswerLine
    from calibration.targets import Stage
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
    "flow": (
        "volume flow, from two frames a known time apart",
        "Let water with a few beads run through the channel; a pump of the box starts by itself.",
        2,
    ),
    "counts": (
        "detection efficiency, from beads of known concentration",
        "Let the bead suspension run through; a pump of the box starts by itself.",
        20,
    ),
    "dose": ("response of the biosensor, from assays of known doses, blanks among them", "Have the samples ready.", 1),
    "transfer": (
        "distance and aberrations, from frames of whatever there is, and a file to adapt a model with",
        "Frames need particles on them that stand apart; name recorded ones.",
        8,
    ),
}
_REHEARSE = (
    "every calibration on the simulated instrument, with the answers: what was true, measured, stated, and whether it holds"
)
_BY_HAND = (
    "To try one by hand: `holonode-calibrate distance --hidden 7`, with options as on a real instrument; it ends in its answers, too. "
    "Flow and counts take --config simulated-flow, dose --config simulated-assay."
)
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
        sub.add_argument(
            "--hidden", type=whole(0, 2**31), metavar="SEED",
            help="an exercise: the simulated instrument differs from its file, drawn by SEED within what that states",
        )  # fmt: skip
        _add_target(sub, name)
    text = f"{_REHEARSE[0].upper()}{_REHEARSE[1:]}. {_BY_HAND}"
    _add_rehearsal(commands.add_parser("rehearse", help=_REHEARSE, description=text))
    return parser


def _add_rehearsal(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("only", nargs="*", metavar="PROCEDURE", help="these alone (default: all)")
    sub.add_argument("--hidden", type=whole(0, 2**31), default=1, metavar="SEED", help="draws what is true (default 1)")
    sub.add_argument("--out", type=Path, metavar="DIR", help="keep the records here (default: nowhere)")
    sub.add_argument("--debug", action="store_true", help="show tracebacks")


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
            "--search-um", type=_LENGTH_UM, metavar="X",
            help="distances searched around the nominal one (default 60; for flow half the channel's height)",
        )  # fmt: skip
    if name == "pitch":
        sub.add_argument("--beads", action="store_true", help="of the simulated instrument: beads, not its ruled target")
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
            "--diameter-um", type=_LENGTH_UM, default=10.0, metavar="X", help="of the simulated beads (default 10)"
        )
        sub.add_argument("--index", type=number(0.5, 5), metavar="N", help="of the simulated beads (default: polystyrene's)")
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
        sub.add_argument(
            "--distances-um", type=_LENGTH_UM, nargs="+", default=[], metavar="Z",
            help="object to sensor of each frame, where each shows another (default: all at the instrument's)",
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
    if args.procedure == "rehearse":
        return _rehearse(args)
    done = _carried_out(args)
    _report(args, done)
    return 0 if done.outcome.passed else 4


@dataclass(frozen=True)
class _Done:
    """A procedure that was carried out."""

    outcome: ProcedureOutcome
    record: CalibrationRecord
    path: Path
    sheet: list[AnswerLine]
    """What was true, of the simulated instrument."""
    hint: str = ""


def _carried_out(args: argparse.Namespace, side_px: int = 0) -> _Done:
    """Carry a procedure out; with `side_px` on so much of the sensor alone."""
    from msgspec.structs import replace as replace_struct

    from device.config import load_config
    from device.instrument import load_instrument
    from device.output import output_folder

    config = load_config(args.config)
    instrument = load_instrument(args.instrument or config.device.instrument)
    if side_px:
        instrument = replace_struct(instrument, sensor=replace_struct(instrument.sensor, width_px=side_px, height_px=side_px))
    if args.hidden is not None and (args.frames or config.camera.driver != "twin"):
        raise InputError(
            "only the simulated instrument hides what is true", where="--hidden", expected="live frames, camera.driver = 'twin'",
            got="recorded frames" if args.frames else config.camera.driver,
        )  # fmt: skip
    # Tried before anybody puts a target in.
    output_folder(args.out or Path(config.calibration.folder))
    if args.procedure == "dose":
        return _dose(args, config, instrument)
    if not args.frames and not args.yes and sys.stdin.isatty():
        input(f"{_PROCEDURES[args.procedure][1]} Press Enter when ready: ")
    shots, stage = _shots(args, config, instrument)
    if args.procedure == "transfer":
        return _transfer(args, config, instrument, shots, stage)
    return _measured(args, config, instrument, shots, stage)


def _shots(args: argparse.Namespace, config: Config, instrument: Instrument) -> tuple[Shots, Stage | None]:
    from calibration.frames import recorded

    if args.frames:
        return recorded(args.frames, _options(args, instrument)), None
    from calibration.staging import live_shots

    return live_shots(args, config, instrument)


def _measured(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots, stage: Stage | None) -> _Done:
    from calibration.measuring import count_beads, measure
    from calibration.rehearsal import answer_sheet, counts_truth

    if args.procedure == "counts":
        outcome, found = count_beads(args, config, instrument, shots)
        truth = {} if stage is None else counts_truth(stage, outcome.values, found)
    else:
        outcome, truth = measure(args, config, instrument, shots), {} if stage is None else stage.truth
    record, path = _written(args, config, instrument, shots, outcome)
    return _Done(outcome, record, path, answer_sheet(outcome.values, truth))


def _options(args: argparse.Namespace, instrument: Instrument) -> ReadOptions:
    """Dark and flat frames are measured as they are; elsewhere the pattern of colour filters is none of the object's."""
    from dataclasses import replace

    options = reading_options(args, instrument.sensor.bayer)
    return replace(options, level_mosaic=args.procedure not in ("dark", "flat"))


def _transfer(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots, stage: Stage | None) -> _Done:
    """Measure from plain frames; a passed record gets its transfer file."""
    from dataclasses import replace

    import numpy as np

    from calibration.frames import recorded
    from calibration.measuring import known_instrument
    from calibration.procedures.transfer import measure_transfer
    from calibration.rehearsal import answer_sheet, truth_of_pupil
    from device.analysis.background import normalise
    from device.inference.networks import HidefNetwork
    from device.rig.models import model_store
    from device.transfer import write_transfer

    dark = instrument.sensor.dark_level_counts
    empty = (
        np.mean(recorded([args.background], replace(_options(args, instrument), array=None)).frames, axis=0)
        if args.background
        else None
    )
    intensities = [normalise(frame, empty, dark_counts=dark).intensity for frame in shots.frames]
    known = known_instrument(args, config, instrument)
    bundle, interpreter = model_store(config).open(config.analysis.reconstruction_model)
    network = HidefNetwork(interpreter, bundle.manifest)
    measured = measure_transfer(
        intensities, known, network, heights_um=args.heights_um, distances_um=args.distances_um, gain=network.ring_gain,
        aberrations=not args.no_aberrations, rounds=args.rounds,
    )  # fmt: skip
    record, path = _written(args, config, instrument, shots, measured.outcome)
    values = measured.outcome.values
    sheet = [] if stage is None else answer_sheet(values, stage.truth | truth_of_pupil(stage, values))
    if not measured.outcome.passed:
        return _Done(measured.outcome, record, path, sheet)
    target = args.file or path.with_suffix(".npz")
    write_transfer(target, replace(measured.file, instrument_id=instrument.id))
    hint = f"holonode-models finetune hidef --frames {target} --version X.Y.Z --out DIR"
    return _Done(measured.outcome, record, path, sheet, hint)


def _dose(args: argparse.Namespace, config: Config, instrument: Instrument) -> _Done:
    """Fit known doses, of a table or of assays made on the spot."""
    from calibration.assays import assay_response
    from calibration.frames import Shots
    from calibration.procedures.dose import measure_dose_response, read_table, responses_of
    from calibration.rehearsal import answer_sheet, hidden_dose, told_dose
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
    sheet: list[AnswerLine] = []
    if args.hidden is not None:
        dose_per_ul = hidden_dose(args.hidden, args.doses_per_ul)
        sheet = answer_sheet(told_dose(outcome.values, run(dose_per_ul)), {"dose_per_ul": dose_per_ul})
    return _Done(outcome, record, path, sheet)


def _written(
    args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots, outcome: ProcedureOutcome
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


def _report(args: argparse.Namespace, done: _Done) -> None:
    import msgspec

    record = done.record
    if args.json:
        print(msgspec.json.encode(record).decode())
    else:
        for name, quantity in record.values.items():
            say(f"{name:24} {quantity.value:.6g} +- {quantity.uncertainty:.2g} {quantity.unit}")
        for name, value in record.residuals.items():
            print(f"  {name:22} {value:.4g}")
        print(f"{record.verdict}: {done.path}")
        for reason in record.reasons:
            say(f"  {reason}")
        if done.sheet:
            from calibration.rehearsal import table

            print(f"what is true of the simulated instrument:\n{table([('', line) for line in done.sheet])}")
    if done.hint:
        print(done.hint, file=sys.stderr)


def _rehearse(args: argparse.Namespace) -> int:
    """Every calibration in turn; 4 where one fails or states a figure that is wrong."""
    import tempfile

    from calibration.rehearsal import CASES, table

    chosen = {name: case for name, case in CASES.items() if not args.only or case.options[0] in args.only}
    if unknown := set(args.only) - _PROCEDURES.keys():
        raise InputError(
            "no such calibration", where="rehearse", expected=" | ".join(_PROCEDURES), got=", ".join(sorted(unknown))
        )
    sheet: list[tuple[str, AnswerLine]] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, case in chosen.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            common = ["--hidden", str(args.hidden), "--out", str(args.out or folder), "--operator", "rehearsal", "--yes"]
            done = _carried_out(parsed(_parser(), [*case.options, *common]), case.side_px)
            lines = [(name, line) for line in done.sheet]
            print(table(lines), file=sys.stderr, flush=True)
            sheet += lines
            failed += [f"{name}: {reason}" for reason in done.outcome.reasons]
    print(table(sheet))
    for reason in failed:
        say(reason)
    wrong = [line.name for _, line in sheet if line.wrong]
    print(
        f"{len(chosen)} calibrations, {sum(line.holds for _, line in sheet)} of {len(sheet)} figures within their 95 % interval"
    )
    return 4 if failed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
