"""The distance of the objects in one in-line hologram, with its uncertainty, or why it can't be told.

What holds for absorbing and transparent objects alike is that the *scattered wave* U - 1 is compact at the plane it comes
from. A few iterations of sparse phase retrieval at each candidate distance put that to the test; four criteria read the
result (device.optics.focus_criteria). Where they name one place, and none has a second maximum as high, that is the
distance; its uncertainty is the regions' scatter, the criteria's disagreement and a share of the peak's width, in the
proportion that errors on simulated instruments bear out. Else nothing is found, and the reason is said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from device.errors import InputError
from device.optics.focus_criteria import CRITERIA, Consensus, agree, consensus, sums, unexplained
from device.optics.geometry import Geometry
from device.optics.phase_retrieval import iterate, mirror_pad, scattering_scale
from device.optics.propagation import apply_transfer, even_transfer_function

__all__ = ["FocusEstimate", "Maximum", "TileFocus", "default_range_um", "estimate_distance", "estimate_tiles", "region"]

Curve = NDArray[np.float64]

_THRESHOLD = 0.25  # of the strongest scatterers: between 0.2 and 0.3 misfit and edges bracket the truth
_MARGIN_PX = 32
_WINDOW_PX = 512
_COARSE_ITERATIONS, _FINE_ITERATIONS = 4, 8
_FINE_CANDIDATES = 9
_LEAST_CANDIDATES, _MOST_CANDIDATES = 16, 88
_LEAST_CONTRAST = 1e-3
_FINEST_STEP, _COARSEST_STEP = 0.022, 0.06  # of the distance: a fifth of the narrowest peaks, half of the widest
_SHARE = 0.1  # of a peak's width
_QUANTILE = 3.0  # of |error| over deviation, at 95 %, of the kind where it is largest (decisions/2026-11-27-focus.md)


@dataclass(frozen=True)
class Maximum:
    """Where a criterion peaks."""

    criterion: str
    """Its name."""
    distance_um: float
    """Object plane to sensor."""
    height: float
    """Between the curve's lowest point and its highest, 0 to 1."""


@dataclass(frozen=True)
class FocusEstimate:
    """A distance found in a hologram, or not, and the evidence."""

    distance_um: float
    """Object plane to sensor; NaN where nothing is found."""
    uncertainty_um: float
    """One standard deviation; NaN where nothing is found."""
    interval_um: tuple[float, float]
    """Holds the distance with 95 % for the wavelength and pitch as stated: it goes with the pitch's square over the wavelength, so
    1 % of pitch is 2 % of distance. Where nothing is found, the whole range."""
    reason: str
    """Why nothing is found; empty where a distance is."""
    maxima: tuple[Maximum, ...]
    """Each criterion's highest, then what else is nearly as high."""
    distances_um: Curve
    """Candidates of the coarse search, ascending."""
    metric: Curve
    """Share of the hologram explained at each candidate, higher is better."""
    method: str = "sparse retrieval: " + ", ".join(CRITERIA)
    """How it was found."""

    @property
    def found(self) -> bool:
        """Whether the criteria name one distance."""
        return not self.reason


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


def default_range_um(geometry: Geometry, side_px: int) -> tuple[float, float]:
    """All distances a frame of `side_px` can tell: from four depths of focus to where the finest detail is half lost.

    Nearer, nothing is out of focus; farther, the finest fringes that the pixels resolve leave the frame on either side.
    """
    side_px = min(side_px, _WINDOW_PX)
    farthest = 0.99 * (geometry.source_distance_um or 1e6)
    tried = np.geomspace(1e-6 * farthest, farthest, 2000)
    told = [float(d) for d in tried if _is_told(geometry.at(float(d)), side_px)]
    return told[0], told[-1]


