"""What four criteria of different kinds say of an object's distance, and whether they say the same.

Each is read from the field that a few iterations of sparse phase retrieval leave at a candidate distance, free of the
twin image, which else pulls every sharpness of a short-distance hologram towards the sensor:

misfit          how much of the hologram a sparse, absorbing object at this distance leaves unexplained
edges           Tamura coefficient of |grad U| (Zhang et al., Opt. Lett. 42, 3824 (2017), doi:10.1364/OL.42.003824)
compactness     l2 against l1 norm of the scattered wave U - <U>: how small a part of the field it fills
few edges       fourth moment of |grad U| against the square of its second: how few pixels hold the edges

The first three measure. The last, which strong lenses pull towards the sensor, has but a veto: it tells the plane of an
object from those of its caustics. All hold for absorbing and transparent objects alike; brightness, contrast and variance don't: a bead is a lens and looks
sharpest one focal length away. Sums over regions of the field suffice for all four, so any set of regions can be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.optics.phase_retrieval import Iterate

__all__ = ["CRITERIA", "Consensus", "agree", "consensus", "sums", "unexplained"]

Curve = NDArray[np.float64]

CRITERIA = ("misfit", "edges", "compactness", "few edges")
_MEASURING = 3  # of them, the first
_REGIONS = 4  # per side, for the jackknife
_FALL = 0.25  # of a curve's range: the width of its peak is measured there
_RIVAL = 0.8  # of the highest summit above the lowest point: another one so high is as likely
_NOISE = np.log(2.6)  # few edges, in white noise: at most log 2.4 whatever pitch, wavelength and distance
_APART = np.array([0.5, 0.5, 0.5, 1.0])  # of a peak's width: farther than that from the place, a criterion contradicts it


@dataclass(frozen=True)
class Consensus:
    """Where the criteria put the object, in logarithms of the distance."""

    place: float
    """Mean of what the measuring criteria say, each weighted by the inverse square of its peak's width."""
    summits: Curve
    """Of each criterion."""
    widths: Curve
    """Of each criterion's peak, from its middle to a quarter of the fall."""
    inside: NDArray[np.bool_]
    """False where a criterion has its summit at an end of the range."""
    few_edges: float
    """Summit of the last criterion's curve."""
    rivals: tuple[tuple[str, float, float], ...]
    """Other summits that are nearly as high: criterion, place, and height between the curve's lowest and highest, 0 to 1."""
    spread: float
    """Jackknife over the regions: one standard deviation."""

    @property
    def disagreement(self) -> float:
        """Weighted standard deviation of the measuring criteria's summits."""
        return float(np.sqrt(_mean((self.summits - self.place) ** 2, self.widths)))

    @property
    def width(self) -> float:
        """Of the peak that the measuring criteria would have together."""
        return float(np.sum(self.widths[:_MEASURING] ** -2) ** -0.5)


def sums(result: Iterate, window: tuple[slice, slice]) -> Curve:
    """Evidence of one candidate: sums over each region, float64 [region, 7]."""
    field = result.free[window]
    down, across = np.diff(field, axis=0)[:, :-1], np.diff(field, axis=1)[:-1]
    squared = down.real**2 + down.imag**2 + across.real**2 + across.imag**2
    scattered = (field - field.mean())[:-1, :-1]
    power = scattered.real**2 + scattered.imag**2
    misfit = (result.misfit[window] ** 2)[:-1, :-1]
    figures = (np.sqrt(squared), squared, squared**2, misfit, np.sqrt(power), power)
    return np.stack([_by_region(f) for f in (*figures, np.ones_like(misfit))], axis=1)


def unexplained(evidence: Curve) -> Curve:
    """Sum of misfit**2 over all regions, per candidate."""
    return evidence[..., 3].sum(axis=1)


def consensus(places: Curve, evidence: Curve, widths: Curve | None = None) -> Consensus:
    """The criteria's summits and rivals over candidates at `places` (ascending), from `evidence` [candidate, region, 7].

    `widths` of the peaks where they are known, as when the candidates cover no more than a summit.
    """
    curves = _curves(evidence.sum(axis=1))
    widths = _widths(places, curves) if widths is None else widths
    summits, inside = _summits(places, curves)
    apart = (np.abs(places - s) > 1.5 * w for s, w in zip(summits, widths, strict=True))
    rivals = [(n, *r) for n, c, far in zip(CRITERIA, curves, apart, strict=True) if (r := _rival(places, c, far))]
    regions = range(evidence.shape[1])
    without = [_mean(_summits(places, _curves(np.delete(evidence, r, axis=1).sum(axis=1)))[0], widths) for r in regions]
    spread = float(np.sqrt((len(without) - 1) * np.var(without)))
    return Consensus(_mean(summits, widths), summits, widths, inside, float(curves[-1].max()), tuple(rivals), spread)


