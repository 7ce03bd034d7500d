"""The flow cytometer as a way of sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from device.events import EventMeaning
from device.sampling.flow.settings import FlowSettings, flow_settings
from device.sampling.kinds import SamplePlan, SamplingKind, Setup

if TYPE_CHECKING:
    from device.config import Config
    from device.instrument import Instrument
    from device.sampling.findings import Mode

__all__ = ["KIND"]


def _build(setup: Setup) -> Mode:
    from device.analysis.efficiency import DetectionEfficiency
    from device.sampling.flow.burst import Flow
    from device.sampling.flow.mode import FlowMode

    instrument = setup.calibrated.instrument
    flow = Flow(
        setup.camera, setup.lamp, setup.pump, flow_settings(setup.config), setup.exposure, instrument.fluidics.flow_ml_min,
        monotonic=setup.monotonic, sleep=setup.sleep,
    )  # fmt: skip
    return FlowMode(flow, setup.pipeline, instrument, DetectionEfficiency.of(setup.calibrated.figures("counts")))


def _sample(config: Config, instrument: Instrument) -> SamplePlan:
    from device.duct_flow import duct_of
    from device.sampling.flow.mode import view_of

    flow, flow_ml_min = flow_settings(config), instrument.fluidics.flow_ml_min
    duct = duct_of(instrument)
    view = view_of(instrument, duct)
    moved_ml = flow_ml_min / 60 * flow.frame_interval_s
    swept_ml = duct.swept_ml(moved_ml, view.length_um, view.across_um)
    share = swept_ml / max(duct.swept_ml(moved_ml, math.inf, view.across_um), 1e-12)
    gapless = duct.fastest() * duct.mean_travel_um(moved_ml) <= view.length_um
    lit_us = config.lamp.strobe_width_us or config.camera.exposure_us
    blur_px = duct.fastest() * duct.mean_travel_um(flow_ml_min / 60 * lit_us * 1e-6) / instrument.geometry.object_pitch_um
    steps = (
        f"pump at {flow_ml_min:g} mL/min, {flow.flush_s:g} s to flush",
        f"{flow.frames_per_interval} frames, {flow.frame_interval_s:g} s apart, light {flow.light}, {config.camera.exposure_us:g} us",
        f"lit for {lit_us:g} us of each: the fastest particles move {blur_px:.2g} px meanwhile",
        f"each shows {swept_ml * 1000:.3g} uL that is new: "
        + ("nothing passes unseen" if gapless else f"{1 - share:.0%} of what flows passes between frames"),
    )
    # A burst that follows another begins with what flushed in.
    flushed_ml = duct.swept_ml(flow_ml_min / 60 * flow.flush_s, view.length_um, view.across_um)
    volume_ml = flushed_ml + (flow.frames_per_interval - 1) * swept_ml
    return SamplePlan(steps, volume_ml, "mL", flow.flush_s + (flow.frames_per_interval - 1) * flow.frame_interval_s)


def _lit_s(config: Config, frame_s: float) -> float:
    flow = flow_settings(config)
    if flow.light == "continuous":
        return (flow.frames_per_interval - 1) * flow.frame_interval_s + frame_s
    return flow.frames_per_interval * frame_s


KIND = SamplingKind(
    name="flow",
    summary="bursts of frames of liquid in a channel",
    instrument_kind="flow",
    unit="mL^-1",
    protocol="liquid drawn through a channel, digital in-line holography, counted by machine",
    window="none",
    build=_build,
    sample=_sample,
    lit_s=_lit_s,
    settings=FlowSettings,
    settable={
        "frames_per_interval": (3, 60),  # all of a burst are in memory at once
        "frame_interval_s": (0.001, 600),
        "flush_s": (0, 600),
    },
    events={
        "flow_differs": EventMeaning(
            ("warning",), "The particles move at `value` of the speed that the pump's flow would give them.",
            "Look for air, a leak or a clogged channel; `holonode-calibrate flow`.",
        ),
        "counts_disagree": EventMeaning(
            ("warning",), "Counting what moves through gives `value` of the concentration that single frames give.",
            "Look for particles that stick; `holonode-calibrate flow`.",
        ),
    },
)  # fmt: skip
