"""The impactor's intervals: what changed on the window, and how much air it took."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from device.analysis.efficiency import DetectionEfficiency
from device.analysis.overlap import Overlap, overlap_of
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.report import Losses, SampledVolume
from device.config import SamplingConfig
from device.instrument import Instrument
from device.sampling.findings import Backdrop, Findings, SamplingEvent, chosen
from device.sampling.holograms import difference
from device.sampling.impactor.sampler import Impactor, ImpactorSample
from device.sampling.impactor.window import BLUR_UM, Window, window_from_state

__all__ = ["MARKER", "STATE_KEY", "ImpactorMode"]

STATE_KEY = "impactor_window"
MARKER = "window-changed"
"""File in the store folder by which a person says that there is a clean window."""

_FILLING = 0.8
"""From this share of what may be covered on a person is told."""


class ImpactorMode:
    """Samples, analysed; what lies on the window is kept in the store and found there again after a power loss."""

    under_way = False

    def __init__(
        self,
        impactor: Impactor,
        pipeline: Pipeline,
        instrument: Instrument,
        settings: SamplingConfig,
        efficiency: DetectionEfficiency | None,
        *,
        state: str | None,
        keep: Callable[[Mapping[str, str]], None],
        marker: Path,
    ) -> None:
        self._impactor, self._pipeline, self._instrument = impactor, pipeline, instrument
        self._settings, self._efficiency, self._keep, self._marker = settings, efficiency, keep, marker
        self.window = window_from_state(state)
        self._impactor.on_window = self.window.samples
        self._impactor.full = self._is_full()

    def take(self) -> Findings | None:
        """See `findings.Mode`."""
        self._look_for_marker()
        self._keep({STATE_KEY: msgspec.structs.replace(self.window, under_way=True).to_state()})
        sample = self._impactor.take()
        if sample is None:
            return None
        if self._impactor.on_window == 1:
            self.window = Window()
        return self._found(sample)

    def _look_for_marker(self) -> None:
        if self._marker.exists():
            self._impactor.renewed()
            self.window = Window()
            self._marker.unlink()

    def _found(self, sample: ImpactorSample) -> Findings:
        hologram = difference(self._instrument, sample.after, sample.before)
        analysis = self._pipeline.analyse(hologram)
        fluidics = self._instrument.fluidics
        volume_m3 = sample.volume_ml * 1e-6 * fluidics.collection_fraction
        overlap = self._overlap(analysis)
        self.window = self.window.with_sample([p.esd_um for p in analysis.particles])
        self._impactor.full = self._is_full()
        notices = self._notices()
        return Findings(
            frames=(chosen(hologram, analysis, range(len(analysis.particles))),),
            taken=analysis.counts,
            volume=SampledVolume(volume_m3, fluidics.flow_relative_uncertainty, "m^-3"),
            losses=Losses(self._efficiency, overlap),
            sampled=f"{sample.volume_ml / 1000:.2f} L of air",
            dead_time_s=sample.dead_time_s,
            unexplained=analysis.unexplained,
            suspect=self._impactor.full and self._settings.window_change == "person",
            notices=notices,
            background=Backdrop(sample.before.pixels, sample.before.bit_depth, clean=self.window.samples == 1),
            state={STATE_KEY: self.window.to_state()},
        )

    @property
    def _field_um2(self) -> float:
        sensor = self._instrument.sensor
        return sensor.width_px * sensor.height_px * self._instrument.geometry.object_pitch_um**2

    def _overlap(self, analysis: FrameAnalysis) -> Overlap:
        """Particles that fell on each other, or on what lay there before them."""
        sizes_um = [p.esd_um for p in analysis.particles]
        if not sizes_um:
            return Overlap().among(self.window.covered_share(self._field_um2))
        separation_um = math.sqrt(sum(d * d for d in sizes_um) / len(sizes_um)) + BLUR_UM
        covered = self.window.covered_share(self._field_um2, sum(sizes_um) / len(sizes_um))
        return overlap_of(float(len(sizes_um)), separation_um, self._field_um2).among(covered)

    def _is_full(self) -> bool:
        up = self.window.samples >= self._settings.window_intervals
        return up or self.window.covered_share(self._field_um2) > self._settings.window_most_hidden

    def _notices(self) -> tuple[SamplingEvent, ...]:
        """What a person is told of the window, once each."""
        covered, most = self.window.covered_share(self._field_um2), self._settings.window_most_hidden
        told = "full" if self._impactor.full else "filling" if covered > _FILLING * most else ""
        if self._settings.window_change == "automatic" or told in ("", self.window.told):
            return ()
        self.window = msgspec.structs.replace(self.window, told=told)
        on_it = f"{self.window.particles:.0f} particles of {self.window.samples} samples lie on the window, {covered:.0%} of what lands falls on them"
        if told == "full":
            message = f"change the window: {on_it}. Put in a clean one, then run `holonode window changed`"
            return (SamplingEvent("window_full", "alarm", message, covered, "of what lands"),)
        left = self.window.samples_left(self._field_um2, most)
        message = f"the window is filling: {on_it}; it is full in about {max(left, 1):.0f} samples"
        return (SamplingEvent("window_filling", "warning", message, left, "samples"),)
