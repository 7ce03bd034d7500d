"""Is the configuration one that this instrument can carry out?"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from device.config import Config
from device.duct_flow import duct_of
from device.errors import HolonodeError
from device.instrument import Instrument
from device.messaging.payloads import Check
from device.plan import Plan
from device.sampling.kinds import sampling_kind
from device.sampling.schedule import schedule_of

__all__ = ["range_checks"]

_MOST_BLUR_PX = 1.0
"""Motion while a frame is lit: more smears the finest fringes."""


def range_checks(config: Config, instrument: Instrument, plan: Plan, now: datetime | None = None) -> list[Check]:
    """Exposure, current, flow, volume and schedule against the instrument."""
    wakes = _wakes(config, plan, now or datetime.now(UTC))
    return [*_light(config, instrument), *_flow(config, instrument), wakes]


def _light(config: Config, instrument: Instrument) -> Iterator[Check]:
    current_ma, most_ma = config.lamp.current_ma, instrument.lamp.max_current_ma
    good = 0 < current_ma <= most_ma
    yield Check(
        name="lamp current", status="ok" if good else "failed", value=current_ma, unit="mA",
        message=f"the instrument takes up to {most_ma:g} mA" if good else f"outside of 0 to {most_ma:g} mA",
        remedy="" if good else "Set lamp.current_ma within what the instrument's lamp takes",
    )  # fmt: skip
    camera = config.camera
    good = camera.exposure_us * 1e-6 < camera.timeout_s / 2
    yield Check(
        name="exposure", status="ok" if good else "failed", value=camera.exposure_us, unit="us",
        message="" if good else f"longer than half of camera.timeout_s, {camera.timeout_s:g} s: every frame would count as lost",
        remedy="" if good else "Lower camera.exposure_us or raise camera.timeout_s",
    )  # fmt: skip


def _flow(config: Config, instrument: Instrument) -> Iterator[Check]:
    mode, fluidics = config.sampling.mode, instrument.fluidics
    needed = sampling_kind(mode).instrument_kind
    if fluidics.kind != needed:
        yield Check(
            name="mode", status="failed", value=mode, message=f"{instrument.name} is an instrument of kind {fluidics.kind}",
            remedy="Choose the sampling.mode of the instrument, or the instrument of the mode",
        )  # fmt: skip
        return
    yield Check(name="mode", status="ok", value=mode)
    if needed == "static":
        return
    full_ml_min = config.pump.full_flow_ml_min or fluidics.flow_ml_min
    good = 0 < fluidics.flow_ml_min <= full_ml_min
    yield Check(
        name="flow", status="ok" if good else "failed", value=float(f"{fluidics.flow_ml_min:.5g}"), unit="mL/min",
        message="" if good else f"outside of 0 to the pump's {full_ml_min:g} mL/min",
        remedy="" if good else "Correct pump.full_flow_ml_min, or the instrument's fluidics.flow_ml_min",
    )  # fmt: skip
    if needed == "flow" and good:
        yield _blur(config, instrument)


def _blur(config: Config, instrument: Instrument) -> Check:
    """How far the sample moves while a frame is exposed."""
    duct = duct_of(instrument)
    moved_ml = instrument.fluidics.flow_ml_min / 60 * config.camera.exposure_us * 1e-6
    blur_px = duct.fastest() * duct.mean_travel_um(moved_ml) / instrument.geometry.object_pitch_um
    good = blur_px <= _MOST_BLUR_PX
    return Check(
        name="motion blur", status="ok" if good else "warning", value=round(blur_px, 2), unit="pixels",
        message="" if good else "the fastest particles smear their fringes",
        remedy="" if good else "Lower camera.exposure_us and raise lamp.current_ma",
    )  # fmt: skip


def _wakes(config: Config, plan: Plan, now: datetime) -> Check:
    """Whether samples end before the next one begins."""
    try:
        schedule = schedule_of(config.sampling.schedule)
    except HolonodeError as error:
        return Check(name="schedule", status="failed", message=str(error), remedy="Correct sampling.schedule")
    if schedule is None:
        return Check(name="schedule", status="ok", value="continuous", message="one sample after the other")
    kind = config.sampling.schedule.kind
    if not plan.wakes:
        return Check(
            name="schedule", status="failed", value=kind, message="there is no next wake",
            remedy="Check days, months and place of sampling.schedule",
        )  # fmt: skip
    apart = [b - a for a, b in pairwise(plan.wakes)]
    late = [gap for gap in apart if gap < timedelta(seconds=plan.duration_s)]
    wait = plan.wakes[0] - now
    if late:
        return Check(
            name="schedule", status="warning", value=kind,
            message=f"a sample takes {plan.duration_s:.0f} s, two wakes are {min(late).total_seconds():.0f} s apart: some are missed",
            remedy="Take smaller samples, or wake less often",
        )  # fmt: skip
    return Check(
        name="schedule", status="ok", value=kind, message=f"next wake in {_words(wait)}, {plan.samples_per_day:.0f} a day"
    )


def _words(wait: timedelta) -> str:
    hours = wait.total_seconds() / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min"
