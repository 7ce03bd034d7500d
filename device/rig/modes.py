"""The way of sampling that is configured, over the parts of a rig."""

from __future__ import annotations

from collections.abc import Callable

from device.analysis.pipeline import Pipeline
from device.calibration import Calibrations
from device.config import Config
from device.rig.rig import Rig
from device.sampling.findings import Mode
from device.sampling.kinds import Setup, sampling_kind
from device.storage.outbox import Outbox

__all__ = ["build_mode"]


def build_mode(
    config: Config, calibrated: Calibrations, pipeline: Pipeline, rig: Rig, sleep: Callable[[float], None], outbox: Outbox
) -> Mode:
    """It finds and keeps its state in the outbox; `sleep` may be cut short by raising."""
    clean_window = rig.advance_window if config.sampling.window_change == "automatic" else None
    return sampling_kind(config.sampling.mode).build(
        Setup(config, calibrated, pipeline, rig.camera, rig.lamp, rig.pump, rig.time.monotonic, sleep, outbox, clean_window)
    )
