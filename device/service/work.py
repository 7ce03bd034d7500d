"""What can change while the service runs: settings and models, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from device.analysis.pipeline import Pipeline
from device.analysis.report import RecordProvenance
from device.calibration import Calibrations
from device.config import Config, config_hash
from device.parts import parts_of
from device.rig.models import build_pipeline, model_store

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """A configuration ready to sample by."""

    config: Config
    pipeline: Pipeline
    origin: RecordProvenance

    @classmethod
    def of(cls, config: Config, calibrated: Calibrations, spool_id: str) -> Work:
        """With models opened and verified; HolonodeError where they can't be used."""
        instrument, parts = calibrated.instrument, parts_of(config)
        pipeline, labels = build_pipeline(model_store(config), config.analysis, instrument.geometry, instrument=instrument)
        origin = RecordProvenance(
            config.device.id,
            spool_id,
            config_hash(config),
            pipeline.id,
            pipeline.models,
            config.sampling.mode,
            calibrated.id,
            labels,
            simulated=parts.simulated,
            mixed=parts.mixed,
        )
        return cls(config, pipeline, origin)

    def with_config(self, config: Config, calibrated: Calibrations) -> Work:
        """The same models where the analysis stays as it is."""
        if config.analysis != self.config.analysis:
            return Work.of(config, calibrated, self.origin.spool_id)
        return Work(config, self.pipeline, replace(self.origin, config_hash=config_hash(config)))
