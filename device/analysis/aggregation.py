"""How far beads have clumped: clusters of a frame, their statistics over a field, and the growth over a time series.

The number of beads in a cluster is the classifier's expectation where it knows beads, else the cluster's area over that of a
single bead. Beads that meet at a constant rate make the mean cluster size, beads over clusters, grow linearly in time
(Smoluchowski); the rise over the series leaves out what was clumped from the start. Uncertainties are by bootstrap over tiles of
the field, the same tiles at every time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special
from msgspec import Struct
from numpy.typing import NDArray

from device.analysis.fragments import touching
from device.records import Classification, Particle

__all__ = [
    "Cluster",
    "Growth",
    "Piece",
    "Statistics",
    "TimePoint",
    "bead_area_um2",
    "clusters_of",
    "growth",
    "look_at",
    "pieces_of",
    "start_line",
    "statistics",
]

BEAD_SIZES = {"bead": 1.0, "dimer": 2.0, "trimer": 3.0}
"""Beads in a cluster by the classifier's name."""
LARGER, _LEAST_LARGER = "cluster", 4.0
"""Name of all larger ones, told apart by area."""
TILES = 4
"""Along each side of the field."""
_NO_BEADS = ("dust", "unknown")
_TOUCH_PX = 1.5
"""Pieces nearer than this touch: their beads are of one cluster."""
_LASTING = 0.5
"""Share of the clumps of the first look that stay, doubled beads and misnamed debris; the others lie side by side by chance, and
elsewhere at the next look. A line through the looks begins above single beads by so much."""
_LASTING_UNCERTAINTY = 0.5
"""Of that share, one standard deviation: all may stay, or none."""
_PAIR = (1.5, 2.5)
"""Expected numbers of beads between which a piece looks like a pair."""
_TOUCHING = (0.75, 0.97)
"""Spacing of bound pairs in refined fields, in diameters of a bead: blur fills the neck and makes it read a tenth short. Holds nine in
ten bound pairs and a quarter of those that lie side by side (fitted set of `python -m tests.benchmarks.assay_twin`)."""
_DRAWS = 400


class Piece(Struct, frozen=True, kw_only=True):
    """A particle that the border of the frame doesn't cut."""

    x_um: float
    y_um: float
    area_um2: float
    spacing_um: float
    """Between the middles of two beads that would spread the contrast as far as it is; a single bead's is near 0."""
    label: str
    probabilities: dict[str, float]
    group: int
    """The same number for pieces that touch."""


@dataclass(frozen=True)
class Cluster:
    """Beads that touch; one or more."""

    x_um: float
    y_um: float
    beads: float
    """Expected number."""


class TimePoint(Struct, frozen=True, kw_only=True):
    """What one time of a series showed, by tile of the field."""

    elapsed_s: float
    """Since the assay began."""
    beads: list[float]
    """Expected number in each tile."""
    clusters: list[float]
    """Single beads count as clusters of one."""
    singles: list[float]
    """Expected number of single beads."""
    squares: list[float]
    """Sum of squared cluster sizes."""
    debris: int = 0
    """Particles that are no beads."""


@dataclass(frozen=True)
class Statistics:
    """How far the beads of a field have clumped; uncertainties are one standard deviation."""

    beads: float
    clusters: float
    """Single beads included."""
    share_clustered: float
    """Of the beads that are not single."""
    share_clustered_uncertainty: float
    mean_size: float
    """Beads over clusters."""
    mean_size_uncertainty: float
    weighted_mean_size: float
    """Size of the cluster that a bead is in, mean over beads."""


@dataclass(frozen=True)
class Growth:
    """Rise of the mean cluster size over a series."""

    bonds_per_bead: float
    """Formed from the first look to the last, by a line through all looks."""
    uncertainty: float
    """One standard deviation."""
    scatter: float
    """Of the uncertainty what differs from one assay to the next; how many of the first clumps stay is alike in all."""
    looks: int


