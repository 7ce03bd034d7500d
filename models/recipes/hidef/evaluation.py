"""How HIDEF is scored: on a world that another model made.

Fields of the bioaerosol instrument (850 nm, 1.12 um, 500 um) by `multislice` on a grid twice as fine, in two spectral
directions of generator parameters the training never draws: real optical thickness, real bandwidth and source, the
sensor's own well and bits. Scores are particle-local: a box around every particle with a margin of 4 pixels. A particle
near the border has half its fringes outside the frame, on a real sensor a few per cent of all; what is scored by default is
what lies BORDER_PX and more inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics.coherence import Coherence
from device.optics.geometry import Geometry
from device.optics.propagation import backpropagate, propagate
from device.twin.forward import multislice_hologram, multislice_object_field
from device.twin.illumination import Illumination
from device.twin.scene import SimulatedParticle, draw_particle, snap_depths

__all__ = ["METRICS", "Score", "ScoringField", "evaluate", "field_metrics", "rendered", "scoring_fields"]

Complex = NDArray[np.complex64]
LIGHT = Illumination(0.85, bandwidth_um=0.008, source_diameter_um=100.0, source_distance_um=40000.0)
GEOMETRY = Geometry(
    0.85, 1.12, 500.0, coherence=Coherence(LIGHT.bandwidth_um, LIGHT.source_diameter_um, LIGHT.source_distance_um)
)
FIELD_PX = 512
BORDER_PX = 96
PLANES = 4
"""Distinct depths in a field."""
LABELS = ("birch", "grass", "oak", "ragweed", "alternaria", "cladosporium", "penicillium", "dust")


@dataclass(frozen=True)
class ScoringField:
    """One simulated recording with its truth."""

    intensity: NDArray[np.float32]
    """float32 [height, width], mean 1."""
    truth: Complex
    """Object field, complex64 [height, width]."""
    particles: tuple[SimulatedParticle, ...]
    boxes: tuple[tuple[slice, slice], ...]
    """Box of each particle with its margin."""
    inner: tuple[bool, ...]
    """Which of them lie away from the border."""


@dataclass(frozen=True)
class Score:
    """Metrics of one reconstruction of one particle."""

    defocus_um: float
    """Particle's depth off the focal plane."""
    values: Mapping[str, float]


def scoring_fields(count: int, seed: int, defocus_um: float, per_field: int = 16) -> Iterator[ScoringField]:
    """Fields whose particles lie all `defocus_um` off the focal plane, give or take 5 um."""
    rng = np.random.default_rng(seed)
    side_um = FIELD_PX * GEOMETRY.pitch_um
    for _ in range(count):
        middle = GEOMETRY.distance_um + defocus_um
        particles = [
            draw_particle(
                rng,
                LABELS[int(rng.integers(len(LABELS)))],
                field_um=(side_um, side_um),
                depth_um=(middle - 5, middle + 5),
                voxel_um=GEOMETRY.pitch_um / 2,
            )
            for _ in range(per_field)
        ]
        yield rendered(rng, snap_depths(particles, PLANES))


def rendered(rng: np.random.Generator, particles: list[SimulatedParticle]) -> ScoringField:
    """The instrument's recording of these particles, with its noise."""
    shape = (FIELD_PX, FIELD_PX)
    clean = multislice_hologram(shape, GEOMETRY.pitch_um, particles, LIGHT, margin_px=160)
    electrons = 0.6 * 4700.0
    frame, before = (rng.poisson(level * electrons) + rng.normal(0, 3, shape) for level in (clean, np.ones(shape)))
    intensity = (np.round(frame / 4.9) / np.maximum(np.round(before / 4.9), 1)).astype(np.float32)
    truth = multislice_object_field(shape, GEOMETRY.pitch_um, particles, LIGHT)
    boxes = tuple(_box(p, shape) for p in particles)
    inside = [k for k, box in enumerate(boxes) if all(s.stop - s.start > 8 for s in box)]
    kept = tuple(particles[k] for k in inside)
    return ScoringField(intensity, truth, kept, tuple(boxes[k] for k in inside), tuple(_is_inner(p) for p in kept))


