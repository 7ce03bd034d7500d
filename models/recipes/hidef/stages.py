"""How far each stage of the box brings a field, ring by ring, beside what could be had: HIDEF's ring report.

One pass, second look and refinement through the shipped int8 file, with the box's own segmentation and depths, on the fields of
the foreign forward model (models.recipes.hidef.evaluation) within 100 um of the focal plane. Ceilings: the true field as lamp and pixels pass it,
which no method goes beyond without undoing the lamp; and iterations that are told depth and outline.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from device.analysis.depth import Depth, estimate_depth
from device.analysis.patches import RefineSettings, fringe_visibility
from device.analysis.reconstruct import FieldNetwork, reconstruct
from device.analysis.refine import refine
from device.analysis.second_look import RingGain
from device.analysis.segment import Segment, segment
from device.config import AnalysisConfig
from device.frames import Hologram
from device.optics import fft
from models.recipes.hidef.evaluation import (
    FIELD_PX,
    GEOMETRY,
    ScoringField,
    field_metrics,
    oracle_backpropagation,
    scoring_fields,
)  # fmt: skip
from models.training.rings import RingTally, ring_lines

__all__ = ["OFFSETS_UM", "stage_fields", "stage_lines"]

Complex = NDArray[np.complex64]

OFFSETS_UM = (-100.0, -50.0, 0.0, 50.0, 100.0)
NOISE = 0.03
"""Of an intensity where nothing is, as the box estimates it from such frames."""
_TOLD_ITERATIONS = 20
_OUTLINE = 0.1
"""Least |field - 1| within a true outline."""


def stage_fields(scene: ScoringField, network: FieldNetwork, gain: RingGain | None) -> Iterator[tuple[str, list[Complex]]]:
    """(stage, its field in every particle's box), from one recording."""
    result = reconstruct(Hologram(scene.intensity, GEOMETRY, NOISE, datetime.now(UTC)), network, whole=True)
    amplitude = np.sqrt(np.maximum(scene.intensity, 0))
    yield "one pass", [result.field[box] for box in scene.boxes]
    parts = segment(result.field, start=result.start)
    depths = [estimate_depth(result.start, result.field, part, GEOMETRY) for part in parts]
    stages = [("refined", AnalysisConfig().refine_iterations)]
    if gain:
        stages.insert(0, ("second look", 0))
    for name, iterations in stages:
        found = refine(amplitude, result.field, parts, depths, GEOMETRY, RefineSettings(iterations), noise=NOISE, gain=gain)
        field = np.where(found.supports, found.field, result.field)
        yield name, [field[box] for box in scene.boxes]
    yield "back-propagation, told depth", oracle_backpropagation(scene)
    yield "ceiling: told depth and outline", told(scene, amplitude, result.field, gain)
    passed = 1 + fft.ifft2(fft.fft2(scene.truth - 1) * fringe_visibility(FIELD_PX, GEOMETRY))
    yield "ceiling: as lamp and pixels pass it", [passed[box] for box in scene.boxes]


def told(scene: ScoringField, amplitude: NDArray[np.float32], start: Complex, gain: RingGain | None) -> list[Complex]:
    """Iterations from the network's field, told every particle's depth and outline."""
    parts = [
        Segment(box[1].start, box[0].start, np.abs(scene.truth[box] - 1) > _OUTLINE, touches_edge=False) for box in scene.boxes
    ]
    depths = [Depth(p.z_um, 1.0) for p in scene.particles]
    settings = RefineSettings(_TOLD_ITERATIONS, depth_steps=0)
    field = refine(amplitude, start, parts, depths, GEOMETRY, settings, gain=gain).field
    return [field[box] for box in scene.boxes]


def stage_lines(network: FieldNetwork, gain: RingGain | None, fields_per_bin: int, seed: int = 61_000) -> list[str]:
    """The ring report as Markdown; medians over particles."""
    scores: dict[str, list[dict[str, float]]] = {}
    tallies: dict[str, RingTally] = {}
    for k, offset_um in enumerate(OFFSETS_UM):
        for scene in scoring_fields(fields_per_bin, seed + k, offset_um, per_field=20):
            for name, boxes in stage_fields(scene, network, gain):
                tally = tallies.setdefault(name, RingTally())
                for found, box, inner in zip(boxes, scene.boxes, scene.inner, strict=True):
                    if inner:
                        tally.add(found, scene.truth[box])
                        scores.setdefault(name, []).append(field_metrics(found, scene.truth[box]))
    count = len(next(iter(scores.values())))
    rows = [(name, _figures(scores[name]), tally) for name, tally in tallies.items()]
    return [
        f"Fourier ring correlation with the true field by cycles a pixel, the power over the truth's in brackets; {count} particles "
        "within 100 um of the focal plane, medians.", "", *ring_lines(rows),
    ]  # fmt: skip


def _figures(scores: list[dict[str, float]]) -> str:
    names = ("amplitude_psnr_db", "complex_error", "complex_correlation")
    psnr, error, correlation = (float(np.median([s[name] for s in scores])) for name in names)
    return f"{psnr:.1f}, {error:.3f}, {correlation:.3f}"
