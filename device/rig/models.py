"""The models of a box, and the pipeline that they make."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from device.analysis.pipeline import UNCLASSIFIED, Pipeline, PipelineSettings
from device.analysis.verify import VerifySettings
from device.config import AnalysisConfig, Config
from device.inference.coverage import not_covered, open_for
from device.inference.networks import ClassifierNetwork, HidefNetwork
from device.inference.store import ModelStore
from device.instrument import Instrument
from device.optics.geometry import Geometry
from device.records import Models, ModelUse

__all__ = ["ARTEFACTS", "build_pipeline", "model_store"]

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
) -> tuple[Pipeline, tuple[str, ...]]:
    """The pipeline for a recording geometry, and the classes it can name.

    A reconstruction model whose optics don't cover the geometry is refused. A classifier that doesn't is refused where
    `strict`, else left out: everything is then a 'particle' without a score, and every record says why. The guard tolerates
    what the `instrument`'s calibration may be off by.
    """
    network: HidefNetwork | None = None
    classifier: ClassifierNetwork | None = None
    unclassified = UNCLASSIFIED
    uses: dict[str, ModelUse] = {}
    if settings.reconstruction == "hidef":
        bundle, interpreter = open_for(store, settings.reconstruction_model, "reconstruction")
        refusal = bundle.manifest.refusal(geometry)
        if refusal:
            raise not_covered(store, bundle, geometry, refusal)
        network = HidefNetwork(interpreter, bundle.manifest)
        uses["reconstruction"] = bundle.use
    if settings.classifier:
        bundle, interpreter = open_for(store, settings.classifier, "classification")
        refusal = bundle.manifest.refusal(geometry)
        if refusal is None:
            classifier = ClassifierNetwork(interpreter, bundle.manifest)
            uses["classifier"] = bundle.use
        elif strict:
            raise not_covered(store, bundle, geometry, refusal)
        else:
            reason = f"the classifier {bundle.model.stem} doesn't cover this recording: {refusal}"
            unclassified = replace(UNCLASSIFIED, unnamed=reason, owed=True)
    chosen = PipelineSettings(
        settings.min_esd_um,
        settings.max_esd_um,
        settings.reject_below,
        settings.refine_iterations,
        settings.refine_most_particles,
        depth_half_range_um=_depth_half_range_um(instrument) if instrument else 0.0,
        verification=VerifySettings(distance_uncertainty_um=_depth_uncertainty_um(instrument) if instrument else None),
    )
    labels = classifier.manifest.labels if classifier else ("particle",)
    ring_gain = network.ring_gain if network else None
    return Pipeline(chosen, network, classifier, Models(**uses), unclassified, ring_gain), labels


def _depth_half_range_um(instrument: Instrument) -> float:
    """By which particles may lie before and behind the stated distance."""
    return max(instrument.optics.depth_um, instrument.fluidics.channel_height_um / 2)


def _depth_uncertainty_um(instrument: Instrument) -> float:
    """Of a particle's distance by calibration: a hologram holds wavelength * distance / pitch^2 only."""
    wavelength = instrument.lamp.wavelength_uncertainty_um / instrument.lamp.wavelength_um
    pitch = instrument.sensor.pitch_uncertainty_um / instrument.sensor.pitch_um
    scale_um = instrument.optics.distance_um * math.hypot(wavelength, 2 * pitch)
    return math.hypot(instrument.optics.distance_uncertainty_um, scale_um)
