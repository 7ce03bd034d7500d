"""What can change while the service runs: settings and models, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from device.analysis.pipeline import Pipeline
from device.analysis.report import RecordProvenance
from device.calibration import Calibrations
from device.config import Config, config_hash
from device.inference.store import ModelStore
from device.inference.tasks.kinds import task_kinds
from device.parts import parts_of
from device.records import ModelUse
from device.rig.models import build_pipeline, model_store

__all__ = ["Work"]


def _passed_over(store: ModelStore, name: str, use: ModelUse) -> str:
    """Why the version that is active is not the one in use; empty where it is, or none is active."""
    active = store.activations().get(name, ())[-1:]
    return f"{active[0].version} doesn't pass its self-test here" if active and active[0].version != use.version else ""


@dataclass(frozen=True)
class Work:
    """A configuration ready to sample by."""

    config: Config
    pipeline: Pipeline
    origin: RecordProvenance
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    """Models that failed their checks, by role: why, and the work goes on without them."""

    @classmethod
    def of(cls, config: Config, calibrated: Calibrations, spool_id: str, *, tolerant: bool = False) -> Work:
        """With models opened and verified; HolonodeError where they can't be used.

        `tolerant`: one that fails its checks, and that no earlier version stands in for, is left out.
        """
        instrument, parts = calibrated.instrument, parts_of(config)
        left_out: dict[str, str] = {}
        pipeline, labels = build_pipeline(
            model_store(config), config.analysis, instrument.geometry, instrument=instrument,
            left_out=left_out if tolerant else None,
        )  # fmt: skip
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
            names_owed=pipeline.unclassified.owed,
        )
        return cls(config, pipeline, origin, left_out)

    def faults(self) -> list[str]:
        """What is wrong with models, each in words: left out, or passed over for the last good one."""
        store, faults = model_store(self.config), [f"{role} is left out: {why}" for role, why in self.left_out.items()]
        for kind in task_kinds().values():
            name, use = kind.chosen(self.config.analysis), self.pipeline.models.get(kind.role)
            if use is not None and (why := store.fault(name) or _passed_over(store, name, use)):
                faults.append(f"{name}: {use.version}, the last good version, is in use: {why}")
        return faults

    def with_config(self, config: Config, calibrated: Calibrations) -> Work:
        """The same models where the analysis stays as it is."""
        if config.analysis != self.config.analysis:
            return Work.of(config, calibrated, self.origin.spool_id)
        return replace(self, config=config, origin=replace(self.origin, config_hash=config_hash(config)))
