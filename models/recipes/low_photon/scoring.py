"""What scores it: the foreign fields that score HIDEF (multislice, a grid twice as fine), counted photon by photon.

Frames are Poisson counts of the foreign model's intensity, plus the sensor's read noise; the noise is measured from each frame as on
the box. Baselines see the same counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from device.analysis.background import noise_level
from device.analysis.reconstruct import FieldNetwork, run_tiles
from device.analysis.segment import Segment, segment
from device.inference.networks import HidefNetwork, ImageNetwork
from device.inference.store import ModelStore
from device.optics.consistency import agreement, predicted_intensity
from device.optics.phase_retrieval import retrieve_single_shot
from device.optics.photon_noise import amplitude_from_counts
from device.optics.propagation import backpropagate
from models.recipes.hidef.evaluation import (
    BORDER_PX,
    FIELD_PX,
    GEOMETRY,
    ScoringField,
    field_metrics,
    oracle_backpropagation,
    scoring_fields,
)  # fmt: skip
from models.training.hallucination import SHAPES, Insertion, feature_lines, strange_shape
from models.training.quality import bootstrap_median, wilson_interval
from models.training.tables import Bar, bar_lines, score_lines

__all__ = ["LIGHTS", "counted", "report"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]

LIGHTS = ((1.0, 0.0), (1.0, 1.0), (3.0, 0.0), (10.0, 2.0), (30.0, 2.0), (100.0, 2.0))
"""Electrons a pixel where nothing is, and read noise in electrons."""

_OFFSETS_UM = (-100.0, -50.0, 0.0, 50.0, 100.0)
_LEAST_UM, _RECALL_UM = 8.0, 10.0
"""Diameters from which particles are scored, and have to be found."""
_OUTLINE = 0.1
"""Least |field - 1| within a true outline."""
_METRICS = ("complex_error", "complex_correlation", "amplitude_psnr_db", "phase_rmse_rad")
_NEW, _HIDEF = "hidef-low-photon", "hidef, square root"
_SHAPE_PX, _SHAPE_RAD = 28, 1.5
_ARTEFACTS = Path(__file__).resolve().parents[2] / "artefacts"


def counted(intensity: Real, electrons: float, read_e: float, rng: np.random.Generator) -> tuple[Real, float]:
    """(a frame of mean 1 as so many electrons a pixel count it, its noise as measured)."""
    counts = rng.poisson(np.maximum(intensity, 0) * electrons) + rng.normal(0, read_e, intensity.shape)
    frame = (counts / counts.mean()).astype(np.float32)
    return frame, noise_level(frame)


def report(network: ImageNetwork, count: int) -> list[str]:
    """Its table by light, with baselines, bars, what is found, and what is invented; `count` fields, at five depths in turn."""
    new = HidefNetwork(network.interpreter, network.manifest)
    bundle, interpreter = ModelStore(_ARTEFACTS).open("hidef")
    hidef = HidefNetwork(interpreter, bundle.manifest)
    scores: dict[str, list[dict[str, float]]] = {}
    found: dict[str, list[_FieldCount]] = {}
    offsets_um = [_OFFSETS_UM[k % len(_OFFSETS_UM)] for k in range(count)]
    fields = [(um, next(scoring_fields(1, 87_000 + k, um, per_field=20))) for k, um in enumerate(offsets_um)]
    for number, (offset_um, scene) in enumerate(fields):
        # Of 2,800 electrons a pixel, as the foreign model's own sensor has them.
        ceiling = _passed(new, scene.intensity, noise_level(scene.intensity))
        scores.setdefault(_CEILING, []).extend(_scored(scene, [ceiling[box] for box in scene.boxes]))
        for light in LIGHTS:
            frame, noise = counted(scene.intensity, *light, np.random.default_rng((number, 7)))
            for name, boxes, whole in _methods(scene, offset_um, frame, noise, new, hidef):
                row = f"{_light(light)}: {name}"
                scores.setdefault(row, []).extend(_scored(scene, boxes))
                if whole is not None:
                    found.setdefault(row, []).append(_FieldCount.of(scene, whole, frame, noise))
    lines = [
        f"Particles of {_LEAST_UM:g} um and more, {BORDER_PX} px and more from the border, within 100 um of the focal plane; medians with "
        "95 % intervals over particles; simulated.", "", *score_lines(scores, _METRICS, "light: method"), "",
    ]  # fmt: skip
    lines += [*bar_lines(_bars(), scores), "", *_found_lines(found), "", *_empty_lines(new, hidef), ""]
    return [*lines, *_strange_lines(fields[:: max(1, len(fields) // 10)], new, hidef)]


def _bars() -> list[Bar]:
    one, three, thirty = (f"{_light(light)}: " for light in (LIGHTS[0], LIGHTS[2], LIGHTS[4]))
    return [
        Bar(one + _NEW, "complex_correlation", least=0.93),
        Bar(one + _NEW, "complex_error", most=0.40),
        Bar(three + _NEW, "complex_correlation", least=0.95),
        *(Bar(one + _NEW, "complex_error", most=0, against=one + name) for name in (_HIDEF, "hidef, (1 + I) / 2", _GS)),
        Bar(thirty + _NEW, "complex_error", most=0, against=thirty + _HIDEF),
        Bar(thirty + _NEW, "complex_correlation", least=0, against=thirty + _HIDEF),
    ]


_CEILING = "ceiling: before it is counted"
_GS = "Gerchberg-Saxton, true support, told depth"


def _passed(network: HidefNetwork, frame: Real, noise: float) -> Complex:
    """As the box does it: from counts, told the noise."""
    return run_tiles(backpropagate(frame, GEOMETRY, counted=noise), network.for_noise(noise)).field


def _light(light: tuple[float, float]) -> str:
    return f"{light[0]:g} e, read {light[1]:g} e"


def _methods(
    scene: ScoringField, offset_um: float, frame: Real, noise: float, new: HidefNetwork, hidef: HidefNetwork
) -> Iterator[tuple[str, list[Complex], Complex | None]]:
    """(method, its field in every particle's box, its whole field where particles are sought in that)."""
    plain, told = backpropagate(frame, GEOMETRY), backpropagate(frame, GEOMETRY, counted=noise)
    line = backpropagate(np.square((1 + np.maximum(frame, -1)) / 2), GEOMETRY)
    runs: list[tuple[str, FieldNetwork, Complex]] = [
        (_NEW, new.for_noise(noise), told), (_HIDEF, hidef, plain), ("hidef, (1 + I) / 2", hidef, line),
        ("hidef, from counts", hidef, told),
    ]  # fmt: skip
    for name, network, start in runs:
        field = run_tiles(start, network).field
        yield name, [field[box] for box in scene.boxes], field if name in (_NEW, _HIDEF) else None
    at, support = GEOMETRY.at(GEOMETRY.distance_um + offset_um), np.abs(scene.truth - 1) > _OUTLINE
    # From the counts' amplitude, which is the better start for it, too.
    amplitude = np.maximum(amplitude_from_counts(frame, noise), 0)
    field = retrieve_single_shot(np.square(amplitude), at, support=support)
    yield _GS, [field[box] for box in scene.boxes], None
    yield "back-propagation, told depth", oracle_backpropagation(replace(scene, intensity=frame)), None


def _scored(scene: ScoringField, boxes: Sequence[Complex]) -> list[dict[str, float]]:
    rows = zip(scene.particles, scene.boxes, scene.inner, boxes, strict=True)
    return [field_metrics(found, scene.truth[box]) for p, box, inner, found in rows if inner and p.esd_um >= _LEAST_UM]


@dataclass(frozen=True)
class _FieldCount:
    """What the box's segmentation finds in one field."""

    hits: int
    sought: int
    """Inner particles of _RECALL_UM and more."""
    ghosts: int
    parts: int
    """Found away from the border."""
    sizes: tuple[float, ...]
    """Found over true diameter."""
    agrees: float
    """Correlation of the intensity that the field predicts with the foreign model's own, before it was counted."""

    @classmethod
    def of(cls, scene: ScoringField, field: Complex, frame: Real, noise: float) -> _FieldCount:
        parts = _parts(field, frame, noise)
        middles = np.array([_middle_px(part) for part in parts]).reshape(-1, 2)
        boxes = [(b[1].start, b[1].stop, b[0].start, b[0].stop) for b in scene.boxes]
        within = np.array(
            [
                (x0 <= middles[:, 0]) & (middles[:, 0] < x1) & (y0 <= middles[:, 1]) & (middles[:, 1] < y1)
                for x0, x1, y0, y1 in boxes
            ]
        )
        inside = ((middles >= BORDER_PX) & (middles < FIELD_PX - BORDER_PX)).all(axis=1)
        large = [k for k, p in enumerate(scene.particles) if scene.inner[k] and p.esd_um >= _RECALL_UM]
        sizes = [_esd_um(parts[int(np.argmax(within[k]))]) / scene.particles[k].esd_um for k in large if within[k].sum() == 1]
        ghosts = int((inside & ~within.any(axis=0)).sum())
        agrees = agreement(field, scene.intensity, GEOMETRY).correlation
        return cls(sum(bool(within[k].any()) for k in large), len(large), ghosts, int(inside.sum()), tuple(sizes), agrees)


def _parts(field: Complex, frame: Real, noise: float) -> list[Segment]:
    start = backpropagate(frame, GEOMETRY, counted=noise)
    return segment(field, start=start, noise=noise, reach_px=int(GEOMETRY.defocus_number / 2))


def _middle_px(part: Segment) -> tuple[float, float]:
    return part.x_px + part.mask.shape[1] / 2, part.y_px + part.mask.shape[0] / 2


def _esd_um(part: Segment) -> float:
    return 2 * float(np.sqrt(part.mask.sum() / np.pi)) * GEOMETRY.pitch_um


def _found_lines(found: dict[str, list[_FieldCount]]) -> list[str]:
    """Recall, ghosts, sizes, and the guard's look."""
    lines = [
        f"| light: method | found, of those >= {_RECALL_UM:g} um | ghosts, of what is found | size over true | guard: correlation |"
    ]
    lines += ["|---|---|---|---|---|"]
    for row, fields in found.items():
        hits, sought, ghosts, parts = (sum(getattr(f, name) for f in fields) for name in ("hits", "sought", "ghosts", "parts"))
        sizes = [size for f in fields for size in f.sizes]
        size = "{:.2f} ({:.2f} to {:.2f})".format(*bootstrap_median(sizes)) if sizes else "-"
        agrees = float(np.median([f.agrees for f in fields]))
        lines.append(f"| {row} | {_share(hits, sought)} | {_share(ghosts, parts)} | {size} | {agrees:.3f} |")
    return lines


def _share(hits: int, trials: int) -> str:
    low, high = wilson_interval(hits, trials)
    return f"{hits} of {trials} ({100 * low:.0f} to {100 * high:.0f} %)"


def _empty_lines(new: HidefNetwork, hidef: HidefNetwork, frames: int = 2) -> list[str]:
    """Particles found in frames of nothing but light."""
    lines = [f"| empty frames of {FIELD_PX} x {FIELD_PX} | {_NEW}: particles a frame | {_HIDEF} |", "|---|---|---|"]
    for light in LIGHTS:
        counts = np.zeros((frames, 2), int)
        for k in range(frames):
            frame, noise = counted(np.ones((FIELD_PX, FIELD_PX), np.float32), *light, np.random.default_rng((k, 3)))
            fields = _passed(new, frame, noise), run_tiles(backpropagate(frame, GEOMETRY), hidef).field
            counts[k] = [len(_parts(field, frame, noise)) for field in fields]
        lines.append(f"| {_light(light)} | {counts[:, 0].mean():.2f} | {counts[:, 1].mean():.2f} |")
    return lines


def _strange_lines(fields: Sequence[tuple[float, ScoringField]], new: HidefNetwork, hidef: HidefNetwork) -> list[str]:
    """Structures that no training saw, put into the scenes' object fields and imaged by plain propagation."""
    rows: dict[str, list[Insertion]] = {}
    for number, (_, scene) in enumerate(fields):
        rng = np.random.default_rng((number, 5))
        places = _empty_places(scene.truth, rng)
        strange = scene.truth.copy()
        strange[places[0]] *= np.exp(1j * _SHAPE_RAD * strange_shape(rng, _SHAPE_PX, SHAPES[number % len(SHAPES)]))
        for light in (LIGHTS[0], LIGHTS[2], LIGHTS[4]):
            images: dict[str, list[Complex]] = {}
            for truth in (strange, scene.truth):
                frame, noise = counted(predicted_intensity(truth, GEOMETRY), *light, np.random.default_rng((number, 9)))
                images.setdefault(_NEW, []).append(_passed(new, frame, noise))
                images.setdefault(_HIDEF, []).append(run_tiles(backpropagate(frame, GEOMETRY), hidef).field)
            for name, (with_it, without) in images.items():
                row = f"{_light(light)}: {name}"
                rows.setdefault(row, []).append(Insertion(with_it, without, strange, scene.truth, places[1:]))
    return feature_lines(rows)


def _empty_places(truth: Complex, rng: np.random.Generator, count: int = 6) -> list[tuple[slice, slice]]:
    """Squares of _SHAPE_PX, apart from each other, the border and all particles."""
    taken = np.abs(truth - 1) > _OUTLINE / 2
    places: list[tuple[slice, slice]] = []
    for y, x in rng.integers(BORDER_PX, FIELD_PX - BORDER_PX - _SHAPE_PX, (2000, 2)).tolist():
        place = slice(y, y + _SHAPE_PX), slice(x, x + _SHAPE_PX)
        if len(places) < count and not taken[place].any():
            taken[place] = True
            places.append(place)
    return places
