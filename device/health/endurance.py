"""How long a box lasts by itself: disk, lamp, window, calibration against the days that it is to be alone."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from device.calibration import Calibrations
from device.config import Config
from device.instrument import Instrument
from device.messaging.payloads import Check, CheckStatus
from device.plan import Plan
from device.sampling.impactor.mode import MARKER
from device.sampling.impactor.mode import STATE_KEY as WINDOW_KEY
from device.sampling.impactor.window import Window, window_from_state
from device.sampling.kinds import sampling_kind
from device.storage.reading import History

__all__ = ["LIT_KEY", "Facts", "endurance_checks", "facts_of", "lit_s_per_sample"]

LIT_KEY = "lamp_lit_s"
"""In the store: how long the lamp has shone."""

_SWITCHING_S = 0.05
"""That the lamp is on around an exposure until its state is read back."""
_WORN = 0.9
"""Share of the rated life from which on a lamp is worth replacing."""


@dataclass(frozen=True)
class Facts:
    """What the store knows."""

    history: History | None = None
    window: Window = field(default_factory=Window)
    lamp_lit_s: float = 0.0
    """The lamp has shone, as the service counted."""


def facts_of(get: Callable[[str], str | None], folder: Path, history: History | None) -> Facts:
    """From the store's state: `get` reads it, a mark in `folder` says that there is a clean window."""
    clean = (folder / MARKER).exists()
    window = Window() if clean else window_from_state(get(WINDOW_KEY))
    return Facts(history, window, float(get(LIT_KEY) or 0.0))


def lit_s_per_sample(config: Config) -> float:
    """How long the lamp is on in one sample."""
    exposure_s = config.camera.exposure_us * 1e-6 + _SWITCHING_S
    return sampling_kind(config.sampling.mode).lit_s(config, exposure_s)


def endurance_checks(
    config: Config, calibrated: Calibrations, plan: Plan, facts: Facts, days: float, now: datetime
) -> list[Check]:
    """One check for each thing that runs out."""
    a_day = _samples_per_day(config, plan, facts.history)
    checks = [_disk(config, plan, facts.history, a_day, days)]
    checks += _lamp(config, calibrated.instrument, facts, a_day, days)
    checks += _window(config, calibrated.instrument, facts.window, a_day, days)
    return [*checks, _calibration(calibrated, days, now)]


def _samples_per_day(config: Config, plan: Plan, history: History | None) -> float:
    """By plan; where samples follow each other, as they did."""
    if config.sampling.schedule.kind == "continuous" and history is not None and history.seconds_apart:
        return min(plan.samples_per_day, 86400 / history.seconds_apart)
    return plan.samples_per_day


def _lasts(left: float) -> str:
    return "more than ten years" if left > 3650 else f"{left:.0f} days" if left >= 10 else f"{left:.1f} days"


def _disk(config: Config, plan: Plan, history: History | None, a_day: float, days: float) -> Check:
    """Until the disk is full if nothing is delivered; what is delivered makes room."""
    folder = Path(config.storage.folder).expanduser()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free_mb = shutil.disk_usage(existing).free / 2**20 - config.storage.min_free_mb - config.review.budget_mb
    if history is not None:
        mb_per_day, source = history.bytes_per_interval * a_day / 2**20, f"as measured over {history.intervals} intervals"
    else:
        mb_per_day, source = plan.disk_mb_per_day, "estimated"
    left = max(free_mb, 0.0) / mb_per_day if mb_per_day else math.inf
    alone = f"full in {_lasts(left)} if nothing is delivered ({mb_per_day:.1f} MB a day, {source})"
    if left >= days:
        return _endures("disk lasts", left, alone)
    enough = free_mb > plan.disk_mb_most
    return _endures(
        "disk lasts", left, alone + ("; once delivered, records make room" if enough else ""),
        status="warning" if enough else "failed", remedy="Free disk space or fit a larger disk, wake less often",
    )  # fmt: skip


