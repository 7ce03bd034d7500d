"""Frames as the pipeline leaves them, made up for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from device.analysis.pipeline import FrameAnalysis
from device.frames import Hologram
from device.optics.geometry import Geometry
from device.records import QARTOD_PASS, Classification, Consistency, Particle

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def particle(x_um: float, y_um: float, z_um: float = 500.0, esd_um: float = 15.0, *, touches_edge: bool = False) -> Particle:
    features = {"touches_edge": float(touches_edge)}
    mask, crop = np.ones((1, 1), np.bool_), np.ones((1, 1), np.complex64)
    return Particle(x_um, y_um, z_um, 30.0, (0, 0, 1, 1), esd_um, 1.0, features, mask, crop)


def named(label: str = "particle") -> Classification:
    return Classification(label, 0.9, {label: 0.9}, (label,))


def analysis(
    particles: Sequence[Particle], labels: Sequence[str] = (), flags: Sequence[int] = (), *, unexplained: int = 0,
    obstructed: float = 0.0,
) -> FrameAnalysis:  # fmt: skip
    """`labels` and `flags` one a particle, or none: all particles, all consistent."""
    names = labels or ["particle"] * len(particles)
    consistent = flags or [QARTOD_PASS] * len(particles)
    return FrameAnalysis(
        particles=tuple(particles),
        classifications=tuple(named(label) for label in names),
        reconstruction=None,
        elapsed_s=0.0,
        consistencies=tuple(Consistency(chi2=1.0, p=0.5, flag=flag) for flag in consistent),
        unexplained=unexplained,
        obstructed=obstructed,
    )


def hologram(index: int = 0) -> Hologram:
    geometry = Geometry(wavelength_um=0.85, pitch_um=1.12, distance_um=500.0)
    return Hologram(np.ones((4, 4), np.float32), geometry, 0.01, NOON, index=index)
