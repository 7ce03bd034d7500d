"""What a configuration will do, told without touching hardware: `holonode run --dry-run`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from device.calibration import Calibrations
from device.config import Config
from device.duct_flow import duct_of
from device.instrument import Instrument
from device.sampling.assay_mode import look_times_s
from device.sampling.flow_mode import view_of
from device.sampling.schedule import schedule_of, zone_of

__all__ = ["Plan", "plan_of"]

_DETECTION_BYTES, _INTERVAL_BYTES = 1500.0, 2500.0
"""Of a record in the store, as measured."""
_KEPT_ROWS = 200_000
"""Delivered records that the store keeps."""
_PARTICLES = 100.0
"""Assumed of an interval for the estimate of disk use."""


@dataclass(frozen=True)
class Plan:
    """What comes."""

    mode: str
    instrument: str
    wakes: tuple[datetime, ...]
    """The next ones, UTC; empty where samples follow each other."""
    steps: tuple[str, ...]
    """What one sample does."""
    volume: float
    """One interval looks at."""
    unit: str
    duration_s: float
    """Of one sample, analysis left out."""
    samples_per_day: float
    disk_mb_per_day: float
    disk_mb_most: float
    """What delivered records and review crops can grow to."""
    notes: tuple[str, ...]
    zone: str

    def to_builtins(self) -> dict[str, Any]:
        """For --json."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "wakes": [wake.isoformat() for wake in self.wakes]
        }

    def lines(self) -> list[str]:
        """For a person."""
        wakes = [f"  {w.astimezone(ZoneInfo(self.zone)):%Y-%m-%d %H:%M %Z}   {w:%Y-%m-%dT%H:%M:%SZ}" for w in self.wakes]
        return [
            f"mode       {self.mode}, {self.instrument}",
            "wakes      " + ("one sample after the other" if not wakes else f"next {len(wakes)}, {self.zone} and UTC:"),
            *wakes,
            "sample     " + self.steps[0],
            *(f"           {step}" for step in self.steps[1:]),
            f"volume     {self.volume:.4g} {self.unit} a sample, {self.duration_s:.4g} s without analysis",
            f"a day      at most {self.samples_per_day:.0f} samples, {self.samples_per_day * self.volume:.4g} {self.unit}",
            f"disk       about {self.disk_mb_per_day:.1f} MB a day at {_PARTICLES:.0f} particles a sample, at most "
            f"{self.disk_mb_most:.0f} MB once delivered",
            *(f"note       {note}" for note in self.notes),
        ]


def plan_of(config: Config, calibrated: Calibrations, now: datetime | None = None, count: int = 5) -> Plan:
    """The plan of a configuration; InputError where it can't be carried out."""
    instrument, sampling = calibrated.instrument, config.sampling
    steps, volume, unit, duration_s = _SAMPLES[sampling.mode](config, instrument)
    schedule, zone = schedule_of(sampling.schedule), zone_of(sampling.schedule).key
    wakes, moment = list[datetime](), now or datetime.now(UTC)
    a_day = 86400 / (duration_s + sampling.pause_s)
    if schedule is not None:
        wake = schedule.next_after(moment)
        today = 0
        while wake is not None and (len(wakes) < count or wake <= moment + timedelta(days=1)) and today < 100_000:
            wakes.append(wake)
            today += wake <= moment + timedelta(days=1)
            wake = schedule.next_after(wake)
        a_day = min(a_day, float(today))
    notes = [f"calibration record refused: {refusal}" for refusal in calibrated.refused]
    if not calibrated.figures("counts"):
        notes.append(
            "no detection efficiency was measured (`holonode-calibrate counts`): concentrations take every particle as seen"
        )
    if sampling.mode == "assay" and not calibrated.figures("dose"):
        notes.append("no response was calibrated (`holonode-calibrate dose`): clumping is published, a dose isn't")
    if sampling.mode == "assay" and not config.analysis.refine_iterations:
        notes.append(
            "analysis.refine_iterations = 0: beads that touch are told from those side by side by refined fields alone"
        )
    rows = a_day * (_PARTICLES * _DETECTION_BYTES + _INTERVAL_BYTES)
    most = _KEPT_ROWS * _DETECTION_BYTES + config.review.budget_mb * 2**20
    return Plan(
        sampling.mode, instrument.name, tuple(wakes[:count]), tuple(steps), volume, unit, duration_s, a_day, rows / 2**20,
        most / 2**20, tuple(notes), zone,
    )  # fmt: skip


