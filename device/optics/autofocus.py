"""The distance of the objects in one in-line hologram, with its uncertainty.

Contrast, brightness and variance fail on transparent particles: a bead is a lens and looks sharpest one focal length
away. What holds for absorbing and transparent objects alike is that the *scattered wave* U - 1 is compact at the plane
it comes from. A few iterations of sparse phase retrieval at each candidate distance put that to the test, and free the
field from the twin image, which else pulls every sharpness of a short-distance hologram towards the sensor. Two
figures are read from each candidate:

misfit         how much of the hologram a sparse, absorbing object at this distance leaves unexplained
edge sparsity  Tamura coefficient of |grad U| of the complex, twin-free field (Zhang et al., Opt. Lett. 42, 3824
               (2017), doi:10.1364/OL.42.003824)

Their remaining biases differ, so the estimate is their mean, weighted by how sharply each peaks, and their
disagreement is part of the uncertainty; the rest is the jackknife over regions of the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import iterate, mirror_pad, scattering_scale
from device.optics.propagation import apply_transfer, compute_transfer_function

__all__ = ["FocusEstimate", "TileFocus", "estimate_distance", "estimate_tiles", "region"]

Curve = NDArray[np.float64]

_THRESHOLD = 0.25  # of the strongest scatterers: between 0.2 and 0.3 the two criteria bracket the truth
_MARGIN_PX = 32
_REGIONS = 3  # per side, for the jackknife
_COARSE_ITERATIONS, _FINE_ITERATIONS = 2, 8
_FINE_CANDIDATES = 9
_EXTENSIONS = 2
_LEAST_CONTRAST = 1e-3


@dataclass(frozen=True)
class FocusEstimate:
    """A distance found in a hologram, and the evidence."""

    distance_um: float
    """Object plane to sensor."""
    uncertainty_um: float
    """One standard deviation, disagreement between criteria included."""
    bracketed: bool
    """False where the best candidate lies at an end of the range: the object may lie outside."""
    distances_um: Curve
    """Candidates of the coarse search, ascending."""
    metric: Curve
    """Share of the hologram explained at each candidate, higher is better."""
    method: str = "sparse-retrieval misfit and edge sparsity"
    """How it was found."""


@dataclass(frozen=True)
class TileFocus:
    """The focus of one region."""

    row_px: int
    """First row."""
    column_px: int
    """First column."""
    height_px: int
    """Rows."""
    width_px: int
    """Columns."""
    estimate: FocusEstimate | None
    """None where the region holds nothing to focus on."""


def estimate_distance(
    intensity: NDArray[np.floating],
    geometry: Geometry,
    low_um: float,
    high_um: float,
    *,
    candidates: int | None = None,
    window_px: int = 512,
) -> FocusEstimate:
    """Find the distance at which one compact object explains the hologram best.

    Parameters: `intensity` float [height, width], 1 where nothing is; `geometry` gives all but the distance; the search
    runs over low_um to high_um; `candidates` of the coarse search (None: from the depth of focus of a pixel);
    of larger frames the `window_px` square with the most contrast is used.
    Raises InputError for a bad range, a hologram that isn't two-dimensional or finite, or one without contrast.
    """
    _check(intensity, low_um, high_um)
    amplitude = _window(np.sqrt(np.maximum(intensity, 0), dtype=np.float32), window_px)
    if float(amplitude.std()) < _LEAST_CONTRAST:
        raise InputError("nothing to focus on", expected="fringes", got=f"a relative contrast of {amplitude.std():.2g}")
    padded, window = mirror_pad(amplitude, _MARGIN_PX)
    count = candidates or _candidate_count(geometry, low_um, high_um)
    coarse_um = np.linspace(low_um, high_um, max(count, 5))
    threshold = _THRESHOLD * _typical_scale(padded, geometry, coarse_um[:: max(1, count // 8)])
    search = _Search(padded, window, geometry, threshold)
    coarse = search.evidence(coarse_um, _COARSE_ITERATIONS)
    explained = 1 - coarse[..., 2].sum(axis=1) / float(np.sum((amplitude - 1) ** 2, dtype=np.float64))
    best, step_um = int(np.argmax(explained)), float(coarse_um[1] - coarse_um[0])
    fine_um = np.linspace(
        max(low_um, coarse_um[best] - 2 * step_um), min(high_um, coarse_um[best] + 2 * step_um), _FINE_CANDIDATES
    )
    fine_um, fine = _follow_edges(search, fine_um, search.evidence(fine_um, _FINE_ITERATIONS), (low_um, high_um))
    distance_um, disagreement_um, bracketed = _combine(fine_um, fine)
    spread_um = _jackknife(fine_um, fine)
    resolution_um = float(fine_um[1] - fine_um[0]) / 6
    uncertainty_um = float(np.sqrt(disagreement_um**2 + spread_um**2 + resolution_um**2))
    if not bracketed:
        uncertainty_um = max(uncertainty_um, (high_um - low_um) / np.sqrt(12))
    return FocusEstimate(distance_um, uncertainty_um, bracketed, coarse_um, explained)


def region(intensity: NDArray[np.floating], box_px: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """The part of a hologram around one object, fading to 1 at its border, so that nothing else is focused on.

    Parameters: `intensity` float [height, width]; `box_px` (column, row, width, height), the fringes included.
    Raises InputError for a box that isn't 32 pixels a side inside the frame.
    """
    column, row, width, height = box_px
    inside = column >= 0 and row >= 0 and column + width <= intensity.shape[1] and row + height <= intensity.shape[0]
    if not inside or min(width, height) < 32:
        raise InputError(
            "the box is not a part of the frame", expected=f"32 pixels a side or more within {intensity.shape[1]} x {intensity.shape[0]}",
            got=f"column {column}, row {row}, {width} x {height}",
        )  # fmt: skip
    part = np.asarray(intensity[row : row + height, column : column + width], np.float32)
    fade = np.clip(3 * np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]), 0, 1)
    return np.asarray(1 + (part - 1) * fade, np.float32)


def estimate_tiles(
    intensity: NDArray[np.floating], geometry: Geometry, low_um: float, high_um: float, *, tile_px: int = 256
) -> tuple[TileFocus, ...]:
    """`estimate_distance` for each region of about `tile_px`, in reading order; None where a region is empty."""
    height, width = intensity.shape
    tiles: list[TileFocus] = []
    for rows in np.array_split(np.arange(height), max(1, round(height / tile_px))):
        for columns in np.array_split(np.arange(width), max(1, round(width / tile_px))):
            region = intensity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            try:
                estimate = estimate_distance(region, geometry, low_um, high_um, window_px=max(region.shape))
            except InputError:
                estimate = None
            tiles.append(TileFocus(int(rows[0]), int(columns[0]), len(rows), len(columns), estimate))
    return tuple(tiles)


@dataclass(frozen=True)
class _Search:
    padded: NDArray[np.float32]
    window: tuple[slice, slice]
    geometry: Geometry
    threshold: float

    def evidence(self, distances_um: Curve, iterations: int) -> Curve:
        """Sums over each region: |grad U|, |grad U|**2, misfit**2, pixels; float64 [distance, region, 4]."""
        rows = [self._evidence_at(float(d), iterations) for d in distances_um]
        return np.stack(rows)

    def _evidence_at(self, distance_um: float, iterations: int) -> Curve:
        transfer = _transfer(self.padded.shape, self.geometry.at(distance_um))
        result = iterate(self.padded, transfer, [self.threshold] * iterations)
        field = result.free[self.window]
        down, across = np.diff(field, axis=0)[:, :-1], np.diff(field, axis=1)[:-1]
        squared = down.real**2 + down.imag**2 + across.real**2 + across.imag**2
        misfit = (result.misfit[self.window] ** 2)[:-1, :-1]
        return np.stack([_by_region(m) for m in (np.sqrt(squared), squared, misfit, np.ones_like(misfit))], axis=1)


def _by_region(values: NDArray[np.float32]) -> Curve:
    rows = np.array_split(values.astype(np.float64), _REGIONS, axis=0)
    return np.array([block.sum() for row in rows for block in np.array_split(row, _REGIONS, axis=1)])


def _tamura(evidence: Curve) -> Curve:
    """Square root of the coefficient of variation of |grad U| over all regions, per distance."""
    gradient, squared, _, pixels = evidence.sum(axis=1).T
    mean = gradient / pixels
    return np.sqrt(np.sqrt(np.maximum(squared / pixels - mean**2, 0)) / np.maximum(mean, 1e-30))


def _explained(evidence: Curve) -> Curve:
    """Less the logarithm of the misfit over all regions, per distance."""
    return -np.log(np.maximum(evidence[..., 2].sum(axis=1), 1e-30))


def _follow_edges(search: _Search, distances_um: Curve, evidence: Curve, limits_um: tuple[float, float]) -> tuple[Curve, Curve]:
    """Candidates added where edge sparsity still climbs at the end of the fine grid, as it does in dense samples."""
    for _ in range(_EXTENSIONS):
        start = int(np.argmax(_explained(evidence)))
        summit_um, inside = _summit(distances_um, _tamura(evidence), start)
        step_um = float(distances_um[1] - distances_um[0])
        sign = 1 if summit_um == distances_um[-1] else -1
        end_um = distances_um[-1] if sign > 0 else distances_um[0]
        added = end_um + sign * step_um * np.arange(1, _FINE_CANDIDATES // 2 + 1)
        added = np.sort(added[(added >= limits_um[0]) & (added <= limits_um[1])])
        if inside or not len(added):
            break
        pair = (distances_um, evidence), (added, search.evidence(added, _FINE_ITERATIONS))
        (low_um, low), (high_um, high) = pair if sign > 0 else pair[::-1]
        distances_um, evidence = np.concatenate([low_um, high_um]), np.concatenate([low, high])
    return distances_um, evidence


def _combine(distances_um: Curve, evidence: Curve) -> tuple[float, float, bool]:
    """Distance, disagreement of the criteria, and whether the misfit has its minimum inside."""
    explained, tamura = _explained(evidence), _tamura(evidence)
    by_misfit_um, bracketed = _summit(distances_um, explained, int(np.argmax(explained)))
    start = int(np.argmin(np.abs(distances_um - by_misfit_um)))
    by_edges_um, inside = _summit(distances_um, tamura, start)
    if not inside:
        return by_misfit_um, float(distances_um[-1] - distances_um[0]) / 8, bracketed
    sharpness = np.array([_sharpness(distances_um, c, d) for c, d in ((explained, by_misfit_um), (tamura, by_edges_um))])
    share = float(sharpness[1] / sharpness.sum())
    apart_um = by_edges_um - by_misfit_um
    return by_misfit_um + share * apart_um, abs(apart_um) * float(np.sqrt(share * (1 - share))), bracketed


def _sharpness(distances_um: Curve, curve: Curve, summit_um: float) -> float:
    """Relative fall of a curve over its nearest three candidates on either side: large for a narrow peak."""
    here = int(np.argmin(np.abs(distances_um - summit_um)))
    near = curve[max(0, here - 3) : here + 4]
    height = float(curve[here] - curve.min())
    return max(float(curve[here] - near.mean()) / height, 1e-6) if height > 0 else 1e-6


def _jackknife(distances_um: Curve, evidence: Curve) -> float:
    regions = evidence.shape[1]
    without = [_combine(distances_um, np.delete(evidence, region, axis=1))[0] for region in range(regions)]
    return float(np.sqrt((regions - 1) * np.var(without)))


def _summit(distances_um: Curve, values: Curve, start: int) -> tuple[float, bool]:
    """Uphill from `start` to a maximum, refined by a parabola; False where it is the end of the curve."""
    here, last = start, len(values) - 1
    while True:
        above = max(range(max(here - 1, 0), min(here + 1, last) + 1), key=lambda i: values[i])
        if values[above] <= values[here]:
            break
        here = above
    if here in (0, last):
        return float(distances_um[here]), False
    left, top, right = values[here - 1 : here + 2]
    offset = 0.5 * (left - right) / min(left - 2 * top + right, -1e-30)
    step_um = distances_um[1] - distances_um[0]
    return float(distances_um[here] + np.clip(offset, -0.5, 0.5) * step_um), True


def _candidate_count(geometry: Geometry, low_um: float, high_um: float) -> int:
    """One candidate for two depths of focus of the finest detail a pixel resolves, 20 to 64 in all."""
    middle = geometry.at((low_um + high_um) / 2)
    aperture = min(middle.wavelength_medium_um / (2 * middle.object_pitch_um), 0.5)
    focus_um = middle.wavelength_medium_um / aperture**2
    return int(np.clip(np.ceil((high_um - low_um) / (2 * focus_um)), 20, 64))


def _typical_scale(padded: NDArray[np.float32], geometry: Geometry, distances_um: Curve) -> float:
    """One scale for all candidates: a threshold of its own for each would favour the faint ones."""
    field = padded.astype(np.complex64)
    backs = (np.conj(_transfer(padded.shape, geometry.at(float(d)))) for d in distances_um)
    return float(np.median([scattering_scale(apply_transfer(field, back)) for back in backs]))


def _transfer(shape: tuple[int, int], at: Geometry) -> NDArray[np.complex64]:
    return compute_transfer_function(shape, at.object_pitch_um, at.wavelength_medium_um, at.propagation_um)


def _window(amplitude: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    """The square of `side_px` with the most contrast, on a grid of half its side."""
    height, width = amplitude.shape
    if height <= side_px and width <= side_px:
        return amplitude
    starts = [
        (top, left)
        for top in {*range(0, max(height - side_px, 0) + 1, side_px // 2), max(height - side_px, 0)}
        for left in {*range(0, max(width - side_px, 0) + 1, side_px // 2), max(width - side_px, 0)}
    ]
    windows = (amplitude[top : top + side_px, left : left + side_px] for top, left in starts)
    return max(windows, key=lambda w: float(w.var()))


def _check(intensity: NDArray[np.floating], low_um: float, high_um: float) -> None:
    if not 0 <= low_um < high_um:
        raise InputError(
            "the search range is not a range", expected="0 <= low < high, in micrometres", got=f"{low_um:g} to {high_um:g}"
        )
    if intensity.ndim != 2 or min(intensity.shape) < 16:
        raise InputError("a hologram must be two-dimensional", expected="16 x 16 pixels or more", got=intensity.shape)
    if not np.isfinite(intensity).all():
        raise InputError("the hologram holds NaN or infinity", remedy="Normalise the frame first.")
