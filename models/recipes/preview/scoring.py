"""How the preview is scored: on HIDEF's foreign model, at depths it learnt and with the distance drifting beyond them.

A distance that drifts moves all particles alike: 10 per cent of it is 50 um, which for a particle in the middle of the depth the
table's rows at 50 um tell. At the end of the depth it leaves what was learnt: those rows are of particles 100 um off and the drift
farther, HIDEF told the wrong distance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from device.analysis.image_tiles import run_image
from device.inference.networks import HidefNetwork, ImageNetwork
from device.inference.store import ModelStore
from device.optics.propagation import backpropagate
from device.rig.models import ARTEFACTS
from device.twin.morphology import VoxelVolume
from device.twin.scene import SimulatedParticle
from models.recipes.hidef.evaluation import GEOMETRY, METRICS, ScoringField, field_metrics, rendered, scoring_fields
from models.recipes.hidef.one_pass import field_method
from models.training.hallucination import Insertion, feature_lines, strange_shape
from models.training.quality import bootstrap_median
from models.training.rings import RingTally, ring_lines
from models.training.tables import score_lines

__all__ = ["MARGIN_PX", "preview_field", "report"]

Complex = NDArray[np.complex64]
Way = Callable[[ScoringField], Complex]

MARGIN_PX = 96
"""Border of a tile that lacks fringes: at a quarter cycle a pixel they lie 85 pixels from what made them."""
DEPTHS_UM = (0.0, -50.0, 50.0, -100.0, 100.0)
DRIFTS = (-0.1, -0.05, -0.02, 0.02, 0.05, 0.1)
MOST_RATIO = 1.3
"""Of the error over hidef-small's, asked."""
_INSERTED_PX = 24


def preview_field(intensity: NDArray[np.floating], network: ImageNetwork) -> Complex:
    """Object field, complex64 [height, width], of a hologram divided by its background, float [height, width]."""
    amplitude = np.sqrt(np.maximum(intensity, 0) / max(float(np.mean(intensity)), 1e-3)) - 1
    out = run_image(amplitude[..., None].astype(np.float32), replace(network, margin_px=MARGIN_PX, resized={}))
    return (1 + out[..., 0] + 1j * out[..., 1]).astype(np.complex64)


def report(network: ImageNetwork, count: int) -> list[str]:
    """Tables of `count` fields a depth and a drift."""
    bundle, interpreter = ModelStore(ARTEFACTS).open("hidef-small")
    small = field_method(HidefNetwork(interpreter, bundle.manifest))
    ways: dict[str, Way] = {
        "preview": lambda f: preview_field(f.intensity, network),
        "hidef-small": lambda f: small(backpropagate(f.intensity, GEOMETRY)),
        "back-propagated": lambda f: backpropagate(f.intensity, GEOMETRY),
        "nothing there": lambda f: np.ones_like(f.truth),
    }
    rings = {name: RingTally() for name in ways}
    by_depth: dict[str, list[dict[str, float]]] = {}
    learnt: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for k, depth_um in enumerate(DEPTHS_UM):
        for name, found in _scores(scoring_fields(count, 4000 + k, depth_um), ways, rings).items():
            by_depth[f"{depth_um:+.0f} um: {name}"] = found
            learnt[name] += found
    drifted: dict[str, list[dict[str, float]]] = {}
    for k, drift in enumerate(DRIFTS):
        off_um = float(np.copysign(100, drift)) + drift * GEOMETRY.distance_um
        for name, found in _scores(scoring_fields(count, 4500 + k, off_um), ways).items():
            if name in ("preview", "hidef-small"):
                drifted[f"{100 * drift:+.0f} % at {off_um:+.0f} um: {name}"] = found
    return [
        *score_lines(by_depth, METRICS, "depth and method"), "", *_ratio_lines(learnt), "",
        "The distance drifting, particles at the end of the depth:", "", *score_lines(drifted, METRICS, "drift and method"), "",
        "Fourier ring correlation (and power over the truth's), all depths:", "",
        *ring_lines([(name, "", tally) for name, tally in rings.items() if name != "nothing there"]), "",
        *feature_lines(_insertions(ways, 4 * count)),
    ]  # fmt: skip


def _scores(
    fields: Iterable[ScoringField], ways: dict[str, Way], rings: dict[str, RingTally] | None = None
) -> dict[str, list[dict[str, float]]]:
    """Of every inner particle, by way."""
    out: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for field in fields:
        for name, way in ways.items():
            found = way(field)
            for box, inner in zip(field.boxes, field.inner, strict=True):
                if inner:
                    out[name].append(field_metrics(found[box], field.truth[box]))
                    if rings:
                        rings[name].add(found[box], field.truth[box])
    return out


def _ratio_lines(scores: dict[str, list[dict[str, float]]]) -> list[str]:
    """The bar: the error over hidef-small's, particle by particle, and that of the medians."""
    errors = {name: np.array([s["complex_error"] for s in values]) for name, values in scores.items()}
    middle, low, high = bootstrap_median([float(r) for r in errors["preview"] / errors["hidef-small"]])
    medians = float(np.median(errors["preview"]) / np.median(errors["hidef-small"]))
    verdict = "met" if medians <= MOST_RATIO else "missed"
    return [
        "| bar | measured | |", "|---|---|---|",
        f"| complex_error over hidef-small's, medians <= {MOST_RATIO} | {medians:.2f}; particle by particle {middle:.2f} "
        f"({low:.2f} to {high:.2f}), n = {len(errors['preview'])} | {verdict} |",
    ]  # fmt: skip


def _insertions(ways: dict[str, Way], count: int) -> dict[str, list[Insertion]]:
    """A plate of a strange shape in the focal plane, nothing else in the frame."""
    out: dict[str, list[Insertion]] = {name: [] for name in ("preview", "hidef-small", "back-propagated")}
    for k in range(count):
        rng = np.random.default_rng((4900, k))
        plate = _plate(rng)
        without, strange = (rendered(np.random.default_rng((4901, k)), particles) for particles in ([], [plate]))
        change = strange.truth - without.truth
        truth = np.where(np.abs(change) > 0.05, strange.truth, without.truth)
        empty = [(slice(y, y + _INSERTED_PX), slice(x, x + _INSERTED_PX)) for y in (100, 380) for x in (100, 240, 380)]
        for name, found in out.items():
            found.append(Insertion(ways[name](strange), ways[name](without), truth, without.truth, empty))
    return out


def _plate(rng: np.random.Generator) -> SimulatedParticle:
    voxel_um = GEOMETRY.pitch_um / 2
    shape = strange_shape(rng, 2 * _INSERTED_PX)
    phase = float(rng.choice([0.5, 1.0, 2.0]))
    contrast = np.repeat((phase * GEOMETRY.wavelength_um / (2 * np.pi) / (4 * voxel_um) * shape)[None], 4, axis=0)
    side_um = _INSERTED_PX * GEOMETRY.pitch_um
    volume = VoxelVolume(contrast.astype(np.complex64), voxel_um, side_um / 2, side_um)
    return SimulatedParticle("plate", 256 * GEOMETRY.pitch_um, 256 * GEOMETRY.pitch_um, GEOMETRY.distance_um, volume)
