"""The flow cytometer's intervals: every particle of a burst counted once, in the volume that was looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from device.analysis.background import median_background
from device.analysis.bubbles import BUBBLE, is_bubble
from device.analysis.efficiency import DetectionEfficiency
from device.analysis.fragments import reunited
from device.analysis.overlap import Overlap, overlap_of
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.report import Losses, SampledVolume
from device.analysis.tracking import CountingFrame, Tracker, TrackerSettings
from device.duct_flow import Duct, duct_of
from device.frames import Hologram
from device.instrument import Instrument
from device.records import Classification, FrameCounts, Particle
from device.sampling.findings import Backdrop, Findings, LookedAt, SamplingEvent, chosen
from device.sampling.flow.burst import Burst, Flow
from device.sampling.holograms import divided

__all__ = ["FlowMode", "view_of"]

_BORDER_PX = 20
"""Particles whose centre is nearer to the border are left to the field beyond: they may be cut."""
_SECTION_UNCERTAINTY = 0.005
"""Of the channel's section, relative, one standard deviation: as `holonode-calibrate flow` takes it."""
_CROWDING_PX = 12.0
"""Beyond their diameters, how far particles must lie apart for both to be found: the fringes of neighbours raise the threshold.
Measured on the twin, life and flakes of lake water at 10,000 per mL: 6.4 +- 1.2 % are lost there (seeds of the count calibration of
`python -m tests.benchmarks.counting_end_to_end`, not those that it scores)."""
_FOLLOWED = 8
"""So many particles seen twice tell the flow."""
_FLOW_OFF = 0.15
"""Relative difference of the flow from the pump's word that a person should know of."""
_COMPARED = 30
"""So many counts are compared with what the frames show at once."""


def view_of(instrument: Instrument, duct: Duct) -> CountingFrame:
    """Where particles count: the field without its border."""
    pitch_um, sensor = instrument.geometry.object_pitch_um, instrument.sensor
    border_um = _BORDER_PX * pitch_um
    far_x_um, far_y_um = ((n - 1 - _BORDER_PX) * pitch_um for n in (sensor.width_px, sensor.height_px))
    middle_um = (sensor.height_px - 1) / 2 * pitch_um
    half_um = duct.width_um / 2
    y_um = (max(border_um, middle_um - half_um), min(far_y_um, middle_um + half_um))
    return CountingFrame((border_um, far_x_um), y_um, (middle_um, instrument.geometry.distance_um))


@dataclass
class _Sums:
    """What a burst adds up to."""

    frames: list[LookedAt] = field(default_factory=list)
    in_view: int = 0
    """Particles in view over all frames, known ones included."""
    squares_um2: float = 0.0
    """Of their diameters."""
    counted: int = 0
    swept_ml: float = 0.0
    """Volume that was looked at for the first time."""
    swept_spread_ml: float = 0.0
    """How much it changes with one standard deviation of the flow."""
    through_ml: float = 0.0
    """Volume that went through the view between frames of this burst."""
    seen_ml: float = 0.0
    """Of that, what some frame showed."""
    unexplained: int = 0
    seen: int = 0
    """Particles of all frames, as often as they were seen."""
    unchecked: int = 0


