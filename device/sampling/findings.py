"""What an interval came to, whichever mode took it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from device.analysis.crops import ParticleCrop, classifier_crops
from device.analysis.pipeline import FrameAnalysis
from device.analysis.report import Losses, SampledVolume
from device.frames import Hologram
from device.records import Aggregation, DoseEstimate, FrameCounts

__all__ = ["Backdrop", "Findings", "LookedAt", "Mode", "SamplingEvent", "chosen"]


@dataclass(frozen=True)
class SamplingEvent:
    """Something a person may need to know: an event in the making."""

    code: str
    severity: Literal["info", "warning", "alarm"]
    message: str
    value: float | None = None
    unit: str | None = None


@dataclass(frozen=True)
class LookedAt:
    """One frame, with those of its particles that count."""

    hologram: Hologram
    analysis: FrameAnalysis
    crops: tuple[ParticleCrop, ...]
    """One for every particle, for review."""


@dataclass(frozen=True)
class Backdrop:
    """The light behind an interval's particles: what the optics are judged by."""

    pixels: NDArray[np.uint16] | NDArray[np.float32]
    """[height, width], in counts of `bit_depth`."""
    bit_depth: int
    clean: bool
    """Whether it shows the optics alone, no sample."""


@dataclass(frozen=True)
class Findings:
    """One interval."""

    frames: tuple[LookedAt, ...]
    taken: FrameCounts
    volume: SampledVolume
    losses: Losses
    sampled: str
    """The volume in words."""
    dead_time_s: float = 0.0
    unexplained: int = 0
    seen: int | None = None
    """Particles of all frames, each as often as it was seen; None: as many as count."""
    suspect: bool = False
    """Whether something speaks against the counts."""
    notices: tuple[SamplingEvent, ...] = ()
    background: Backdrop | None = None
    aggregation: Aggregation | None = None
    dose: DoseEstimate | None = None
    state: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the next start must know, kept in the same commit as the records."""


class Mode(Protocol):
    """A way of sampling."""

    @property
    def under_way(self) -> bool:
        """Whether the next interval goes on with what an earlier one began, and must not wait for a schedule or a pause."""
        ...

    def take(self) -> Findings | None:
        """One interval; None where a recorded camera has no more frames. HardwareError where something failed."""
        ...


def chosen(hologram: Hologram, analysis: FrameAnalysis, indices: Sequence[int]) -> LookedAt:
    """A frame with some of its particles; the fields it was found in are let go."""
    particles = tuple(analysis.particles[k] for k in indices)
    crops: list[ParticleCrop] = []
    if analysis.reconstruction is not None and particles:
        crops = classifier_crops(analysis.reconstruction.field, particles, hologram.geometry.object_pitch_um)
    kept = replace(
        analysis,
        particles=particles,
        classifications=tuple(analysis.classifications[k] for k in indices),
        consistencies=tuple(analysis.consistencies[k] for k in indices),
        reconstruction=None,
    )
    return LookedAt(hologram, kept, tuple(crops))
