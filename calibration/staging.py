"""The simulated instrument with what a procedure needs in front of it, and what is true of it; a real one is pumped through."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from calibration.frames import Shots, capture
from calibration.measuring import bead_index, section_of
from calibration.targets import (
    RULING_UM,
    Stage,
    hidden_instrument,
    hidden_pupil,
    put_beads,
    put_grains,
    put_ruling,
    put_suspension,
)
from device.config import Config
from device.duct_flow import duct_of
from device.errors import InputError
from device.instrument import Instrument
from device.optics.pupil import ABERRATIONS
from device.rig.build import build_rig
from device.rig.simulated import twin_world

__all__ = ["live_shots", "stage_for"]

_BEADS = 24
_FLOW_BEADS_PER_FRAME = 14
_FRESH_VIEWS = 3.0
"""How often the sample in the view is replaced between two frames that are counted."""


def live_shots(args: argparse.Namespace, config: Config, instrument: Instrument) -> tuple[Shots, Stage | None]:
    """Frames of the configured instrument, and of a simulated one what was staged."""
    stage = None
    if config.camera.driver == "twin":
        # What a procedure waits for costs no wall time.
        config = msgspec.structs.replace(config, twin=msgspec.structs.replace(config.twin, realtime=False))
        stage = stage_for(args, config, instrument)
    drivers = build_rig(config, instrument if stage is None else stage.world.instrument, stage and stage.world)
    flow_ml_min = 0.0
    if args.procedure in ("flow", "counts") and instrument.fluidics.kind == "flow" and drivers.parts.pump != "none":
        flow_ml_min = instrument.fluidics.flow_ml_min if stage is None else stage.flow_ml_min
    interval_s = getattr(args, "interval_s", 0.0)
    if args.procedure == "counts" and flow_ml_min > 0:
        view_um = instrument.sensor.width_px * instrument.geometry.object_pitch_um
        interval_s = _FRESH_VIEWS * view_um / duct_of(instrument).mean_travel_um(flow_ml_min / 60)
    try:
        shots = capture(
            config, instrument, drivers, args.count, lamp=args.procedure != "dark", interval_s=interval_s,
            flow_ml_min=flow_ml_min, before=stage and stage.fresh,
        )  # fmt: skip
    finally:
        drivers.close()
    return shots, stage


def stage_for(args: argparse.Namespace, config: Config, instrument: Instrument) -> Stage:
    """The twin with the target of a procedure; with `--hidden` it differs from its file. InputError where it has no such target."""
    true, rng = instrument, np.random.default_rng(0)
    if args.hidden is not None:
        true, rng = hidden_instrument(instrument, args.hidden)
    if args.procedure == "flow":
        fluidics = msgspec.structs.replace(
            true.fluidics, channel_height_um=section_of(args, instrument).height_um, channel_width_um=args.channel_width_um
        )
        true = msgspec.structs.replace(true, fluidics=fluidics)
    world = twin_world(config, seed=config.twin.seed if args.hidden is None else args.hidden, instrument=true)
    stages: dict[str, Callable[[Stage], None]] = {
        "dark": lambda stage: _dark(stage, true),
        "flat": lambda stage: _flat(stage, true, instrument),
        "distance": lambda stage: _slide(stage, args, true, (0.0, 0.0)),
        "tilt": lambda stage: _slide(stage, args, true, (0.0, 0.0) if args.hidden is None else rng.uniform(-0.5, 0.5, 2)),
        "pitch": lambda stage: _pitch(stage, args, true),
        "flow": lambda stage: _flow(stage, args, true),
        "counts": lambda stage: _counts(stage, args, true, rng),
        "transfer": lambda stage: _grains(stage, args, true, rng),
    }
    stage = Stage(world)
    stages[args.procedure](stage)
    return stage


def _dark(stage: Stage, true: Instrument) -> None:
    stage.truth = {"dark_level_counts": true.sensor.dark_level_counts, "read_noise_e": true.sensor.read_noise_e}


def _flat(stage: Stage, true: Instrument, nominal: Instrument) -> None:
    # Counts are worth electrons between the pedestal and white.
    white = 2**true.sensor.bit_depth - 1
    gain = true.sensor.full_well_e / (white - true.sensor.dark_level_counts)
    stage.truth = {"electrons_per_count": gain, "full_well_e": gain * (white - nominal.sensor.dark_level_counts)}


def _slide(stage: Stage, args: argparse.Namespace, true: Instrument, tilt_degrees: object) -> None:
    tilt_x, tilt_y = (float(angle) for angle in np.asarray(tilt_degrees))
    contrast = bead_index(args, true) / true.optics.medium_index - 1
    put_beads(stage.world, true, diameter_um=args.diameter_um, contrast=contrast, count=_BEADS, tilt_degrees=(tilt_x, tilt_y))
    stage.truth = {
        "distance_um": true.optics.distance_um, "tilt_x_degrees": tilt_x, "tilt_y_degrees": tilt_y,
        "pitch_um": true.sensor.pitch_um,
    }  # fmt: skip


def _pitch(stage: Stage, args: argparse.Namespace, true: Instrument) -> None:
    if args.beads:
        _slide(stage, args, true, (0.0, 0.0))
        return
    args.ruling_um = args.ruling_um or RULING_UM
    put_ruling(stage.world, true, period_um=args.ruling_um)
    stage.truth = {"pitch_um": true.sensor.pitch_um}


def _need_channel(args: argparse.Namespace, true: Instrument) -> None:
    if true.fluidics.kind != "flow":
        raise InputError(
            "nothing flows through the simulated sampler", where=args.procedure, expected="a flow cytometer, or recorded frames",
            got=true.name, remedy="Take --config simulated-flow, or name recorded frames on the command line.",
        )  # fmt: skip


def _flow(stage: Stage, args: argparse.Namespace, true: Instrument) -> None:
    _need_channel(args, true)
    view_ml = _view_ml(true)
    contrast = bead_index(args, true) / true.optics.medium_index - 1
    put_suspension(stage.world, true, diameter_um=args.diameter_um, contrast=contrast, per_ml=_FLOW_BEADS_PER_FRAME / view_ml)
    stage.flow_ml_min = true.fluidics.flow_ml_min
    section_um2 = true.fluidics.channel_height_um * true.fluidics.channel_width_um
    stage.truth = {"flow_ml_min": stage.flow_ml_min, "velocity_um_s": stage.flow_ml_min / 60e-12 / section_um2}


def _counts(stage: Stage, args: argparse.Namespace, true: Instrument, rng: np.random.Generator) -> None:
    _need_channel(args, true)
    off = 1 + rng.normal(0, args.relative_uncertainty) if args.hidden is not None else 1.0
    # Where each frame's beads were is known once they were taken (`found_share`).
    stage.truth_file = Path(tempfile.mkdtemp(prefix="holonode-")) / "truth.jsonl"
    put_suspension(
        stage.world, true, diameter_um=args.diameter_um, contrast=bead_index(args, true) / true.optics.medium_index - 1,
        per_ml=args.concentration_per_ml * off, truth_file=stage.truth_file,
    )  # fmt: skip
    stage.flow_ml_min = true.fluidics.flow_ml_min


def _view_ml(instrument: Instrument) -> float:
    sensor = instrument.sensor
    area_um2 = sensor.width_px * sensor.height_px * instrument.geometry.object_pitch_um**2
    return area_um2 * instrument.fluidics.channel_height_um * 1e-12


def _grains(stage: Stage, args: argparse.Namespace, true: Instrument, rng: np.random.Generator) -> None:
    if true.fluidics.kind != "impactor":
        raise InputError(
            "the twin puts grains on a window alone", where=args.procedure, expected="an impactor, or recorded frames",
            got=true.name, remedy="Take --config simulated-bioaerosol, or name recorded frames on the command line.",
        )  # fmt: skip
    world = stage.world
    if args.hidden is not None and not args.no_aberrations:
        world.pupil = hidden_pupil(rng)
    stage.fresh = lambda: put_grains(world, true, world.frames_taken)
    stage.truth = {"distance_um": true.optics.distance_um}
    if not args.no_aberrations:
        stage.truth |= {f"{name}_rad": 0.0 for name in ABERRATIONS}