def _lamp(config: Config, instrument: Instrument, facts: Facts, a_day: float, days: float) -> Iterator[Check]:
    rated_h = instrument.lamp.rated_life_h
    h_per_day, used_h = lit_s_per_sample(config) * a_day / 3600, facts.lamp_lit_s / 3600
    shone = f"{used_h:.1f} h so far, {h_per_day:.2g} h a day"
    if rated_h is None:
        yield Check(
            name="lamp lasts", status="not evaluated", message=f"the instrument file names no lamp.rated_life_h ({shone})"
        )
        return
    left = max(_WORN * rated_h - used_h, 0.0) / h_per_day if h_per_day else math.inf
    message = f"{_lasts(left)} until {_WORN:.0%} of its rated {rated_h:g} h ({shone})"
    yield (
        _endures("lamp lasts", left, message)
        if left >= days
        else _endures("lamp lasts", left, message, status="warning", remedy="Replace the lamp, then: holonode-calibrate flat")
    )


def _window(config: Config, instrument: Instrument, window: Window, a_day: float, days: float) -> Iterator[Check]:
    """Of the impactor: what still fits on it."""
    sampling, sensor = config.sampling, instrument.sensor
    if sampling_kind(sampling.mode).window != "fills":
        return
    field_um2 = sensor.width_px * sensor.height_px * instrument.geometry.object_pitch_um**2
    hidden = window.samples_left(field_um2, sampling.window_most_hidden) if window.samples else math.inf
    samples = max(min(hidden, float(sampling.window_intervals - window.samples)), 0.0)
    left = samples / a_day if a_day else math.inf
    on_it = f"{window.samples} samples and {window.particles:.0f} particles lie on it, {samples:.0f} more fit"
    if sampling.window_change == "automatic":
        yield Check(
            name="window lasts", status="ok", value=round(samples, 1), unit="samples", message=f"{on_it}; changed by itself"
        )
    elif samples < 1:
        yield _endures(
            "window lasts", 0.0, f"the window is full: {on_it}", status="failed",
            remedy="Put in a clean window, then: holonode window changed",
        )  # fmt: skip
    elif left < days:
        yield _endures(
            "window lasts", left, f"{on_it}: somebody has to change it within {_lasts(left)}", status="failed",
            remedy="Wake less often, take smaller samples, raise sampling.window_intervals, or come by",
        )  # fmt: skip
    else:
        yield _endures("window lasts", left, on_it)


def _calibration(calibrated: Calibrations, days: float, now: datetime) -> Check:
    """Records in force, and none that ends before the box is fetched."""
    if calibrated.refused:
        return Check(
            name="calibration", status="failed", value=f"{len(calibrated.used)} in force", message="; ".join(calibrated.refused),
            remedy="Measure again (holonode-calibrate --help), or move the refused records away",
        )  # fmt: skip
    if not calibrated.used:
        return Check(
            name="calibration", status="warning", message="none: the instrument file's nominal figures are used",
            remedy="holonode-calibrate dark, flat, distance, pitch",
        )  # fmt: skip
    ends = min(record.valid_until for record in calibrated.used)
    ending = [r.procedure for r in calibrated.used if r.valid_until < now + timedelta(days=days)]
    left = (ends - now).total_seconds() / 86400
    message = ", ".join(sorted(r.procedure for r in calibrated.used)) + f" in force, the first ends on {ends:%Y-%m-%d}"
    if not ending:
        return _endures("calibration", left, message)
    return _endures(
        "calibration", left, message + f": before {days:g} days are over", status="warning",
        remedy=f"holonode-calibrate {' and '.join(sorted(set(ending)))}",
    )  # fmt: skip


def _endures(name: str, left: float, message: str, status: CheckStatus = "ok", remedy: str = "") -> Check:
    days = round(left, 1) if math.isfinite(left) else None
    unit = "days" if days is not None else None
    return Check(name=name, status=status, value=days, unit=unit, message=message, remedy=remedy)
