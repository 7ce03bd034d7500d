"""From analyses to records: what every detection and interval says of its origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from device.analysis.count import ARTEFACTS, concentration, count_labels, surely_above, surely_more
from device.analysis.efficiency import DetectionEfficiency, Recovered
from device.analysis.overlap import Overlap
from device.analysis.pipeline import FrameAnalysis
from device.analysis.scene import KINDS, FieldScene
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
    Particle,
    Qartod,
    SceneRecord,
    iso_time,
)

__all__ = ["Losses", "RecordProvenance", "SampledVolume", "detection_records", "interval_record"]

_MISSED_SHARE = 0.2
"""Unexplained regions a particle that was seen. One in a hundred particles that are right has one; grains too small to be found make
others: one for fourteen beads of the twin's assay, up to one for four particles in an interval of its lake water."""

_INCONSISTENT_SHARE = 0.25
"""Of the detections that were checked: more that fail, and the count itself is off."""

_FLAGGED_SHARE = 0.5
"""The same of those that are suspect or fail: the guard asks more of a particle than that it be there."""

_MOST_REASONS, _MOST_OF_FRAMES = 64, 5

_FRAMES_SHARE = 0.1
"""Of the frames: more of them with something that speaks against their counts, and it speaks against the interval's."""


@dataclass(frozen=True)
class RecordProvenance:
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
    names_owed: bool = False
    """Whether a classifier is configured and does not speak."""


@dataclass(frozen=True)
class SampledVolume:
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
    origin: RecordProvenance, hologram: Hologram, analysis: FrameAnalysis, first_seq: int, interval_id: str
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
        failed = analysis.scene is not None and analysis.scene.fails
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
                models=analysis.models or origin.models,
                calibration_id=origin.calibration_id,
                config_hash=origin.config_hash,
                pipeline_id=origin.pipeline_id,
                qc=_flag(failed=failed, suspect=suspect, untold=untold),
                confidence=_confidence(particle, analysis.scene),
            )
        )
    return records


def _flag(*, failed: bool, suspect: bool, untold: bool) -> Qartod:
    if failed:
        return QARTOD_FAIL
    return QARTOD_SUSPECT if suspect else QARTOD_NOT_EVALUATED if untold else QARTOD_PASS


def _confidence(particle: Particle, scene: FieldScene | None) -> float | None:
    x, y, width, height = particle.bbox_px
    share = scene.at(x + width / 2, y + height / 2) if scene else None
    return None if share is None else round(share, 4)


def interval_record(
    origin: RecordProvenance,
    *,
    seq: int,
    interval_id: str,
    span: tuple[datetime, datetime],
    clock: Clock,
    frames: FrameCounts,
    labels: Sequence[str],
    sizes_um: Sequence[float] = (),
    volume: SampledVolume | None = None,
    losses: Losses | None = None,
    dead_time_s: float = 0.0,
    unexplained: int = 0,
    seen: int | None = None,
    suspect: bool = False,
    names_owed: bool = False,
    aggregation: Aggregation | None = None,
    dose: DoseEstimate | None = None,
    scenes: Sequence[FieldScene] = (),
    flags: Sequence[Qartod] = (),
) -> Interval:
    """What was looked at and what was seen; zeros included.

    `sizes_um` of the particles, one a label, are needed where `losses` depend on them. What makes the counts suspect, each in
    words: `unexplained` regions with fringes that no detection accounts for and detections' `flags` of consistency where they
    are surely more than a share of the particles (`seen`, where they are seen more often than they count); `scenes` of the frames; `suspect`, something else that speaks against
    them. `names_owed`: a classifier was configured and did not speak.
    """
    counts = count_labels(labels, origin.labels)
    losses = losses or Losses()
    concentrations: dict[str, Concentration] = {}
    efficiencies: dict[str, Efficiency] = {}
    if volume is not None and frames.analysed > 0:
        concentrations, efficiencies = _concentrations(counts, labels, sizes_um, volume, losses)
    in_air = volume is not None and volume.unit == "m^-3"
    speaks = [
        *_of_frames(frames, losses, suspect=suspect, mixed=origin.mixed),
        *_of_detections(len(labels) if seen is None else seen, unexplained, flags),
    ]
    failed = sum(scene.fails for scene in scenes) > len(scenes) / 2
    speaks += _of_scenes(scenes)
    untold = _untold(frames, names_owed=names_owed or origin.names_owed)
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
        qc=_flag(failed=failed, suspect=bool(speaks), untold=bool(untold)),
        scene=_scene_record(scenes),
        reasons=tuple([*speaks, *untold][:_MOST_REASONS]),
    )


