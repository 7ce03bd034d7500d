"""The impactor as a way of sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from device.events import EventMeaning
from device.sampling.kinds import SamplePlan, SamplingKind, Setup

if TYPE_CHECKING:
    from device.config import Config
    from device.instrument import Instrument
    from device.sampling.findings import Mode

__all__ = ["KIND"]


def _build(setup: Setup) -> Mode:
    from device.analysis.efficiency import DetectionEfficiency
    from device.sampling.impactor.mode import MARKER, STATE_KEY, ImpactorMode
    from device.sampling.impactor.sampler import Impactor

    instrument, outbox = setup.calibrated.instrument, setup.outbox
    impactor = Impactor(
        setup.camera, setup.lamp, setup.pump, setup.config.sampling, setup.exposure, instrument.fluidics.flow_ml_min,
        monotonic=setup.monotonic, sleep=setup.sleep, advance_window=setup.clean_window,
    )  # fmt: skip
    return ImpactorMode(
        impactor, setup.pipeline, instrument, setup.config.sampling, DetectionEfficiency.of(setup.calibrated.figures("counts")),
        state=outbox.get_state(STATE_KEY), keep=outbox.keep, marker=outbox.folder / MARKER,
    )  # fmt: skip


def _sample(config: Config, instrument: Instrument) -> SamplePlan:
    sampling, fluidics = config.sampling, instrument.fluidics
    pumped_s = sampling.sample_volume_l * 1000 / fluidics.flow_ml_min * 60 if fluidics.flow_ml_min else math.inf
    steps = (
        "a frame of the window, where the last one isn't known",
        f"{sampling.sample_volume_l:g} L of air at {fluidics.flow_ml_min:g} mL/min ({pumped_s:.0f} s)",
        f"{sampling.settle_s:g} s to settle, a frame at {config.lamp.current_ma:g} mA for {config.camera.exposure_us:g} us",
        f"window: up to {sampling.window_intervals} samples or {sampling.window_most_hidden:.0%} hidden, changed by "
        + ("the instrument" if sampling.window_change == "automatic" else "a person"),
    )
    volume_m3 = sampling.sample_volume_l * 1e-3 * fluidics.collection_fraction
    return SamplePlan(steps, volume_m3, "m3", pumped_s + sampling.settle_s + 2e-6 * config.camera.exposure_us)


KIND = SamplingKind(
    name="impactor",
    summary="air onto a sticky window, frames before and after",
    instrument_kind="impactor",
    unit="m^-3",
    protocol="air drawn onto a window, digital in-line holography of what landed, counted by machine",
    window="fills",
    build=_build,
    sample=_sample,
    lit_s=lambda _config, frame_s: frame_s,
    events={
        "window_filling": EventMeaning(("warning",), "The window is full in `value` samples.", "Have a clean one at hand."),
        "window_full": EventMeaning(
            ("alarm",), "The window is full: `value` of what lands falls on what lies there.",
            "Put a clean one in, then `holonode window changed`.",
        ),
    },
)  # fmt: skip
