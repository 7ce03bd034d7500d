"""The simulated parts: the twin's camera, lamp, pump and surroundings over one world. Real rigs never import this."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from device.config import Config
from device.health.demands import refuse_unknown_morphologies
from device.instrument import Instrument, load_instrument
from device.sampling.kinds import sampling_kind
from device.twin.aggregation import BeadSuspension
from device.twin.environment import OperatingConditions
from device.twin.world import SimulatedTime, TwinWorld

__all__ = ["bystander_world", "twin_world"]

_ENVIRONMENT = (
    "temperature_c", "lamp_ageing", "fouling", "fringe_contrast", "flow_um_s", "prnu", "hot_share", "dark_current_e_s", "row_noise_e",
)  # fmt: skip


CHAMBER_FILE = "twin-chamber.json"
"""In the store's folder: what the simulated chamber has been through."""


def twin_world(
    config: Config, *, seed: int | None = None, run: int = 0, instrument: Instrument | None = None, folder: Path | None = None
) -> TwinWorld:
    """The simulated instrument of a configuration; `run` as in `TwinWorld`, `folder` of the store that outlives a run."""
    refuse_unknown_morphologies(config)
    truth = Path(config.twin.truth_file).expanduser() if config.twin.truth_file else None
    clock = time if config.twin.realtime else SimulatedTime()
    return TwinWorld(
        instrument=instrument or load_instrument(config.device.instrument),
        concentration_per_m3=config.twin.concentration_per_m3,
        seed=config.twin.seed if seed is None else seed,
        run=run,
        truth_file=truth,
        environment=OperatingConditions(**{name: getattr(config.twin, name) for name in _ENVIRONMENT}),
        model=config.twin.scattering,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        sample=_sample(config) if sampling_kind(config.sampling.mode).instrument_kind == "static" else None,
        chamber_file=folder / CHAMBER_FILE if folder else None,
    )


def _sample(config: Config) -> BeadSuspension:
    """What fills the simulated chamber."""

    return BeadSuspension(analyte_per_ul=config.twin.analyte_per_ul, beads_per_ul=config.twin.beads_per_ul)


def bystander_world(instrument: Instrument) -> TwinWorld:
    """For a simulated lamp, pump or surroundings beside a real camera: nothing is rendered, time is real, the air is clean."""
    few = msgspec.structs.replace(instrument.sensor, width_px=16, height_px=16)
    return TwinWorld(instrument=msgspec.structs.replace(instrument, sensor=few), concentration_per_m3={})
