"""The impactor's intervals: what changed on the window, and how much air it took."""

from __future__ import annotations

import math

import numpy as np

from device.analysis.efficiency import DetectionEfficiency
from device.analysis.overlap import overlap_of
from device.analysis.pipeline import FrameAnalysis, Pipeline
from device.analysis.report import Losses, Volume
from device.instrument import Instrument
from device.records import FrameCounts
from device.sampling.findings import Findings, chosen
from device.sampling.holograms import divided
from device.sampling.impactor import Impactor, Sample

__all__ = ["ImpactorMode"]


class ImpactorMode:
    """Samples, analysed."""

    def __init__(
        self, impactor: Impactor, pipeline: Pipeline, instrument: Instrument, efficiency: DetectionEfficiency | None
    ) -> None:
        self._impactor, self._pipeline, self._instrument, self._efficiency = impactor, pipeline, instrument, efficiency

    def take(self) -> Findings | None:
        """See `findings.Mode`."""
        sample = self._impactor.take()
        return None if sample is None else self._found(sample)

    def _found(self, sample: Sample) -> Findings:
        hologram = divided(self._instrument, sample.after, sample.before.pixels.astype(np.float32))
        analysis = self._pipeline.analyse(hologram)
        fluidics = self._instrument.fluidics
        volume_m3 = sample.volume_ml * 1e-6 * fluidics.collection_fraction
        return Findings(
            frames=(chosen(hologram, analysis, range(len(analysis.particles))),),
            taken=FrameCounts(captured=1, analysed=int(analysis.analysed), dropped=int(not analysis.analysed)),
            volume=Volume(volume_m3, fluidics.flow_relative_uncertainty, "m^-3"),
            losses=Losses(self._efficiency, overlap_of(*self._crowding(analysis))),
            sampled=f"{sample.volume_ml / 1000:.2f} L of air",
            dead_time_s=sample.dead_time_s,
            unexplained=analysis.unexplained,
        )

    def _crowding(self, analysis: FrameAnalysis) -> tuple[float, float, float]:
        """Particles in the field, the distance at which two are one, the field's area in um2."""
        sensor, pitch_um = self._instrument.sensor, self._instrument.geometry.object_pitch_um
        squares = [p.esd_um**2 for p in analysis.particles]
        separation_um = math.sqrt(sum(squares) / len(squares)) if squares else 0.0
        return float(len(squares)), separation_um, sensor.width_px * sensor.height_px * pitch_um**2
