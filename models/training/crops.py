"""Labelled crops of simulated frames, cut as the box cuts them.

A frame goes through the pipeline itself with the shipped HIDEF file; a particle that it finds takes the name of what is
there. The same is done with the true field in place of the reconstruction: the ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import CROP_CHANNELS, CROP_PX, classifier_crops
from device.analysis.depth import nominal_depth
from device.analysis.measure import measure
from device.analysis.pipeline import Pipeline, PipelineSettings
from device.analysis.segment import segment
from device.config import AnalysisConfig
from device.frames import Hologram
from device.inference.networks import HidefNetwork
from device.inference.store import ModelStore
from device.optics.geometry import Geometry
from device.records import Particle
from models.training.frames import Frame

__all__ = ["Crops", "box_pipeline", "box_settings", "seen_crops", "true_crops"]

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Crops:
    """Crops with what they truly are."""

    images: NDArray[np.float16]
    """float16 [n, CROP_PX, CROP_PX, channels]."""
    names: NDArray[np.str_]
    """Text [n]: the morphology."""
    frames: NDArray[np.int64]
    """int64 [n]: which frame each is from."""
    esd_um: NDArray[np.float32]
    """float32 [n]: true sizes."""

    def __len__(self) -> int:
        return len(self.names)

    def picked(self, which: NDArray[np.bool_]) -> Crops:
        """Those of a mask bool [n]."""
        return Crops(self.images[which], self.names[which], self.frames[which], self.esd_um[which])

    def save(self, path: Path) -> None:
        """Write an .npz file, all or nothing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, images=self.images, names=self.names, frames=self.frames, esd_um=self.esd_um)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Crops:
        """The inverse of `save`."""
        with np.load(path) as arrays:
            return cls(arrays["images"], arrays["names"], arrays["frames"], arrays["esd_um"])

    @classmethod
    def joined(cls, parts: Sequence[Crops]) -> Crops:
        """One after the other."""
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("images", "names", "frames", "esd_um")))


def box_pipeline(store: ModelStore) -> Pipeline:
    """What a box runs before it names particles, with the settings that it runs without a configuration."""
    bundle, interpreter = store.open("hidef")
    network = HidefNetwork(interpreter, bundle.manifest)
    return Pipeline(box_settings(), network, None, {"reconstruction": bundle.use}, ring_gain=network.ring_gain)


def box_settings() -> PipelineSettings:
    """What a box runs with without a configuration."""
    defaults = AnalysisConfig()
    return PipelineSettings(
        defaults.min_esd_um, defaults.max_esd_um, defaults.reject_below, defaults.refine_iterations,
        defaults.refine_most_particles,
    )  # fmt: skip


def seen_crops(frame: Frame, number: int, pipeline: Pipeline, geometry: Geometry) -> Crops:
    """Of the particles that the box finds in a frame, as it sees them."""
    analysis = pipeline.analyse(Hologram(frame.intensity, geometry.at(frame.believed_um), frame.noise, _EPOCH))
    field = frame.truth if analysis.reconstruction is None else analysis.reconstruction.field
    return _labelled(field, analysis.particles, frame, number, geometry)


def true_crops(frame: Frame, number: int, settings: PipelineSettings, geometry: Geometry) -> Crops:
    """Of the particles that segmentation finds in the true field."""
    nominal = nominal_depth(geometry)
    parts = [measure(frame.truth, part, nominal, geometry) for part in segment(frame.truth)]
    kept = [p for p in parts if settings.min_esd_um <= p.esd_um <= settings.max_esd_um]
    return _labelled(frame.truth, kept, frame, number, geometry)


def _labelled(field: NDArray[np.complex64], found: Sequence[Particle], frame: Frame, number: int, geometry: Geometry) -> Crops:
    """Crops of those found particles that are one of the frame's, each of which is found at most once."""
    pitch_um = geometry.object_pitch_um
    left = dict(enumerate(zip(frame.x_um, frame.y_um, frame.esd_um, strict=True)))
    images, whose = [], []
    for particle, crop in zip(found, classifier_crops(field, found, pitch_um), strict=True):
        near = {
            k: esd_um
            for k, (x_um, y_um, esd_um) in left.items()
            if np.hypot(x_um - particle.x_um, y_um - particle.y_um) < max(esd_um / 3, 3.0)
        }
        if near:
            # Of several in reach the one of the same size: a spore beside a grain is not the grain.
            best = min(near, key=lambda k: abs(np.log(near[k] / particle.esd_um)))
            del left[best]
            images.append(crop.image)
            whose.append(best)
    stacked = np.stack(images) if images else np.zeros((0, CROP_PX, CROP_PX, len(CROP_CHANNELS)))
    return Crops(
        stacked.astype(np.float16), np.array([frame.names[k] for k in whose], np.str_),
        np.full(len(whose), number, np.int64), frame.esd_um[whose].astype(np.float32),
    )  # fmt: skip
