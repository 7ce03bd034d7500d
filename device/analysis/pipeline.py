"""The stages strung together: one hologram in, particles with names out."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from device import __version__
from device.analysis.crops import classifier_crop
from device.analysis.depth import Depth, DepthSettings, estimate_depth, nominal_depth
from device.analysis.locate import is_empty
from device.analysis.measure import measure
from device.analysis.obstruction import MOST_OBSTRUCTED, opaque_share
from device.analysis.reconstruct import FieldNetwork, Reconstruction, reconstruct
from device.analysis.refine import RefineSettings, refine
from device.analysis.segment import Segment, SegmentSettings, segment
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.records import Classification, Models, Particle

__all__ = ["FrameAnalysis", "Pipeline", "PipelineSettings"]

UNCLASSIFIED = Classification("particle", 1.0, {"particle": 1.0}, ("particle",))


class CropNetwork(Protocol):
    """Crops in, names out."""

    def classify(self, crops: NDArray[np.float32], reject_below: float = 0.0) -> list[Classification]: ...


@dataclass(frozen=True)
class PipelineSettings:
    """What a detection depends on besides the models."""

    min_esd_um: float = 0.0
    """Smaller particles are not reported."""
    max_esd_um: float = 1e6
    """Larger particles are not reported."""
    reject_below: float = 0.5
    """A best probability under this is 'unknown'."""
    refine_iterations: int = 0
    """Iterations of physics on what the network found; 0: none."""
    segmentation: SegmentSettings = field(default_factory=SegmentSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)


@dataclass(frozen=True)
class FrameAnalysis:
    """What one hologram held."""

    particles: tuple[Particle, ...]
    classifications: tuple[Classification, ...]
    """One for every particle."""
    reconstruction: Reconstruction | None
    """None where the frame was empty."""
    elapsed_s: float
    """Wall time of the analysis."""
    obstructed: float = 0.0
    """Share of the field behind something too large to be a particle; above MOST_OBSTRUCTED nothing was analysed."""

    @property
    def analysed(self) -> bool:
        """Whether the frame could be searched: its particles are what it held."""
        return self.obstructed <= MOST_OBSTRUCTED


@dataclass(frozen=True)
class Pipeline:
    """Same hologram, same models, same settings -> same particles."""

    settings: PipelineSettings
    network: FieldNetwork | None
    """HIDEF; None for plain back-propagation."""
    classifier: CropNetwork | None
    """None: everything is a 'particle'."""
    models: Models
    """By content, for the records."""

    @property
    def id(self) -> str:
        """Content id of code version, settings and models: the first 16 hex digits of a SHA-256."""
        content = [__version__, asdict(self.settings), msgspec.to_builtins(self.models)]
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]

    def analyse(self, hologram: Hologram) -> FrameAnalysis:
        """Locate, reconstruct, segment, refine, measure, classify."""
        started = time.monotonic()
        if is_empty(hologram.intensity, hologram.noise):
            return FrameAnalysis((), (), None, time.monotonic() - started)
        obstructed = opaque_share(hologram.intensity, self.settings.max_esd_um / hologram.geometry.object_pitch_um)
        if obstructed > MOST_OBSTRUCTED:
            return FrameAnalysis((), (), None, time.monotonic() - started, obstructed)
        result = reconstruct(hologram, self.network)
        result, parts, depths = self._parted(result, hologram)
        particles = self._particles(result, parts, depths, hologram)
        names = self._names(result, particles, hologram)
        return FrameAnalysis(particles, names, result, time.monotonic() - started, obstructed)

    def whole_field(self, hologram: Hologram) -> NDArray[np.complex64]:
        """The object field of the whole frame, complex64 [height, width], refined where the settings say so."""
        return self._parted(reconstruct(hologram, self.network, whole=True), hologram)[0].field

    def _parted(self, result: Reconstruction, hologram: Hologram) -> tuple[Reconstruction, list[Segment], list[Depth]]:
        """Particles and their depths, and the reconstruction refined at them."""
        parts = segment(result.field, self.settings.segmentation, start=result.start)
        depths = [self._depth(result, part, hologram.geometry) for part in parts]
        return self._refined(result, parts, depths, hologram), parts, depths

    def _refined(self, result: Reconstruction, parts: list[Segment], depths: list[Depth], hologram: Hologram) -> Reconstruction:
        """The reconstruction with every particle's support improved by physics, where that is asked for."""
        if self.settings.refine_iterations == 0 or not parts or self.network is None:
            return result
        geometry = hologram.geometry
        equivalent = [geometry.at(depth.z_um).propagation_um for depth in depths]
        amplitude = np.sqrt(np.maximum(hologram.intensity, 0), dtype=np.float32)
        refined = refine(amplitude, result.field, parts, equivalent, geometry, RefineSettings(self.settings.refine_iterations))
        return replace(result, field=np.where(refined.supports, refined.field, result.field))

    def _particles(
        self, result: Reconstruction, parts: list[Segment], depths: list[Depth], hologram: Hologram
    ) -> tuple[Particle, ...]:
        found = (measure(result.field, part, depth, hologram.geometry) for part, depth in zip(parts, depths, strict=True))
        return tuple(p for p in found if self.settings.min_esd_um <= p.esd_um <= self.settings.max_esd_um)

    def _depth(self, result: Reconstruction, part: Segment, geometry: Geometry) -> Depth:
        # A back-propagated field agrees with itself best where it is: it can't tell depth.
        if self.network is None:
            return nominal_depth(geometry, self.settings.depth)
        return estimate_depth(result.start, result.field, part, geometry, self.settings.depth)

    def _names(self, result: Reconstruction, particles: tuple[Particle, ...], hologram: Hologram) -> tuple[Classification, ...]:
        if self.classifier is None or not particles:
            return (UNCLASSIFIED,) * len(particles)
        pitch_um = hologram.geometry.object_pitch_um
        crops = [classifier_crop(result.field, p.x_um / pitch_um, p.y_um / pitch_um, pitch_um) for p in particles]
        return tuple(self.classifier.classify(np.stack(crops), self.settings.reject_below))
