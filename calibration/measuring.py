"""From frames to a procedure's outcome, as the options of `holonode-calibrate` say."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

import msgspec
import numpy as np
from numpy.typing import NDArray

from calibration.frames import Shots
from calibration.procedures.beads import BeadTarget, find_beads, measure_distance, measure_pitch, measure_tilt, scan_beads
from calibration.procedures.counts import measure_counts
from calibration.procedures.dark import measure_dark
from calibration.procedures.flat import measure_flat
from calibration.procedures.flow import ChannelSection, measure_flow
from calibration.procedures.outcome import ProcedureOutcome
from calibration.procedures.ruling import measure_ruled_pitch
from device.analysis.background import median_background, normalise
from device.config import Config
from device.errors import InputError
from device.frames import Hologram
from device.instrument import Instrument
from device.rig.models import build_pipeline, model_store
from device.rig.records import calibrations

__all__ = ["bead_index", "count_beads", "known_instrument", "measure", "section_of"]

_LEAST_FRAMES_OF_A_MEDIAN = 5


def bead_index(args: argparse.Namespace, instrument: Instrument) -> float:
    """A bead's index in the units of the instrument's medium."""
    if args.index is not None:
        return float(args.index)
    return 1.578 - 1.47 + 1.0 if instrument.optics.medium_index < 1.2 else 1.578


def section_of(args: argparse.Namespace, instrument: Instrument) -> ChannelSection:
    """The channel, as the options say it, or else the instrument file."""
    return ChannelSection(args.channel_height_um or instrument.fluidics.channel_height_um, args.channel_width_um)


def known_instrument(args: argparse.Namespace, config: Config, instrument: Instrument) -> Instrument:
    """As the records that are there already tell it."""
    if args.out is not None:
        config = msgspec.structs.replace(config, calibration=msgspec.structs.replace(config.calibration, folder=str(args.out)))
    return calibrations(config, instrument).instrument


def measure(args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots) -> ProcedureOutcome:
    """Every procedure that needs frames alone; `counts` by `count_beads`."""
    if args.procedure == "dark":
        return measure_dark(shots.frames, instrument.sensor)
    if args.procedure == "flat":
        known = known_instrument(args, config, instrument).sensor
        # Of what is known the pedestal alone: how many electrons a count is worth is measured here.
        sensor = msgspec.structs.replace(instrument.sensor, dark_level_counts=known.dark_level_counts)
        return measure_flat(shots.frames, sensor)
    return _targets(args, instrument, shots)


def _targets(args: argparse.Namespace, instrument: Instrument, shots: Shots) -> ProcedureOutcome:
    """Procedures that look at a target through the optics."""
    lit = [np.maximum(f - np.float32(instrument.sensor.dark_level_counts), 0) for f in shots.frames]
    if args.procedure == "flow":
        return _flow(args, instrument, [normalise(f).intensity for f in lit[:2]], shots.times_s)
    # A slide stands still: its frames are one frame with less noise.
    frame = normalise(np.mean(lit, axis=0)).intensity
    if getattr(args, "ruling_um", None):
        return measure_ruled_pitch(frame, instrument, args.ruling_um, args.ruling_uncertainty_um)
    target = _target(args, instrument, 60.0)
    beads = find_beads(frame, instrument, target)
    if args.procedure == "distance":
        return measure_distance(beads, instrument, target.diameter_um)
    if args.procedure == "tilt":
        return measure_tilt(beads, instrument)
    return measure_pitch(frame, instrument, target, beads)


def _target(args: argparse.Namespace, instrument: Instrument, search_um: float) -> BeadTarget:
    index = bead_index(args, instrument)
    return BeadTarget(args.diameter_um, args.diameter_uncertainty_um, index, args.search_um or search_um)


def _flow(
    args: argparse.Namespace, instrument: Instrument, frames: list[NDArray[np.float32]], times_s: list[float]
) -> ProcedureOutcome:
    if len(frames) < 2:
        raise InputError("too few frames", where="flow", expected="2", got=len(frames))
    section = section_of(args, instrument)
    beads = scan_beads(frames[0], instrument, _target(args, instrument, section.height_um / 2))
    # A camera takes its time: between live frames lies what their time stamps say. Replayed ones have none.
    interval_s = max(times_s[1] - times_s[0], args.interval_s) if len(times_s) > 1 else args.interval_s
    return measure_flow(frames[0], frames[1], beads, instrument, section, interval_s=interval_s, reach_px=args.reach_px)


def count_beads(
    args: argparse.Namespace, config: Config, instrument: Instrument, shots: Shots
) -> tuple[ProcedureOutcome, list[NDArray[np.float64]]]:
    """The outcome, and where beads were found in every frame: float64 [n, 2] (x_um, y_um)."""
    settings = msgspec.structs.replace(
        config.analysis,
        classifier_model="",
        min_esd_um=args.min_esd_um,
        max_esd_um=args.max_esd_um,
    )
    pipeline, _ = build_pipeline(model_store(config), settings, instrument.geometry, strict=False)
    found: list[NDArray[np.float64]] = []
    # As the box counts: what stays from frame to frame is dirt. A few frames tell nothing of that.
    background = median_background(shots.frames) if len(shots.frames) >= _LEAST_FRAMES_OF_A_MEDIAN else None
    for pixels in shots.frames:
        frame = normalise(pixels, background, dark_counts=instrument.sensor.dark_level_counts)
        hologram = Hologram(frame.intensity, instrument.geometry, frame.noise, datetime.now(UTC))
        found.append(np.array([(p.x_um, p.y_um) for p in pipeline.analyse(hologram).particles]).reshape(-1, 2))
    per_frame = [len(places) for places in found]
    outcome = measure_counts(
        sum(per_frame), volume_ml=args.volume_ml, concentration_per_ml=args.concentration_per_ml,
        relative_uncertainty=args.relative_uncertainty, size_class_um=args.size_class_um,
        per_frame=per_frame,
    )  # fmt: skip
    return outcome, found