def estimate_distance(
    intensity: NDArray[np.floating],
    geometry: Geometry,
    low_um: float,
    high_um: float,
    *,
    candidates: int | None = None,
    window_px: int = _WINDOW_PX,
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
    coarse_um = _candidates(geometry, low_um, high_um, candidates)
    threshold = _THRESHOLD * _typical_scale(padded, geometry, coarse_um[:: max(1, len(coarse_um) // 8)])
    search = _Search(padded, window, geometry, threshold)
    evidence = search.evidence(coarse_um, _COARSE_ITERATIONS)
    explained = 1 - unexplained(evidence) / float(np.sum((amplitude - 1) ** 2, dtype=np.float64))
    coarse = consensus(np.log(coarse_um), evidence)
    maxima = _maxima(coarse)
    if reason := agree(coarse):
        return FocusEstimate(np.nan, np.nan, (low_um, high_um), reason, maxima, coarse_um, explained)
    reach = max(coarse.width, 2 * _step(coarse_um, coarse.place))
    fine = np.linspace(max(np.log(low_um), coarse.place - reach), min(np.log(high_um), coarse.place + reach), _FINE_CANDIDATES)
    refined = consensus(fine, search.evidence(np.exp(fine), _FINE_ITERATIONS), coarse.widths)
    distance_um, deviation = float(np.exp(refined.place)), _deviation(refined)
    interval_um = (float(distance_um * np.exp(-_QUANTILE * deviation)), float(distance_um * np.exp(_QUANTILE * deviation)))
    return FocusEstimate(distance_um, distance_um * deviation * _QUANTILE / 1.96, interval_um, "", maxima, coarse_um, explained)


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
        """What the criteria need of each candidate; float64 [distance, region, figure]."""
        return np.stack([self._evidence_at(float(d), iterations) for d in distances_um])

    def _evidence_at(self, distance_um: float, iterations: int) -> Curve:
        transfer = _transfer(self.padded.shape, self.geometry.at(distance_um))
        return sums(iterate(self.padded, transfer, [self.threshold] * iterations), self.window)


def _deviation(found: Consensus) -> float:
    """Relative standard deviation of the distance, before it is brought to scale."""
    return float(np.sqrt(found.spread**2 + found.disagreement**2 + (_SHARE * found.width) ** 2))


def _maxima(found: Consensus) -> tuple[Maximum, ...]:
    highest = [Maximum(name, float(np.exp(s)), 1.0) for name, s in zip(CRITERIA, found.summits, strict=True)]
    return (*highest, *(Maximum(name, float(np.exp(place)), height) for name, place, height in found.rivals))


def _candidates(geometry: Geometry, low_um: float, high_um: float, count: int | None) -> Curve:
    """Even steps of the logarithm's or, where it is coarser, of the depth of focus: peaks are a tenth of the distance wide."""
    low_um = max(low_um, 1e-3 * high_um)
    if count is not None:
        return np.geomspace(low_um, high_um, max(count, 5))
    fine = np.geomspace(low_um, high_um, 1000)
    ends = geometry.at(low_um), geometry.at(high_um)
    focus = np.interp(fine, [low_um, high_um], [_depth_of_focus_um(e) / e.propagation_um * e.distance_um for e in ends]) / fine
    steps = np.cumsum(np.gradient(np.log(fine)) / np.clip(1.3 * focus, _FINEST_STEP, _COARSEST_STEP))
    count = int(np.clip(np.ceil(steps[-1] - steps[0]) + 1, _LEAST_CANDIDATES, _MOST_CANDIDATES))
    return np.interp(np.linspace(steps[0], steps[-1], count), steps, fine)


def _step(candidates_um: Curve, place: float) -> float:
    """Of the candidates' logarithms, near a place."""
    logarithms = np.log(candidates_um)
    here = int(np.clip(np.searchsorted(logarithms, place), 1, len(logarithms) - 1))
    return float(logarithms[here] - logarithms[here - 1])


def _aperture(at: Geometry) -> float:
    return min(at.wavelength_medium_um / (2 * at.object_pitch_um), 0.5)


def _depth_of_focus_um(at: Geometry) -> float:
    return at.wavelength_medium_um / _aperture(at) ** 2


def _is_told(at: Geometry, side_px: int) -> bool:
    reach_um = side_px * at.object_pitch_um / _aperture(at)
    return 4 * _depth_of_focus_um(at) <= at.propagation_um <= reach_um


def _typical_scale(padded: NDArray[np.float32], geometry: Geometry, distances_um: Curve) -> float:
    """One scale for all candidates: a threshold of its own for each would favour the faint ones."""
    field = padded.astype(np.complex64)
    backs = (np.conj(_transfer(padded.shape, geometry.at(float(d)))) for d in distances_um)
    return float(np.median([scattering_scale(apply_transfer(field, back)) for back in backs]))


def _transfer(shape: tuple[int, int], at: Geometry) -> NDArray[np.complex64]:
    return even_transfer_function(shape, at.object_pitch_um, at.wavelength_medium_um, at.propagation_um)


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
