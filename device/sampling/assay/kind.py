"""The aggregation biosensor as a way of sampling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from device.errors import InputError
from device.events import EventMeaning
from device.sampling.assay.settings import AssaySettings, assay_settings
from device.sampling.kinds import SamplePlan, SamplingKind, Setup

if TYPE_CHECKING:
    from device.calibration import Calibrations
    from device.config import Config
    from device.instrument import Instrument
    from device.sampling.findings import Mode

__all__ = ["KIND"]


def _build(setup: Setup) -> Mode:
    """With the response that was calibrated for assays of this duration."""
    from device.analysis.dose_response import from_values
    from device.analysis.efficiency import DetectionEfficiency
    from device.sampling.assay.chamber import Assay
    from device.sampling.assay.mode import STATE_KEY, AssayMode
    from device.sampling.impactor.mode import MARKER

    calibrated, outbox = setup.calibrated, setup.outbox
    flow_ml_min, settings = calibrated.instrument.fluidics.flow_ml_min, assay_settings(setup.config)
    _demand(setup.config, calibrated.instrument)
    assay = Assay(
        setup.camera, setup.lamp, setup.pump, settings, setup.exposure, flow_ml_min,
        monotonic=setup.monotonic, sleep=setup.sleep,
    )  # fmt: skip
    figures = calibrated.figures("dose")
    same = math.isclose(figures.get("duration_s", (settings.duration_s, 0.0))[0], settings.duration_s, rel_tol=0.01)
    return AssayMode(
        assay, setup.pipeline, calibrated.instrument, settings, DetectionEfficiency.of(calibrated.figures("counts")),
        from_values(figures) if same else None,
        state=outbox.get_state(STATE_KEY), keep=outbox.keep, folder=outbox.folder, fresh_chamber=setup.clean_window,
        marker=outbox.folder / MARKER,
    )  # fmt: skip


def _demand(config: Config, instrument: Instrument) -> None:
    fill_ml = assay_settings(config).fill_ml
    if fill_ml > 0 and instrument.fluidics.flow_ml_min <= 0:
        raise InputError(
            "this instrument has no flow to fill a chamber with", where="sampling.assay.fill_ml", got=f"{fill_ml:g} mL",
            remedy="Set fill_ml = 0 where a person fills it, or give the instrument file its fluidics.flow_ml_min.",
        )  # fmt: skip


def _sample(config: Config, instrument: Instrument) -> SamplePlan:
    from device.sampling.assay.mode import look_times_s

    assay, fluidics, sensor = assay_settings(config), instrument.fluidics, instrument.sensor
    looks = look_times_s(assay.duration_s, assay.look_every_s)
    filled_s = assay.fill_ml / fluidics.flow_ml_min * 60 if assay.fill_ml and fluidics.flow_ml_min else 0.0
    steps = (
        "a fresh chamber, put in by " + ("the instrument" if config.sampling.window_change == "automatic" else "a person"),
        f"{assay.empty_frames} frames of it empty" if assay.background == "empty" else "no frame of it empty",
        f"{assay.fill_ml:g} mL at {fluidics.flow_ml_min:g} mL/min ({filled_s:.0f} s)" if filled_s else "a person fills it",
        f"{len(looks)} looks over {assay.duration_s / 60:g} min, an interval each; the last tells the dose",
        f"goes on after a power loss of up to {assay.longest_gap_s / 60:g} min",
    )
    area_um2 = sensor.width_px * sensor.height_px * instrument.geometry.object_pitch_um**2
    volume_ml = area_um2 * fluidics.channel_height_um * 1e-12
    return SamplePlan(steps, volume_ml, "mL", filled_s + assay.settle_s + assay.duration_s)


def _notes(config: Config, calibrated: Calibrations) -> list[str]:
    notes: list[str] = []
    if not calibrated.figures("dose"):
        notes.append("no response was calibrated (`holonode-calibrate dose`): clumping is published, a dose isn't")
    if not config.analysis.refine_iterations:
        notes.append(
            "analysis.refine_iterations = 0: beads that touch are told from those side by side by refined fields alone"
        )
    return notes


KIND = SamplingKind(
    name="assay",
    summary="a chamber of beads that clump by the dose of what they are made for",
    instrument_kind="static",
    unit="mL^-1",
    protocol="digital in-line holography of a window, counted by machine",
    window="fresh",
    build=_build,
    sample=_sample,
    lit_s=lambda _config, frame_s: frame_s,
    demand=_demand,
    procedures=("dose",),
    notes=_notes,
    settings=AssaySettings,
    events={
        "assay_resumed": EventMeaning(("info",), "An assay goes on that a restart interrupted for `value`."),
        "assay_result": EventMeaning(("info",), "An assay is over: the message tells the dose, or why there is none."),
        "assay_failed": EventMeaning(("warning",), "An assay showed too few beads to tell anything.", "Fill the chamber afresh."),
        "background_lost": EventMeaning(
            ("warning",), "The frame of the empty chamber was lost: each frame is divided by its own even light.",
            "Fill the chamber afresh where the result must stand.",
        ),
        "beads_lost": EventMeaning(
            ("warning",), "Beads have left the field since the assay began; `value` are left.",
            "Look for a leak or a bubble in the chamber.",
        ),
    },
)  # fmt: skip
