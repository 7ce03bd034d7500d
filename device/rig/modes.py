"""The way of sampling that is configured, over the parts of a rig."""

from __future__ import annotations

import math
from collections.abc import Callable

from device.analysis.pipeline import Pipeline
from device.calibration import Calibrations
from device.config import Config
from device.errors import InputError
from device.frames import Exposure
from device.rig.rig import Rig
from device.sampling.findings import Mode
from device.storage.outbox import Outbox

__all__ = ["build_mode"]


def build_mode(
    config: Config,
    calibrated: Calibrations,
    pipeline: Pipeline,
    rig: Rig,
    sleep: Callable[[float], None],
    outbox: Outbox,
) -> Mode:
    """The way of sampling that is configured, over these drivers; it finds and keeps its state in the outbox.

    `sleep` may be cut short by raising.
    """
    from device.analysis.efficiency import DetectionEfficiency

    instrument = calibrated.instrument
    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    efficiency = DetectionEfficiency.of(calibrated.figures("counts"))
    flow_ml_min, monotonic = instrument.fluidics.flow_ml_min, rig.time.monotonic
    ports = (rig.camera, rig.lamp, rig.pump)
    if config.sampling.mode == "flow":
        from device.sampling.flow import Flow
        from device.sampling.flow_mode import FlowMode

        flow = Flow(*ports, config.sampling.flow, exposure, flow_ml_min, monotonic=monotonic, sleep=sleep)
        return FlowMode(flow, pipeline, instrument, efficiency)
    if config.sampling.mode == "assay":
        return _assay_mode(config, calibrated, pipeline, rig, sleep, outbox)
    from device.sampling.impactor import Impactor
    from device.sampling.impactor_mode import MARKER, STATE_KEY, ImpactorMode

    impactor = Impactor(
        *ports,
        config.sampling,
        exposure,
        flow_ml_min,
        monotonic=monotonic,
        sleep=sleep,
        advance_window=rig.advance_window if config.sampling.window_change == "automatic" else None,
    )
    return ImpactorMode(
        impactor,
        pipeline,
        instrument,
        config.sampling,
        efficiency,
        state=outbox.get_state(STATE_KEY),
        keep=outbox.keep,
        marker=outbox.folder / MARKER,
    )


def _assay_mode(
    config: Config,
    calibrated: Calibrations,
    pipeline: Pipeline,
    rig: Rig,
    sleep: Callable[[float], None],
    outbox: Outbox,
) -> Mode:
    """The biosensor, with the response that was calibrated for assays of this duration."""
    from device.analysis.dose_response import from_values
    from device.analysis.efficiency import DetectionEfficiency
    from device.sampling.assay import Assay
    from device.sampling.assay_mode import STATE_KEY, AssayMode
    from device.sampling.impactor_mode import MARKER

    exposure = Exposure(config.camera.exposure_us, config.camera.gain, 0, config.lamp.current_ma)
    flow_ml_min, settings = calibrated.instrument.fluidics.flow_ml_min, config.sampling.assay
    if settings.fill_ml > 0 and flow_ml_min <= 0:
        raise InputError(
            "this instrument has no flow to fill a chamber with", where="sampling.assay.fill_ml", got=f"{settings.fill_ml:g} mL",
            remedy="Set fill_ml = 0 where a person fills it, or give the instrument file its fluidics.flow_ml_min.",
        )  # fmt: skip
    assay = Assay(
        rig.camera, rig.lamp, rig.pump, settings, exposure, flow_ml_min,
        monotonic=rig.time.monotonic, sleep=sleep,
    )  # fmt: skip
    figures = calibrated.figures("dose")
    same = math.isclose(figures.get("duration_s", (settings.duration_s, 0.0))[0], settings.duration_s, rel_tol=0.01)
    return AssayMode(
        assay,
        pipeline,
        calibrated.instrument,
        config.sampling,
        DetectionEfficiency.of(calibrated.figures("counts")),
        from_values(figures) if same else None,
        state=outbox.get_state(STATE_KEY),
        keep=outbox.keep,
        folder=outbox.folder,
        fresh_chamber=rig.advance_window if config.sampling.window_change == "automatic" else None,
        marker=outbox.folder / MARKER,
    )
