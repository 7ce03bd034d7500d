"""Assays of known doses, carried out with the configured instrument."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from device.config import Config
from device.errors import InputError
from device.instrument import Instrument
from device.rig.build import build_rig
from device.rig.models import build_pipeline, model_store
from device.rig.modes import build_mode
from device.rig.records import calibrations
from device.rig.simulated import twin_world
from device.storage.outbox import Outbox

__all__ = ["assay_response"]


def assay_response(
    config: Config, instrument: Instrument, dose_per_ul: float, number: int, say: Callable[[str], None]
) -> tuple[float | None, list[str]]:
    """Bonds per bead after one whole assay (None: too few beads), and the SHA-256 of every frame.

    The simulated chamber is given the dose; before a real one the sample with it must be ready.
    """
    if config.sampling.mode != "assay":
        raise InputError(
            "this instrument makes no assays", where="sampling.mode", expected='"assay"', got=config.sampling.mode,
            remedy="Name an assay's configuration: --config simulated-assay, or your own.",
        )  # fmt: skip
    twin = msgspec.structs.replace(config.twin, analyte_per_ul=dose_per_ul, seed=config.twin.seed + number)
    config = msgspec.structs.replace(config, twin=twin)
    calibrated = calibrations(config, instrument)
    pipeline, _ = build_pipeline(model_store(config), config.analysis, calibrated.instrument.geometry, instrument=instrument)
    world = twin_world(config, instrument=instrument)
    drivers = build_rig(config, instrument, world)
    digests: list[str] = []
    response: float | None = None
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Path(folder) / "store", config.device.id)
        try:
            drivers.camera.start()
            mode = build_mode(config, calibrated, pipeline, drivers, drivers.time.sleep, outbox)
            while (found := mode.take()) is not None:
                digests += [hashlib.sha256(f.hologram.intensity.tobytes()).hexdigest() for f in found.frames]
                if found.aggregation is not None:
                    say(f"dose {dose_per_ul:g} per uL: {found.sampled}")
                    response = found.aggregation.bonds_per_bead
                if any(notice.code in ("assay_result", "assay_failed") for notice in found.notices):
                    break
        finally:
            drivers.close()
            outbox.close()
    return response, digests
