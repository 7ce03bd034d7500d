"""What a configuration will do, told without touching hardware: `holonode run --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from device.calibration import Calibrations
from device.config import Config
from device.sampling.kinds import sampling_kind
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
    kind = sampling_kind(sampling.mode)
    sample = kind.sample(config, instrument)
    schedule, zone = schedule_of(sampling.schedule), zone_of(sampling.schedule).key
    wakes, moment = list[datetime](), now or datetime.now(UTC)
    a_day = 86400 / (sample.duration_s + sampling.pause_s)
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
    notes += kind.notes(config, calibrated)
    rows = a_day * (_PARTICLES * _DETECTION_BYTES + _INTERVAL_BYTES)
    most = _KEPT_ROWS * _DETECTION_BYTES + config.review.budget_mb * 2**20
    return Plan(
        sampling.mode, instrument.name, tuple(wakes[:count]), sample.steps, sample.volume, sample.unit, sample.duration_s, a_day, rows / 2**20,
        most / 2**20, tuple(notes), zone,
    )  # fmt: skip