def agree(found: Consensus) -> str:
    """Why the criteria do not name one place; empty where they do."""
    if found.few_edges < _NOISE:
        return "no structure that is sharper than noise at any distance"
    if not found.inside.all():
        ends = " and ".join(name for name, inside in zip(CRITERIA, found.inside, strict=True) if not inside)
        return f"highest at an end of the range: {ends}"
    if (np.abs(found.summits - found.place) > _APART * found.widths).any():
        return "the criteria disagree"
    if found.rivals:
        return "several maxima are as high"
    if found.spread > found.width:
        return "the regions of the field disagree"
    return ""


def _by_region(values: NDArray[np.float32]) -> Curve:
    rows = np.array_split(values.astype(np.float64), _REGIONS, axis=0)
    return np.array([block.sum() for row in rows for block in np.array_split(row, _REGIONS, axis=1)])


def _curves(total: Curve) -> Curve:
    """The criteria by candidate, float64 [criterion, candidate], higher is better; from sums [candidate, 7]."""
    gradient, squared, fourth, misfit, modulus, power, pixels = np.maximum(total, 1e-30).T
    mean = gradient / pixels
    tamura = np.sqrt(np.sqrt(np.maximum(squared / pixels - mean**2, 0)) / mean)
    compactness = 0.5 * np.log(pixels * power) - np.log(modulus)
    return np.stack([-np.log(misfit), tamura, compactness, np.log(fourth * pixels / squared**2)])


def _mean(values: Curve, widths: Curve) -> float:
    weights = widths[:_MEASURING] ** -2
    return float(np.sum(weights * values[:_MEASURING]) / weights.sum())


def _summits(places: Curve, curves: Curve) -> tuple[Curve, NDArray[np.bool_]]:
    tops = np.argmax(curves, axis=1)
    summits = [_summit(places, c, int(top)) for c, top in zip(curves, tops, strict=True)]
    return np.array(summits), (tops > 0) & (tops < len(places) - 1)


def _summit(places: Curve, curve: Curve, top: int) -> float:
    """The highest candidate, refined by the parabola through it and its neighbours."""
    if top in (0, len(places) - 1):
        return float(places[top])
    left, right = places[top - 1] - places[top], places[top + 1] - places[top]
    fall_left, fall_right = curve[top] - curve[top - 1], curve[top] - curve[top + 1]
    steepness = fall_left * right - fall_right * left
    offset = 0.5 * (fall_left * right**2 - fall_right * left**2) / steepness if steepness > 0 else 0.0
    return float(places[top] + np.clip(offset, left / 2, right / 2))


def _widths(places: Curve, curves: Curve) -> Curve:
    """Half the distance between the candidates on either side that lie a quarter of the fall below the summit."""
    widths: list[float] = []
    for curve in curves:
        top = int(np.argmax(curve))
        below = np.flatnonzero(curve <= curve[top] - _FALL * (curve[top] - curve.min()))
        before, after = below[below < top], below[below > top]
        low = places[before[-1]] if len(before) else places[0]
        high = places[after[0]] if len(after) else places[-1]
        widths.append(max(float(high - low) / 2, float(np.diff(places).min())))
    return np.array(widths)


def _rival(places: Curve, curve: Curve, far: NDArray[np.bool_]) -> tuple[float, float] | None:
    """The highest other summit, where it is nearly as high."""
    span = float(np.ptp(curve)) or 1.0
    summit = (curve[1:-1] > curve[:-2]) & (curve[1:-1] >= curve[2:]) & far[1:-1]
    candidates = np.flatnonzero(summit) + 1
    if not len(candidates):
        return None
    best = int(candidates[np.argmax(curve[candidates])])
    height = float((curve[best] - curve.min()) / span)
    return (float(places[best]), height) if height > _RIVAL else None