class FlowMode:
    """Bursts, analysed."""

    under_way = False

    def __init__(self, flow: Flow, pipeline: Pipeline, instrument: Instrument, efficiency: DetectionEfficiency | None) -> None:
        self._flow, self._pipeline, self._instrument, self._efficiency = flow, pipeline, instrument, efficiency
        self._duct = duct_of(instrument)
        self._view = view_of(instrument, self._duct)
        settings = TrackerSettings(
            place_um=1.5 * instrument.geometry.object_pitch_um,
            flow_relative_uncertainty=instrument.fluidics.flow_relative_uncertainty,
        )
        self._tracker = Tracker(self._duct, self._view, settings)

    def take(self) -> Findings | None:
        """See `findings.Mode`."""
        burst = self._flow.take()
        return None if burst is None else self._found(burst)

    def _found(self, burst: Burst) -> Findings:
        background = median_background([frame.pixels.astype(np.float32) for frame in burst.frames])
        sums, waiting_ml, fresh = _Sums(), 0.0, not burst.follows
        self._tracker.speed_ratios.clear()
        if fresh:
            self._tracker.forget()
        for k, (frame, moved_ml) in enumerate(zip(burst.frames, burst.moved_ml, strict=True)):
            waiting_ml += moved_ml
            hologram = divided(self._instrument, frame, background)
            analysis = reunited(self._pipeline.analyse(hologram), hologram.geometry)
            if not analysis.analysed:
                continue
            self._add(sums, hologram, analysis, waiting_ml, fresh=fresh, within=k > 0)
            waiting_ml, fresh = 0.0, False
        notices = [*self._flow_notice(), *self._count_notice(sums)]
        analysed = len(sums.frames)
        return Findings(
            frames=tuple(sums.frames),
            taken=FrameCounts(
                captured=len(burst.frames), analysed=analysed, dropped=len(burst.frames) - analysed, unchecked=sums.unchecked
            ),
            volume=self._volume(sums),
            losses=Losses(self._efficiency, self._overlap(sums)),
            sampled=f"{sums.swept_ml * 1000:.1f} uL in {analysed} frames",
            dead_time_s=self._dead_time_s(burst, sums),
            unexplained=sums.unexplained,
            seen=sums.seen,
            suspect=bool(notices),
            notices=tuple(notices),
            background=Backdrop(background, burst.frames[0].bit_depth, clean=True),
        )

    def _add(
        self, sums: _Sums, hologram: Hologram, analysis: FrameAnalysis, moved_ml: float, *, fresh: bool, within: bool
    ) -> None:
        """A frame's new particles and new volume."""
        inside = [k for k, particle in enumerate(analysis.particles) if self._view.holds(particle)]
        particles = [analysis.particles[k] for k in inside]
        new = self._tracker.look(particles, moved_ml)
        view = self._view
        if fresh:
            sums.swept_ml += view.area_um2 * self._duct.height_um * 1e-12
        else:
            share = self._instrument.fluidics.flow_relative_uncertainty
            less, swept_ml, more = (
                self._duct.swept_ml(moved_ml * factor, view.length_um, view.across_um) for factor in (1 - share, 1.0, 1 + share)
            )
            sums.swept_ml += swept_ml
            sums.swept_spread_ml += (more - less) / 2
            if within:
                sums.seen_ml += swept_ml
                sums.through_ml += self._duct.swept_ml(moved_ml, math.inf, view.across_um)
        sums.in_view += len(particles)
        sums.squares_um2 += sum(p.esd_um**2 for p in particles)
        sums.counted += int(new.sum())
        sums.unexplained += analysis.unexplained
        sums.seen += len(analysis.particles)
        sums.unchecked += analysis.unchecked
        named = self._named(hologram, analysis, inside)
        sums.frames.append(chosen(hologram, named, [k for k, is_new in zip(inside, new.tolist(), strict=True) if is_new]))

    def _named(self, hologram: Hologram, analysis: FrameAnalysis, inside: Sequence[int]) -> FrameAnalysis:
        """With the bubbles named."""
        if analysis.reconstruction is None:
            return analysis
        names = list(analysis.classifications)
        for k in inside:
            particle: Particle = analysis.particles[k]
            if is_bubble(particle, analysis.reconstruction.field, hologram.geometry):
                names[k] = Classification(BUBBLE, 1.0, {BUBBLE: 1.0}, (BUBBLE,))
        return replace(analysis, classifications=tuple(names))

    def _volume(self, sums: _Sums) -> SampledVolume:
        """What was looked at; the first view knows no flow, layers that crossed it whole don't depend on it."""
        pitch = self._instrument.sensor.pitch_uncertainty_um / self._instrument.sensor.pitch_um
        relative = sums.swept_spread_ml / sums.swept_ml if sums.swept_ml else 0.0
        return SampledVolume(sums.swept_ml, math.hypot(relative, 2 * pitch, _SECTION_UNCERTAINTY), "mL^-1")

    def _overlap(self, sums: _Sums) -> Overlap:
        if not sums.in_view:
            return Overlap()
        separation_um = math.sqrt(sums.squares_um2 / sums.in_view) + _CROWDING_PX * self._instrument.geometry.object_pitch_um
        return overlap_of(sums.in_view / len(sums.frames), separation_um, self._view.area_um2)

    def _dead_time_s(self, burst: Burst, sums: _Sums) -> float:
        """Time between bursts, and the share of the burst in which layers passed between two frames."""
        unseen = 1 - sums.seen_ml / sums.through_ml if sums.through_ml > 0 else 1.0
        return burst.elapsed_s - burst.looked_s + burst.looked_s * max(unseen, 0.0)

    def _flow_notice(self) -> list[SamplingEvent]:
        """Whether particles go as fast as the pump says."""
        ratios = np.array(self._tracker.speed_ratios)
        if len(ratios) < _FOLLOWED:
            return []
        middle = float(np.median(ratios))
        spread = 1.4826 * float(np.median(np.abs(ratios - middle))) / math.sqrt(len(ratios))
        if abs(middle - 1) <= max(_FLOW_OFF, 4 * spread):
            return []
        message = (
            f"particles go {middle:.2f} times as fast as the pump says ({len(ratios)} followed): check pump, tubing and channel, "
            "then run `holonode-calibrate flow`"
        )
        return [SamplingEvent("flow_differs", "warning", message, middle, "of the pump's flow")]

    def _count_notice(self, sums: _Sums) -> list[SamplingEvent]:
        """Whether counting each particle once and counting what all frames show at once give one concentration."""
        if sums.counted < _COMPARED:
            return []
        at_once_per_ml = sums.in_view / (len(sums.frames) * self._view.area_um2 * self._duct.height_um * 1e-12)
        ratio = sums.counted / sums.swept_ml / at_once_per_ml
        if 2 / 3 < ratio < 3 / 2:
            return []
        message = (
            f"counting every particle once gives {ratio:.2f} times the concentration that the frames show at once: particles "
            "were counted twice, or taken for others; check the flow and the depth of the channel"
        )
        return [SamplingEvent("counts_disagree", "warning", message, ratio, "of the concentration at once")]