def bead_area_um2(areas_um2: Sequence[float] | NDArray[np.floating]) -> float:
    """Area of a single bead: the half-sample mode of all clusters' areas, for singles are the commonest kind.

    Source of the estimator: D. R. Bickel and R. Fruehwirth, Comput. Stat. Data Anal. 50, 3500 (2006),
    doi:10.1016/j.csda.2005.07.011.
    """
    left = np.sort(np.asarray(areas_um2, float))
    while len(left) > 3:
        half = -(-len(left) // 2)
        spans = left[half - 1 :] - left[: len(left) - half + 1]
        start = int(np.argmin(spans))
        left = left[start : start + half]
    return float(np.median(left)) if len(left) else math.nan


def pieces_of(particles: Sequence[Particle], names: Sequence[Classification], pitch_um: float) -> list[Piece]:
    """What is known of every whole particle of a frame."""
    whole = [k for k, p in enumerate(particles) if not p.features.get("touches_edge", 0.0)]
    groups = touching([particles[k] for k in whole], _TOUCH_PX) if whole else []
    group_of = {k: number for number, group in enumerate(groups) for k in group}
    return [
        Piece(
            x_um=particles[k].x_um,
            y_um=particles[k].y_um,
            area_um2=float(particles[k].mask.sum()) * pitch_um**2,
            spacing_um=_spacing_px(particles[k]) * pitch_um,
            label=names[k].label,
            probabilities=names[k].probabilities,
            group=group_of[n],
        )
        for n, k in enumerate(whole)
    ]


def _spacing_px(particle: Particle) -> float:
    """Twice the root of what the contrast varies more along its long axis than along its short one: blur adds to both alike."""
    rows, columns = np.nonzero(particle.mask)
    weights = np.abs(particle.field_crop[particle.mask] - 1).astype(float)
    if len(rows) < 2 or weights.sum() <= 0:
        return 0.0
    covariance = np.cov(np.stack([rows, columns]), aweights=weights, ddof=0)
    short, long = np.linalg.eigvalsh(covariance)
    return 2 * math.sqrt(max(float(long - short), 0.0))


def clusters_of(pieces: Sequence[Piece], bead_um: float) -> tuple[list[Cluster], int]:
    """The clusters of a frame of beads of a diameter, and how many pieces are no beads.

    Pieces that touch are one cluster, but for single beads that were told apart: bound ones are never seen so far from each other.
    """
    kept = [piece for piece in pieces if piece.label not in _NO_BEADS]
    single = [piece.area_um2 for piece in kept if piece.label == "bead"]
    one_um2 = bead_area_um2(single or [piece.area_um2 for piece in kept])
    groups: dict[int, list[tuple[Piece, float]]] = {}
    for piece in kept:
        groups.setdefault(piece.group, []).append((piece, _beads(piece, piece.area_um2 / one_um2)))
    clusters: list[Cluster] = []
    for group in groups.values():
        if all(beads < _PAIR[0] for _, beads in group):
            clusters += [Cluster(piece.x_um, piece.y_um, beads) for piece, beads in group]
        elif len(group) == 1 and group[0][1] < _PAIR[1]:
            clusters += _pair(*group[0], bead_um)
        else:
            clusters.append(_joined(group))
    return clusters, len(pieces) - len(kept)


def _pair(piece: Piece, beads: float, bead_um: float) -> list[Cluster]:
    """What looks like two beads: bound where they touch, else two that lie side by side, or one."""
    low, high = (share * bead_um for share in _TOUCHING)
    if piece.spacing_um > high:
        return [Cluster(piece.x_um, piece.y_um, 1.0)] * 2
    return [Cluster(piece.x_um, piece.y_um, beads if piece.spacing_um >= low else 1.0)]


def _joined(group: Sequence[tuple[Piece, float]]) -> Cluster:
    number = sum(beads for _, beads in group)
    x_um, y_um = (sum(beads * getattr(piece, axis) for piece, beads in group) / number for axis in ("x_um", "y_um"))
    return Cluster(x_um, y_um, number)


def _beads(name: Piece, areas: float) -> float:
    """Expected number of beads of one piece that is so many single beads large."""
    known = {label: p for label, p in name.probabilities.items() if label in BEAD_SIZES or label == LARGER}
    if "bead" not in known:
        return max(float(round(areas)), 1.0)
    sizes = {**BEAD_SIZES, LARGER: max(areas, _LEAST_LARGER)}
    return sum(p * sizes[label] for label, p in known.items()) / max(sum(known.values()), 1e-9)


def look_at(clusters: Sequence[Cluster], field_um: tuple[float, float], elapsed_s: float, debris: int = 0) -> TimePoint:
    """Clusters summed over the tiles of a field (height, width)."""
    sums = np.zeros((4, TILES * TILES))
    for cluster in clusters:
        row, column = (
            min(max(int(place / side * TILES), 0), TILES - 1)
            for place, side in zip((cluster.y_um, cluster.x_um), field_um, strict=True)
        )
        single = min(max(2 - cluster.beads, 0.0), 1.0)
        sums[:, row * TILES + column] += (cluster.beads, 1, single, cluster.beads**2)
    beads, clusters_, singles, squares = ([round(float(v), 4) for v in part] for part in sums)
    return TimePoint(elapsed_s=elapsed_s, beads=beads, clusters=clusters_, singles=singles, squares=squares, debris=debris)


def statistics(look: TimePoint) -> Statistics | None:
    """Of one look; None where it shows no beads."""
    beads, clusters, singles = (np.array(part) for part in (look.beads, look.clusters, look.singles))
    if beads.sum() <= 0:
        return None
    draws = _draws(len(beads))
    drawn = np.maximum(draws @ beads, 1e-9)
    shares, sizes = 1 - (draws @ singles) / drawn, drawn / np.maximum(draws @ clusters, 1e-9)
    return Statistics(
        beads=float(beads.sum()),
        clusters=float(clusters.sum()),
        share_clustered=float(1 - singles.sum() / beads.sum()),
        share_clustered_uncertainty=_deviation(shares, len(beads)),
        mean_size=float(beads.sum() / clusters.sum()),
        mean_size_uncertainty=_deviation(sizes, len(beads)),
        weighted_mean_size=float(sum(look.squares) / beads.sum()),
    )


def growth(looks: Sequence[TimePoint], duration_s: float) -> Growth | None:
    """Rise of the mean size over a time, by a line through the looks; None where fewer than two show beads."""
    seen = [look for look in looks if sum(look.beads) > 0]
    if len(seen) < 2 or seen[-1].elapsed_s <= seen[0].elapsed_s:
        return None
    elapsed_s = np.array([look.elapsed_s for look in seen])
    beads, clusters = np.array([look.beads for look in seen]), np.array([look.clusters for look in seen])
    sizes = beads.sum(axis=1) / clusters.sum(axis=1)
    rise = duration_s * float(start_line(elapsed_s, sizes[:, None])[0])
    draws = _draws(beads.shape[1])
    drawn = duration_s * start_line(elapsed_s, (beads @ draws.T) / np.maximum(clusters @ draws.T, 1e-9))
    # No bond seen still leaves the Poisson scatter of the next one.
    scatter = max(_deviation(drawn, beads.shape[1]), 1 / float(beads.sum(axis=1).mean()))
    after_s = elapsed_s - elapsed_s[0]
    # The first look's bonds are a count: few of them may stand for more.
    count = float(clusters[0].sum())
    bonds = max(float(beads[0].sum()) - count, 0.0)
    clumped = (bonds + math.sqrt(bonds + 1)) / count
    begun = _LASTING_UNCERTAINTY * clumped * duration_s * float(after_s.sum() / (after_s @ after_s))
    return Growth(rise, math.hypot(scatter, begun), scatter, len(seen))


def start_line(elapsed_s: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slopes per second of lines through mean sizes [looks, draws] that start where what lasts of the first look's clumps is."""
    start = 1 + _LASTING * (sizes[0] - 1)
    after_s = elapsed_s - elapsed_s[0]
    return (after_s @ (sizes - start)) / float(after_s @ after_s)


def _deviation(drawn: NDArray[np.float64], tiles: int) -> float:
    """One standard deviation by what the draws of so many tiles scatter; twice it covers 95 %, by Student's t, for few tiles too."""
    student = float(scipy.special.stdtrit(tiles - 1, 0.975) / scipy.special.ndtri(0.975))
    return float(drawn.std()) * math.sqrt(tiles / (tiles - 1)) * student


def _draws(tiles: int) -> NDArray[np.float64]:
    """How often each tile is drawn, float64 [draws, tiles]; always the same."""
    rng = np.random.default_rng(tiles)
    return rng.multinomial(tiles, [1 / tiles] * tiles, size=_DRAWS).astype(float)