def _impactor(config: Config, instrument: Instrument) -> tuple[list[str], float, str, float]:
    sampling, fluidics = config.sampling, instrument.fluidics
    pumped_s = sampling.sample_volume_l * 1000 / fluidics.flow_ml_min * 60 if fluidics.flow_ml_min else math.inf
    steps = [
        "a frame of the window, where the last one isn't known",
        f"{sampling.sample_volume_l:g} L of air at {fluidics.flow_ml_min:g} mL/min ({pumped_s:.0f} s)",
        f"{sampling.settle_s:g} s to settle, a frame at {config.lamp.current_ma:g} mA for {config.camera.exposure_us:g} us",
        f"window: up to {sampling.window_intervals} samples or {sampling.window_most_hidden:.0%} hidden, changed by "
        + ("the instrument" if sampling.window_change == "automatic" else "a person"),
    ]
    volume_m3 = sampling.sample_volume_l * 1e-3 * fluidics.collection_fraction
    return steps, volume_m3, "m3", pumped_s + sampling.settle_s + 2e-6 * config.camera.exposure_us


def _flow(config: Config, instrument: Instrument) -> tuple[list[str], float, str, float]:
    flow, flow_ml_min = config.sampling.flow, instrument.fluidics.flow_ml_min
    duct = duct_of(instrument)
    view = view_of(instrument, duct)
    moved_ml = flow_ml_min / 60 * flow.frame_interval_s
    swept_ml = duct.swept_ml(moved_ml, view.length_um, view.across_um)
    share = swept_ml / max(duct.swept_ml(moved_ml, math.inf, view.across_um), 1e-12)
    gapless = duct.fastest() * duct.mean_travel_um(moved_ml) <= view.length_um
    lit_us = config.lamp.strobe_width_us or config.camera.exposure_us
    blur_px = duct.fastest() * duct.mean_travel_um(flow_ml_min / 60 * lit_us * 1e-6) / instrument.geometry.object_pitch_um
    steps = [
        f"pump at {flow_ml_min:g} mL/min, {flow.flush_s:g} s to flush",
        f"{flow.frames_per_interval} frames, {flow.frame_interval_s:g} s apart, light {flow.light}, {config.camera.exposure_us:g} us",
        f"lit for {lit_us:g} us of each: the fastest particles move {blur_px:.2g} px meanwhile",
        f"each shows {swept_ml * 1000:.3g} uL that is new: "
        + ("nothing passes unseen" if gapless else f"{1 - share:.0%} of what flows passes between frames"),
    ]
    # A burst that follows another begins with what flushed in.
    flushed_ml = duct.swept_ml(flow_ml_min / 60 * flow.flush_s, view.length_um, view.across_um)
    volume_ml = flushed_ml + (flow.frames_per_interval - 1) * swept_ml
    return steps, volume_ml, "mL", flow.flush_s + (flow.frames_per_interval - 1) * flow.frame_interval_s


def _assay(config: Config, instrument: Instrument) -> tuple[list[str], float, str, float]:
    assay, fluidics, sensor = config.sampling.assay, instrument.fluidics, instrument.sensor
    looks = look_times_s(assay.duration_s, assay.look_every_s)
    filled_s = assay.fill_ml / fluidics.flow_ml_min * 60 if assay.fill_ml and fluidics.flow_ml_min else 0.0
    steps = [
        "a fresh chamber, put in by " + ("the instrument" if config.sampling.window_change == "automatic" else "a person"),
        f"{assay.empty_frames} frames of it empty" if assay.background == "empty" else "no frame of it empty",
        f"{assay.fill_ml:g} mL at {fluidics.flow_ml_min:g} mL/min ({filled_s:.0f} s)" if filled_s else "a person fills it",
        f"{len(looks)} looks over {assay.duration_s / 60:g} min, an interval each; the last tells the dose",
        f"goes on after a power loss of up to {assay.longest_gap_s / 60:g} min",
    ]
    area_um2 = sensor.width_px * sensor.height_px * instrument.geometry.object_pitch_um**2
    volume_ml = area_um2 * fluidics.channel_height_um * 1e-12
    return steps, volume_ml, "mL", filled_s + assay.settle_s + assay.duration_s


_SAMPLES = {"impactor": _impactor, "flow": _flow, "assay": _assay}