def _of_frames(frames: FrameCounts, losses: Losses, *, suspect: bool, mixed: bool) -> list[str]:
    """What speaks against counts before anything was found, in words."""
    said = {
        "no frame could be searched": frames.analysed == 0,
        f"{frames.dropped} of {frames.captured} frames were not searched": frames.dropped > 0,
        "more particles lie behind others than can be corrected for": losses.overlap.crowded,
        "the way it was sampled speaks against the counts: the events say how": suspect,
        "simulated parts stand beside real ones": mixed,
    }
    return [reason for reason, holds in said.items() if holds]


def _of_detections(seen: int, unexplained: int, flags: Sequence[Qartod]) -> list[str]:
    """What speaks against counts in how the particles explain the holograms, in words."""
    reasons: list[str] = []
    if surely_more(unexplained, _MISSED_SHARE * seen):
        reasons.append(f"fringes in {unexplained} regions that no particle accounts for, beside {seen} particles")
    checked = [flag for flag in flags if flag != QARTOD_NOT_EVALUATED]
    failed = checked.count(QARTOD_FAIL)
    if surely_above(failed, len(checked), _INCONSISTENT_SHARE):
        reasons.append(f"{failed} of {len(checked)} particles contradict the hologram")
    flagged = failed + checked.count(QARTOD_SUSPECT)
    if surely_above(flagged, len(checked), _FLAGGED_SHARE):
        reasons.append(f"{flagged} of {len(checked)} particles don't explain the hologram well")
    return reasons


def _of_scenes(scenes: Sequence[FieldScene]) -> list[str]:
    """What speaks against counts in what the frames hold, in words; not that of a few frames of many."""
    doubted = [scene for scene in scenes if scene.verdicts]
    if len(doubted) <= _FRAMES_SHARE * len(scenes):
        return []
    told = Counter(verdict.reason for scene in doubted for verdict in scene.verdicts)
    if len(scenes) == 1:
        return list(told)
    return [f"{len(doubted)} of {len(scenes)} frames: {reason}" for reason, _ in told.most_common(_MOST_OF_FRAMES)]


def _untold(frames: FrameCounts, *, names_owed: bool) -> list[str]:
    """What was promised and not done, in words."""
    said = {
        "a classifier was configured and did not speak": names_owed,
        f"{frames.unchecked} frames held more particles than are checked": frames.unchecked > 0,
    }
    return [reason for reason, holds in said.items() if holds]


def _scene_record(scenes: Sequence[FieldScene]) -> SceneRecord | None:
    if not scenes:
        return None
    shares = [scene.shares for scene in scenes]
    tiles = {kind: round(sum(share[kind] for share in shares) / len(shares), 4) for kind in KINDS}
    explained = [scene.explained for scene in scenes if scene.explained is not None]
    return SceneRecord(tiles=tiles, explained=round(min(explained), 4) if explained else None)


def _counts_as(name: str, label: str) -> bool:
    return name == label or (label == "total" and name not in ARTEFACTS)


def _concentrations(
    counts: dict[str, Count], labels: Sequence[str], sizes_um: Sequence[float], volume: SampledVolume, losses: Losses
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