def _is_inner(particle: SimulatedParticle) -> bool:
    low_um, high_um = BORDER_PX * GEOMETRY.pitch_um, (FIELD_PX - BORDER_PX) * GEOMETRY.pitch_um
    return low_um <= particle.x_um <= high_um and low_um <= particle.y_um <= high_um


def _box(particle: SimulatedParticle, shape: tuple[int, int], margin_px: int = 4) -> tuple[slice, slice]:
    half = particle.volume.length_um / 2 / GEOMETRY.pitch_um + margin_px
    y, x = particle.y_um / GEOMETRY.pitch_um, particle.x_um / GEOMETRY.pitch_um
    rows = slice(max(int(y - half), 0), min(int(y + half) + 1, shape[0]))
    columns = slice(max(int(x - half), 0), min(int(x + half) + 1, shape[1]))
    return rows, columns


def _ssim(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Structural similarity of amplitudes over one box (Wang et al. 2004, doi:10.1109/TIP.2003.819861), one window."""
    c1, c2 = 0.01**2, 0.03**2
    covariance = float(np.mean((a - a.mean()) * (b - b.mean())))
    means = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
    return float(means * (2 * covariance + c2) / (a.var() + b.var() + c2))


def field_metrics(field: Complex, truth: Complex) -> dict[str, float]:
    """Particle-local metrics of one box.

    amplitude_psnr_db (peak 1), amplitude_ssim, phase_rmse_rad (of the phase of field * conj(truth)),
    complex_error |field - truth| / |truth|, complex_correlation of field - 1 with truth - 1.
    """
    error = np.abs(field) - np.abs(truth)
    off, true_off = field - 1, truth - 1
    norms = np.sqrt(float((np.abs(off) ** 2).sum()) * float((np.abs(true_off) ** 2).sum()))
    return {
        "amplitude_psnr_db": float(-10 * np.log10(max(float(np.mean(error**2)), 1e-12))),
        "amplitude_ssim": _ssim(np.abs(field), np.abs(truth)),
        "phase_rmse_rad": float(np.sqrt(np.mean(np.angle(field * np.conj(truth)) ** 2))),
        "complex_error": float(np.linalg.norm(field - truth) / np.linalg.norm(truth)),
        "complex_correlation": float(np.abs((off * np.conj(true_off)).sum()) / max(norms, 1e-12)),
    }


METRICS = ("amplitude_psnr_db", "amplitude_ssim", "phase_rmse_rad", "complex_error", "complex_correlation")


def oracle_backpropagation(field: ScoringField) -> list[Complex]:
    """Each particle's box refocused at that particle's true depth: the classical method with the answer told."""
    boxes: list[Complex] = []
    base = backpropagate(field.intensity, GEOMETRY)
    for particle, box in zip(field.particles, field.boxes, strict=True):
        moved = propagate(
            base,
            pitch_um=GEOMETRY.pitch_um,
            wavelength_um=GEOMETRY.wavelength_um,
            distance_um=GEOMETRY.distance_um - particle.z_um,
            margin_px=0,
        )
        boxes.append(moved[box])
    return boxes


def evaluate(fields: Sequence[ScoringField], reconstruct: Mapping[str, Callable[[Complex], Complex]]) -> dict[str, list[Score]]:
    """Scores of every particle by every method, oracle back-propagation among them.

    `reconstruct` maps a method's name to a function from the back-propagated field (complex64) to the object field.
    """
    scores: dict[str, list[Score]] = {name: [] for name in (*reconstruct, "backpropagation, true depth")}
    for field in fields:
        start = backpropagate(field.intensity, GEOMETRY)
        results = {name: method(start) for name, method in reconstruct.items()}
        oracle = oracle_backpropagation(field)
        for k, (particle, box, inner) in enumerate(zip(field.particles, field.boxes, field.inner, strict=True)):
            if not inner:
                continue
            off_um = particle.z_um - GEOMETRY.distance_um
            truth = field.truth[box]
            for name, result in results.items():
                scores[name].append(Score(off_um, field_metrics(result[box], truth)))
            scores["backpropagation, true depth"].append(Score(off_um, field_metrics(oracle[k], truth)))
    return scores
