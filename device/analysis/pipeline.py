"""The stages strung together: one hologram in, particles with names out."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from device import __version__
from device.analysis.binning import binned, spread, unbinned
from device.analysis.crops import classifier_crops
from device.analysis.depth import Depth, DepthSettings, estimate_depth, nominal_depth
from device.analysis.locate import is_empty
from device.analysis.low_photon import UNNAMED, LowPhotonModel, doubts, unchecked_reason
from device.analysis.measure import measure
from device.analysis.obstruction import MOST_OBSTRUCTED, opaque_share
from device.analysis.reconstruct import FieldNetwork, Reconstruction, reconstruct
from device.analysis.refine import RefineSettings, predicted, refine
from device.analysis.scene import FieldScene, fringes_of, in_pieces, off_focus, off_plane, scene_of, too_noisy
from device.analysis.second_look import RingGain
from device.analysis.segment import Segment, SegmentSettings, segment
from device.analysis.verify import VerifySettings, unexplained_regions, verify
from device.errors import InputError
from device.frames import Hologram
from device.optics.autofocus import FocusEstimate, estimate_distance
from device.optics.geometry import Geometry
from device.optics.photon_noise import amplitude_from_counts
from device.records import Classification, Consistency, FrameCounts, Models, Particle

__all__ = ["FrameAnalysis", "Pipeline", "PipelineSettings"]

UNCLASSIFIED = Classification("particle", None, {}, (), "no classifier is configured")

NO_PARTICLE = Classification("unknown", None, {}, (), "the field is not one of particles: nothing in it is named")
"""What is said of every detection of such a field: a classifier has learnt from particles."""


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
    refine_most: int = 300
    """Frames with more particles are left as the network gave them."""
    depth_half_range_um: float = 0.0
    """By which particles may lie before and behind the stated distance; 0: in a plane, or not known."""
    segmentation: SegmentSettings = field(default_factory=SegmentSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    verification: VerifySettings = field(default_factory=VerifySettings)


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
    consistencies: tuple[Consistency, ...] = ()
    """Of every particle: whether it explains the hologram."""
    unexplained: int = 0
    """Regions with fringes that no particle accounts for; 0 where nothing was refined."""
    unchecked: bool = False
    """Whether it held more particles than are refined and checked."""
    obstructed: float = 0.0
    """Share of the field behind something too large to be a particle; above MOST_OBSTRUCTED nothing was analysed."""
    scene: FieldScene | None = None
    """What the field holds, and what speaks against counts of it; None where it could not be searched."""
    models: Models | None = None
    """That took part, where they aren't the pipeline's."""

    @property
    def analysed(self) -> bool:
        """Whether the frame could be searched: its particles are what it held."""
        return self.obstructed <= MOST_OBSTRUCTED

    @property
    def counts(self) -> FrameCounts:
        """Of this one frame."""
        return FrameCounts(
            captured=1, analysed=int(self.analysed), dropped=int(not self.analysed), unchecked=int(self.unchecked)
        )


@dataclass(frozen=True)
class _Found:
    """Particles before they are measured."""

    result: Reconstruction
    parts: list[Segment]
    depths: list[Depth]
    consistencies: list[Consistency]
    unexplained: int
    scene: FieldScene
    unchecked: bool = False


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
    unclassified: Classification = UNCLASSIFIED
    """What is said of every particle where there is no classifier."""
    ring_gain: RingGain | None = None
    """Of the second look that refinement starts from; None: it starts from the network's field."""
    networks: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)
    """Of further tasks, by role, for the way of sampling that uses them."""
    binning: float = 1
    """Side of the pixels that are analysed in the sensor's, n or 1 / n: it samples more finely or coarsely than the models cover."""
    low_photon: LowPhotonModel | None = None
    """What frames of few photons are reconstructed by; None: as all others."""
    few_photons: bool = False
    """Whether this one is for such a frame."""

    @property
    def id(self) -> str:
        """Content id of code version, settings and models: the first 16 hex digits of a SHA-256."""
        gain = asdict(self.ring_gain) if self.ring_gain else None
        content: list[object] = [__version__, asdict(self.settings), msgspec.to_builtins(self.models), gain]
        if self.binning != 1:
            content.append(self.binning)
        if self.low_photon:
            content.append(msgspec.to_builtins(self.low_photon.use))
        return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:16]

    @property
    def binning_note(self) -> str:
        """What other pixels than the sensor's mean, for a person; empty where they are its own."""
        if self.binning == 1:
            return ""
        n = round(max(self.binning, 1 / self.binning))
        how, why = ("averaged", "fine") if self.binning > 1 else ("interpolated to", "coarse")
        return f"pixels are {how} {n} by {n}: as {why} as they are, the network doesn't cover them"

    def analyse(self, hologram: Hologram) -> FrameAnalysis:
        """Locate, reconstruct, segment, refine, verify, measure, classify; places and fields in the hologram's own pixels."""
        if self.binning == 1:
            return self._analysed(hologram)
        analysis = self._analysed(binned(hologram, self.binning))
        result = analysis.reconstruction
        if result is not None:
            start, field = (spread(coarse, hologram.intensity.shape, self.binning) for coarse in (result.start, result.field))
            result = Reconstruction(start, field, result.tiles)
        particles = tuple(unbinned(particle, hologram.geometry, self.binning) for particle in analysis.particles)
        scene = replace(analysis.scene, shape=hologram.intensity.shape) if analysis.scene else None
        return replace(analysis, particles=particles, reconstruction=result, scene=scene)

    def lit_as(self, hologram: Hologram) -> Pipeline:
        """The pipeline for a frame's light: this one, or that for few photons."""
        if self.low_photon is None or not self.low_photon.takes(hologram):
            return self
        return replace(
            self, network=self.low_photon.network().for_noise(hologram.noise), ring_gain=None, classifier=None, unclassified=UNNAMED,
            settings=replace(self.settings, refine_iterations=0, depth=DepthSettings()), low_photon=None, few_photons=True,
            models=_without_names(self.models) | {"reconstruction": self.low_photon.use},
        )  # fmt: skip

    def _analysed(self, hologram: Hologram) -> FrameAnalysis:
        lit = self.lit_as(hologram)
        if lit is not self:
            return replace(lit._analysed(hologram), models=lit.models)  # noqa: SLF001  one of its own kind
        started = time.monotonic()
        if not self.few_photons and is_empty(hologram.intensity, hologram.noise):
            nothing = FieldScene.empty(hologram.intensity.shape, hologram.noise)
            return FrameAnalysis((), (), None, time.monotonic() - started, scene=nothing)
        obstructed = opaque_share(hologram.intensity, self.settings.max_esd_um / hologram.geometry.object_pitch_um)
        if obstructed > MOST_OBSTRUCTED:
            return FrameAnalysis((), (), None, time.monotonic() - started, obstructed=obstructed)
        found = self._found(self._reconstructed(hologram, whole=self.few_photons), hologram)
        kept = [(p, c) for p, c in self._measured(found, hologram) if self._in_range(p)]
        particles = tuple(p for p, _ in kept)
        names = self._names(found, particles, hologram)
        elapsed_s = time.monotonic() - started
        consistencies = tuple(c for _, c in kept)
        return FrameAnalysis(
            particles,
            names,
            found.result,
            elapsed_s,
            consistencies,
            found.unexplained,
            found.unchecked,
            obstructed,
            found.scene,
        )

    def whole_field(self, hologram: Hologram) -> NDArray[np.complex64]:
        """The object field of the whole frame, complex64 [height, width], refined where the settings say so."""
        if self.binning != 1:
            whole = replace(self, binning=1).whole_field(binned(hologram, self.binning))
            return spread(whole, hologram.intensity.shape, self.binning)
        lit = self.lit_as(hologram)
        return lit._found(lit._reconstructed(hologram, whole=True), hologram).result.field  # noqa: SLF001  one of its own kind

    def _reconstructed(self, hologram: Hologram, *, whole: bool) -> Reconstruction:
        return reconstruct(hologram, self.network, whole=whole, few_photons=self.few_photons)

    def _found(self, result: Reconstruction, hologram: Hologram) -> _Found:
        """Particles and their depths; refined by physics and checked against the hologram where that is asked for."""
        geometry = hologram.geometry
        parts = segment(
            result.field,
            self.settings.segmentation,
            start=result.start,
            # Without a network every fringe is a faint particle.
            noise=hologram.noise if self.network else None,
            # A particle's finest fringes lie half a defocus number of pixels from it.
            reach_px=int(geometry.defocus_number / 2),
        )
        depths = [self._depth(result, part, geometry) for part in parts]
        equivalent = [depth.equivalent(geometry) for depth in depths]
        amplitude = amplitude_from_counts(hologram.intensity, hologram.noise if self.few_photons else 0.0)
        ahead = predicted(amplitude.shape, result.field, parts, equivalent, geometry) if parts else None
        given = fringes_of(amplitude, ahead, hologram.noise)
        covered = _covered(parts, amplitude.shape)
        pieces = [*(doubts if self.few_photons else too_noisy)(hologram.noise), *in_pieces(parts, covered, geometry)]
        scene = scene_of(given, given, covered, len(parts), self._way, pieces)
        why_not = "not a particle field" if scene.fails else self._why_unchecked(len(parts), hologram.noise)
        if why_not is not None or not parts:
            crowded = self.settings.refine_most < len(parts) and self._checks
            unchecked = [Consistency(reason=why_not)] * len(parts)
            return _Found(result, parts, depths, unchecked, 0, self._placed(scene, depths, hologram), crowded)
        settings = RefineSettings(self.settings.refine_iterations)
        refined = refine(
            amplitude, result.field, parts, equivalent, geometry, settings, noise=hologram.noise, gain=self.ring_gain
        )
        found = [depth.physical(geometry) for depth in refined.depths]
        sought = [depth.physical(geometry) for depth in refined.sought]
        judged = [
            verify(misfit, hologram.noise, pair, geometry.distance_um, self.settings.verification)
            for misfit, pair in zip(refined.misfits, zip(depths, sought, strict=True), strict=True)
        ]
        field = np.where(refined.supports, refined.field, result.field)
        unexplained = unexplained_regions(refined, hologram.noise, self.settings.verification)
        final = fringes_of(amplitude, refined.explained, hologram.noise)
        scene = scene_of(given, final, covered, len(parts), f"{self._way}, refined", pieces)
        # The search for focus that may follow takes as much memory by itself.
        del refined
        return _Found(replace(result, field=field), parts, found, judged, unexplained, self._placed(scene, found, hologram))

    @property
    def _way(self) -> str:
        if self.few_photons:
            return "network for few photons"
        return "back-propagation" if self.network is None else "network"

    def _placed(self, scene: FieldScene, depths: list[Depth], hologram: Hologram) -> FieldScene:
        """With what speaks against the stated distance."""
        if self.network is None:
            return scene
        geometry = hologram.geometry
        stated = self.settings.verification.distance_uncertainty_um
        calibration_um = geometry.distance_um / 50 if stated is None else stated
        half_range_um = self.settings.depth_half_range_um
        elsewhere = off_plane(depths, geometry, calibration_um=calibration_um, half_range_um=half_range_um)
        # Particles at depths of their own have no focus in common; one reason is enough.
        if self._checks and depths and half_range_um == 0 and not (elsewhere or scene.verdicts):
            focus = _focus(hologram, depths)
            elsewhere = off_focus(depths, focus, geometry, calibration_um=calibration_um) if focus else []
        return replace(scene, verdicts=(*scene.verdicts, *elsewhere))

    @property
    def _checks(self) -> bool:
        """Whether particles are refined and checked at all."""
        return self.network is not None and self.settings.refine_iterations > 0

    def _why_unchecked(self, found: int, noise: float) -> str | None:
        """Why so many particles of a frame are left as they were found; None where they are refined and checked."""
        if self.network is None:
            return "plain back-propagation can't be checked against the hologram it comes from"
        if self.few_photons:
            return unchecked_reason(noise)
        if not self._checks:
            return "refinement is switched off (analysis.refine_iterations = 0)"
        most = self.settings.refine_most
        return (
            f"{found} particles in the frame, at most {most} are checked (analysis.refine_most_particles)"
            if found > most
            else None
        )

    def _measured(self, found: _Found, hologram: Hologram) -> Iterator[tuple[Particle, Consistency]]:
        for part, depth, consistency in zip(found.parts, found.depths, found.consistencies, strict=True):
            yield measure(found.result.field, part, depth, hologram.geometry), consistency

    def _in_range(self, particle: Particle) -> bool:
        return self.settings.min_esd_um <= particle.esd_um <= self.settings.max_esd_um

    def _depth(self, result: Reconstruction, part: Segment, geometry: Geometry) -> Depth:
        # A back-propagated field agrees with itself best where it is: it can't tell depth.
        if self.network is None:
            return nominal_depth(geometry, self.settings.depth)
        return estimate_depth(result.start, result.field, part, geometry, self.settings.depth)

    def _names(self, found: _Found, particles: tuple[Particle, ...], hologram: Hologram) -> tuple[Classification, ...]:
        if self.classifier is None or not particles:
            return (self.unclassified,) * len(particles)
        if found.scene.fails:
            return (NO_PARTICLE,) * len(particles)
        crops = classifier_crops(found.result.field, particles, hologram.geometry.object_pitch_um)
        return tuple(self.classifier.classify(np.stack([crop.image for crop in crops]), self.settings.reject_below))


def _without_names(models: Models) -> Models:
    return {role: use for role, use in models.items() if role != "classifier"}


def _covered(parts: list[Segment], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of any particle."""
    covered = np.zeros(shape, np.bool_)
    for part in parts:
        height, width = part.mask.shape
        covered[part.y_px : part.y_px + height, part.x_px : part.x_px + width] |= part.mask
    return covered


def _focus(hologram: Hologram, depths: list[Depth]) -> FocusEstimate | None:
    """Of the whole frame, sought from half to twice of where it is said to lie and of where its particles do; None: too faint."""
    geometry = hologram.geometry
    places = geometry.distance_um, float(np.median([depth.z_um for depth in depths]))
    farthest_um = 0.99 * (geometry.source_distance_um or np.inf)
    try:
        return estimate_distance(hologram.intensity, geometry, min(places) / 2, min(2 * max(places), farthest_um))
    except InputError:
        return None
