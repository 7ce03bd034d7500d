"""The models of a box, and the pipeline that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from device.analysis.binning import binning_for, coarser
from device.analysis.depth import DepthSettings
from device.analysis.low_photon import LowPhotonModel
from device.analysis.pipeline import UNCLASSIFIED, Pipeline, PipelineSettings
from device.analysis.verify import VerifySettings
from device.config import AnalysisConfig, Config
from device.errors import CheckError
from device.inference.coverage import Opened, not_covered, open_for
from device.inference.networks import ClassifierNetwork, HidefNetwork
from device.inference.store import ModelStore
from device.inference.tasks.kinds import refuse_unknown_tasks, task_kind, task_kinds
from device.instrument import Instrument
from device.optics.geometry import Geometry

__all__ = ["ARTEFACTS", "build_pipeline", "model_store", "open_models"]

ARTEFACTS = Path(__file__).resolve().parents[2] / "models" / "artefacts"
"""Bundles shipped beside this package; read as files, never imported."""


def model_store(config: Config) -> ModelStore:
    """The shipped bundles, and those installed and activated on this box."""
    return ModelStore(ARTEFACTS, installed=Path(config.storage.folder).expanduser() / "models")


def build_pipeline(
    store: ModelStore,
    settings: AnalysisConfig,
    geometry: Geometry,
    *,
    strict: bool = True,
    instrument: Instrument | None = None,
    left_out: dict[str, str] | None = None,
) -> tuple[Pipeline, tuple[str, ...]]:
    """The pipeline for a recording geometry, and the classes it can name.

    Where the sensor samples more finely or coarsely than the reconstruction model covers, pixels are averaged or interpolated; one that covers the geometry
    in no way is refused. A classifier that doesn't is refused where
    `strict`, else left out: everything is then a 'particle' without a score, and every record says why. The guard tolerates
    what the `instrument`'s calibration may be off by.

    A model that fails its checks is an error, unless there is a `left_out` to tell of it, by role: without a reconstruction model
    there is plain back-propagation, and nothing is named without either.
    """
    binning = _binning(store, settings, geometry, tolerant=left_out is not None)
    opened = open_models(store, settings, coarser(geometry, binning), strict=strict, left_out=left_out)
    networks = {role: one.network for role, one in opened.items() if not one.refusal}
    low_photon = _low_photon(opened, networks.pop("low_photon", None))
    uses = {role: opened[role].bundle.use for role in networks}
    network: HidefNetwork | None = networks.pop("reconstruction", None)
    classifier: ClassifierNetwork | None = networks.pop("classifier", None)
    unclassified = UNCLASSIFIED
    if (uncovered := opened.get("classifier")) and uncovered.refusal:
        reason = f"the classifier {uncovered.bundle.model.stem} doesn't cover this recording: {uncovered.refusal}"
        unclassified = replace(UNCLASSIFIED, unnamed=reason, owed=True)
    elif missed := _missed(left_out):
        reason = f"nothing is named while a model is left out that failed its checks: {', '.join(missed)}"
        unclassified = replace(UNCLASSIFIED, unnamed=reason, owed=True)
    chosen = PipelineSettings(
        settings.min_esd_um,
        settings.max_esd_um,
        settings.reject_below,
        settings.refine_iterations,
        settings.refine_most_particles,
        depth_half_range_um=_depth_half_range_um(instrument) if instrument else 0.0,
        depth=network.depth_settings if network else DepthSettings(),
        verification=VerifySettings(distance_uncertainty_um=_depth_uncertainty_um(instrument) if instrument else None),
    )
    labels = classifier.manifest.labels if classifier else ("particle",)
    ring_gain = network.ring_gain if network else None
    return Pipeline(chosen, network, classifier, uses, unclassified, ring_gain, networks, binning, low_photon), labels


def _low_photon(opened: dict[str, Opened], network: Callable[[], HidefNetwork] | None) -> LowPhotonModel | None:
    """What frames of few photons are analysed by; None where nothing is chosen for them, or covers them."""
    if network is None:
        return None
    bundle = opened["low_photon"].bundle
    photons = bundle.manifest.optics.photons
    return LowPhotonModel(photons, bundle.use, network) if photons else None


def _binning(store: ModelStore, settings: AnalysisConfig, geometry: Geometry, *, tolerant: bool) -> float:
    """Side of the pixels that the reconstruction model covers, in the sensor's; 1 where none would do."""
    kind = task_kind("reconstruction")
    name = kind.chosen(settings)
    if not name:
        return 1
    try:
        manifest = store.find(name).manifest
    except CheckError:
        if tolerant:
            return 1
        raise
    return binning_for(geometry, lambda coarse: kind.refusal(manifest, coarse) is None) or 1


def open_models(
    store: ModelStore,
    settings: AnalysisConfig,
    geometry: Geometry,
    *,
    strict: bool = True,
    left_out: dict[str, str] | None = None,
) -> dict[str, Opened]:
    """The bundle of every task that a configuration chooses one for, by its role in the records, on a frame's way.

    InputError where one doesn't cover the geometry and `strict`, or nothing goes on without it; else it is left out. CheckError
    where one fails its checks, unless `left_out` takes the reason, by role.
    """
    refuse_unknown_tasks(settings)
    out: dict[str, Opened] = {}
    for kind in task_kinds().values():
        # What builds on a model that is left out has learnt from what that one makes.
        if (name := kind.chosen(settings)) and not _missed(left_out):
            try:
                one = open_for(store, name, kind, geometry)
            except CheckError as error:
                if left_out is None:
                    raise
                left_out[kind.role] = str(error)
                continue
            if one.refusal and not kind.deferred and (strict or kind.essential):
                raise not_covered(store, one.bundle, geometry, one.refusal)
            out[kind.role] = one
    return out


def _missed(left_out: dict[str, str] | None) -> list[str]:
    """Roles that are left out and that every frame would need."""
    waiting = {kind.role for kind in task_kinds().values() if kind.deferred}
    return [role for role in left_out or () if role not in waiting]


def _depth_half_range_um(instrument: Instrument) -> float:
    """By which particles may lie before and behind the stated distance."""
    return max(instrument.optics.depth_um, instrument.fluidics.channel_height_um / 2)


def _depth_uncertainty_um(instrument: Instrument) -> float:
    """Of a particle's distance by calibration: a hologram holds wavelength * distance / pitch^2 only."""
    wavelength = instrument.lamp.wavelength_uncertainty_um / instrument.lamp.wavelength_um
    pitch = instrument.sensor.pitch_uncertainty_um / instrument.sensor.pitch_um
    scale_um = instrument.optics.distance_um * math.hypot(wavelength, 2 * pitch)
    return math.hypot(instrument.optics.distance_uncertainty_um, scale_um)
