"""From analyses to records: what every detection and interval says of its origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from device.analysis.count import ARTEFACTS, concentration, count_labels
from device.analysis.efficiency import DetectionEfficiency, Recovered
from device.analysis.overlap import Overlap
from device.analysis.pipeline import FrameAnalysis
from device.frames import Clock, Hologram
from device.identifiers import record_ulid
from device.records import (
    QARTOD_FAIL,
    QARTOD_NOT_EVALUATED,
    QARTOD_PASS,
    QARTOD_SUSPECT,
    Aggregation,
    ClockRecord,
    Concentration,
    Count,
    Detection,
    DoseEstimate,
    Efficiency,
    FrameCounts,
    Interval,
    Models,
    iso_time,
)

__all__ = ["Losses", "Origin", "Volume", "detection_records", "interval_record"]

_MISSED_SHARE = 0.05
"""Unexplained regions a detection: more of them, and a count may be further off than flow and volume make it."""


@dataclass(frozen=True)
class Origin:
    """Where records come from: the same for all of a run."""

    device_id: str
    spool_id: str
    config_hash: str
    pipeline_id: str
    models: Models
    mode: str
    """A way of sampling, or replay."""
    calibration_id: str | None = None
    labels: tuple[str, ...] = ()
    """Classes that are counted even when none was seen."""
    simulated: tuple[str, ...] = ()
    """Parts of the instrument that are simulated."""
    mixed: bool = False
    """Whether they stand beside real ones: nothing then passes quality control."""


@dataclass(frozen=True)
class Volume:
    """What was sampled."""

    value: float
    """In the unit of the mode: cubic metres of air, or millilitres."""
    relative_uncertainty: float
    """One standard deviation."""
    unit: Literal["m^-3", "mL^-1"]
    """Unit of the concentration."""


@dataclass(frozen=True)
class Losses:
    """What a count misses."""

    efficiency: DetectionEfficiency | None = None
    """None: not measured, taken as 1."""
    overlap: Overlap = field(default_factory=Overlap)
    """Particles that hide behind others."""


def detection_records(
    origin: Origin, hologram: Hologram, analysis: FrameAnalysis, first_seq: int, interval_id: str
) -> list[Detection]:
    """One record a particle, numbered from `first_seq`."""
    records: list[Detection] = []
    rows = zip(analysis.particles, analysis.classifications, analysis.consistencies, strict=True)
    for k, (particle, name, consistency) in enumerate(rows):
        seq = first_seq + k
        at_edge, inconsistent = (
            bool(particle.features.get("touches_edge", 0.0)),
            consistency.flag in (QARTOD_SUSPECT, QARTOD_FAIL),
        )
        suspect = at_edge or inconsistent or origin.mixed or name.label == "unknown"
        # What was promised and not done can't pass.
        untold = name.owed or analysis.unchecked
        records.append(
            Detection(
                device_id=origin.device_id,
                spool_id=origin.spool_id,
                seq=seq,
                simulated=origin.simulated,
                id=record_ulid(hologram.captured_at, origin.device_id, origin.spool_id, seq),
                interval_id=interval_id,
                captured_at=iso_time(hologram.captured_at),
                clock=ClockRecord.of(hologram.clock),
                frame=hologram.index,
                x_um=round(particle.x_um, 3),
                y_um=round(particle.y_um, 3),
                z_um=round(particle.z_um, 2),
                z_uncertainty_um=round(particle.z_uncertainty_um, 2),
                bbox_px=particle.bbox_px,
                esd_um=round(particle.esd_um, 3),
                esd_uncertainty_um=round(particle.esd_uncertainty_um, 3),
                features=particle.features,
                label=name.label,
                score=None if name.score is None else round(name.score, 5),
                probabilities=name.probabilities,
                prediction_set=name.prediction_set,
                unnamed=name.unnamed,
                consistency=consistency,
                models=origin.models,
                calibration_id=origin.calibration_id,
                config_hash=origin.config_hash,
                pipeline_id=origin.pipeline_id,
                qc=QARTOD_SUSPECT if suspect else QARTOD_NOT_EVALUATED if untold else QARTOD_PASS,
            )
        )
    return records


def interval_record(
    origin: Origin,
    *,
    seq: int,
    interval_id: str,
    span: tuple[datetime, datetime],
    clock: Clock,
    frames: FrameCounts,
    labels: Sequence[str],
    sizes_um: Sequence[float] = (),
    volume: Volume | None = None,
    losses: Losses | None = None,
    dead_time_s: float = 0.0,
    unexplained: int = 0,
    suspect: bool = False,
    names_owed: bool = False,
    aggregation: Aggregation | None = None,
    dose: DoseEstimate | None = None,
) -> Interval:
    """What was looked at and what was seen; zeros included.

    `sizes_um` of the particles, one a label, are needed where `losses` depend on them. `unexplained` regions with fringes that no detection accounts for make the counts suspect where they are more than a
    share of them; `suspect` says that something else speaks against them; `names_owed` that a classifier was
    configured and did not speak.
    """
    counts = count_labels(labels, origin.labels)
    losses = losses or Losses()
    concentrations: dict[str, Concentration] = {}
    efficiencies: dict[str, Efficiency] = {}
    if volume is not None and frames.analysed > 0:
        concentrations, efficiencies = _concentrations(counts, labels, sizes_um, volume, losses)
    in_air = volume is not None and volume.unit == "m^-3"
    searched = frames.analysed > 0 and frames.dropped == 0 and not losses.overlap.crowded and not (suspect or origin.mixed)
    passes = searched and unexplained <= _MISSED_SHARE * len(labels)
    untold = names_owed or frames.unchecked > 0
    return Interval(
        device_id=origin.device_id,
        spool_id=origin.spool_id,
        seq=seq,
        simulated=origin.simulated,
        id=interval_id,
        started_at=iso_time(span[0]),
        ended_at=iso_time(span[1]),
        clock=ClockRecord.of(clock),
        mode=origin.mode,
        volume_m3=volume.value if volume is not None and in_air else None,
        volume_ml=volume.value if volume is not None and not in_air else None,
        volume_uncertainty=volume.value * volume.relative_uncertainty if volume is not None else None,
        dead_time_s=round(dead_time_s, 3),
        frames=frames,
        counts=counts,
        concentration=concentrations,
        detection_efficiency=efficiencies,
        aggregation=aggregation,
        dose=dose,
        calibration_id=origin.calibration_id,
        config_hash=origin.config_hash,
        pipeline_id=origin.pipeline_id,
        qc=QARTOD_SUSPECT if not passes else QARTOD_NOT_EVALUATED if untold else QARTOD_PASS,
    )


def _counts_as(name: str, label: str) -> bool:
    return name == label or (label == "total" and name not in ARTEFACTS)


def _concentrations(
    counts: dict[str, Count], labels: Sequence[str], sizes_um: Sequence[float], volume: Volume, losses: Losses
) -> tuple[dict[str, Concentration], dict[str, Efficiency]]:
    """Concentration by label, and the efficiency that is in it where one was measured."""
    found: dict[str, Concentration] = {}
    efficiencies: dict[str, Efficiency] = {}
    for label, count in counts.items():
        recovered = Recovered.of_perfect(count.n)
        if losses.efficiency is not None:
            named = zip(labels, sizes_um, strict=True)
            recovered = losses.efficiency.recovered([size for name, size in named if _counts_as(name, label)])
            efficiencies[label] = losses.efficiency.applied(count.n, recovered)
        found[label] = concentration(
            count, volume.value, volume.relative_uncertainty, volume.unit, recovered=recovered, overlap=losses.overlap
        )
    return found, efficiencies
